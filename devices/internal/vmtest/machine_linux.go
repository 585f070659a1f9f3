// This file is the host's side: the description of a machine, and one run of it.

package vmtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Machine describes a virtual machine and the tests that run in it.
type Machine struct {
	Arch    string        // "arm64" (virt), "armhf" (vexpress-a15) or "amd64" (q35)
	Modules []string      // kernel modules in order, parameters after a space; their dependencies are loaded first
	Args    []string      // further arguments of QEMU: devices
	Run     string        // the guest's tests, as of go test -run
	Timeout time.Duration // of the run, not counting the build; 0 is 2 m

	// Files are further files of the guest, executable and owned by root: path in the guest to path
	// on the host. So a program can be tested that was built elsewhere for GOOS=linux and the
	// machine's GOARCH.
	Files map[string]string

	// Tree changes the device tree of an arm64 machine before it boots; nil for QEMU's own. See
	// [SetProperty].
	Tree func(dtb []byte) ([]byte, error)

	// Answer executes the guest's requests: the words of [Ask]. Nil when there are none.
	// [ErrPowerCut] ends the machine at once and the test continues: data that the guest had not
	// synced to a disk is lost.
	Answer func(vm *VM, words []string) (string, error)
}

// ErrPowerCut is for [Machine].Answer.
var ErrPowerCut = errors.New("the power is cut")

// The marks in the guest's output that are meant for the host.
const (
	markAsk    = "vmtest-ask: "
	markFigure = "vmtest-figure: "
	markExit   = "vmtest-exit: "
)

// kernel is an architecture's kernel and its emulator.
type kernel struct {
	qemu, machine, goarch, console string
	args                           func(dir string) ([]string, error)
}

var kernels = map[string]kernel{
	"arm64": {qemu: "qemu-system-aarch64", machine: "virt", goarch: "arm64", console: "ttyAMA0",
		args: func(string) ([]string, error) { return []string{"-cpu", "cortex-a53"}, nil }},
	"armhf": {qemu: "qemu-system-arm", machine: "vexpress-a15", goarch: "arm", console: "ttyAMA0",
		args: func(dir string) ([]string, error) {
			dtb, err := one(filepath.Join(dir, "usr/lib/linux-image-*/vexpress-v2p-ca15-tc1.dtb"))
			return []string{"-dtb", dtb}, err
		}},
	"amd64": {qemu: "qemu-system-x86_64", machine: "q35", goarch: "amd64", console: "ttyS0",
		args: func(string) ([]string, error) { return nil, nil }},
}

// one returns the only file that a pattern matches.
func one(pattern string) (string, error) {
	list, _ := filepath.Glob(pattern)
	if len(list) != 1 {
		return "", fmt.Errorf("%s matches %d files, not one", pattern, len(list))
	}
	return list[0], nil
}

// Test boots the machine and passes or fails as the guest's tests do. It skips when QEMU or the
// kernel is missing.
func Test(t *testing.T, m Machine) {
	t.Helper()
	Needs(t, m.Arch)
	k := kernels[m.Arch]
	cache, dir := find(m.Arch)
	if m.Timeout == 0 {
		m.Timeout = 2 * time.Minute
	}
	tmp, err := os.MkdirTemp("", "vm") // not t.TempDir: a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	if err := build(k, tmp+"/init"); err != nil {
		t.Fatal(err)
	}
	if err := initramfs(tmp+"/initrd", tmp+"/init", dir, m); err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(cache + "/lock")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if m.Tree != nil {
		if err := m.plant(k, tmp+"/dtb"); err != nil {
			t.Fatal(err)
		}
		m.Args = append(slices.Clone(m.Args), "-dtb", tmp+"/dtb")
	}
	m.run(t, k, dir, tmp)
}

// Needs skips the test when a machine of that architecture is unavailable. It is for tests with
// long preparations.
func Needs(t *testing.T, arch string) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a virtual machine, which -short leaves out")
	}
	k, ok := kernels[arch]
	if !ok {
		t.Fatalf("no machine for %q", arch)
	}
	if _, err := exec.LookPath(k.qemu); err != nil {
		t.Skipf("needs %s, which .ci/vm-kernels installs", k.qemu)
	}
	if _, dir := find(arch); dir == "" {
		t.Skipf("needs a Debian kernel for %s, which .ci/vm-kernels fetches into .cache/vm", arch)
	}
}

// find returns the cache and the folder of a kernel in it: $VMTEST_CACHE, or .cache/vm beside
// go.mod.
func find(arch string) (cache, dir string) {
	cache = os.Getenv("VMTEST_CACHE")
	if cache == "" {
		up, _ := os.Getwd()
		for up != "/" && up != "." {
			if _, err := os.Stat(up + "/go.mod"); err == nil {
				break
			}
			up = filepath.Dir(up)
		}
		cache = filepath.Join(up, ".cache/vm")
	}
	dir = filepath.Join(cache, arch)
	if _, err := os.Stat(dir + "/complete"); err != nil {
		return cache, ""
	}
	return cache, dir
}

// build makes the test binary of the package in the working directory, which is the tested package.
func build(k kernel, out string) error {
	c := exec.Command("go", "test", "-c", "-o", out, ".")
	c.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+k.goarch, "GOARM=7", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if text, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("building the guest's tests: %w\n%s", err, text)
	}
	return nil
}

// lock waits until no other test runs a machine.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return func() { f.Close() }, err
		}
	}
}

// run runs the machine once.
func (m Machine) run(t *testing.T, k kernel, dir, tmp string) {
	t.Helper()
	image, err := one(filepath.Join(dir, "boot/vmlinuz-*"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := k.args(dir)
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-M", k.machine, "-m", "512", "-accel", "tcg", "-display", "none", "-serial", "stdio", "-monitor", "none",
		"-no-reboot", "-nic", "none", "-kernel", image, "-initrd", tmp + "/initrd",
		"-append", fmt.Sprintf("console=%s quiet panic=-1 rdinit=/init VMTEST=1 -- -test.v -test.run=%s -test.timeout=%s", k.console, m.Run, m.Timeout),
		"-qmp", "unix:" + tmp + "/q,server=on,wait=off", "-qtest", "unix:" + tmp + "/t,server=on,wait=off", "-qtest-log", "/dev/null"}, more...)
	c := exec.Command(k.qemu, append(args, m.Args...)...)
	c.Env = append(os.Environ(), "QEMU_AUDIO_DRV=none")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	c.Stdout, c.Stderr = w, w
	began := time.Now()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- c.Wait()
		w.Close()
	}()
	deadline := time.AfterFunc(m.Timeout, func() { _ = c.Process.Kill() })
	defer func() {
		deadline.Stop()
		_ = c.Process.Kill()
		_, _ = io.Copy(io.Discard, r)
		<-ended
	}()
	vm := &VM{dir: tmp}
	defer vm.close()
	var log strings.Builder
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("%s\nOutput of the machine within %s:\n%s", fmt.Sprintf(format, args...), time.Since(began).Round(time.Millisecond), log.String())
	}
	for s := bufio.NewScanner(r); s.Scan(); {
		line := strings.TrimRight(s.Text(), "\r")
		if _, code, ok := strings.Cut(line, markExit); ok {
			if code != "0" {
				fail("the tests in the machine failed")
			}
			if testing.Verbose() {
				t.Logf("output of the machine within %s:\n%s", time.Since(began).Round(time.Millisecond), log.String())
			}
			return
		}
		_, question, asked := strings.Cut(line, markAsk)
		if line != "" && !asked {
			log.WriteString(line + "\n")
		}
		if _, figure, ok := strings.Cut(line, markFigure); ok {
			t.Log(figure)
		}
		if !asked {
			continue
		}
		if m.Answer == nil {
			fail("the test has no Answer for %q", question)
		}
		words, err := unquote(question)
		if err != nil {
			fail("question %q: %v", question, err)
		}
		answer, err := m.Answer(vm, words)
		if errors.Is(err, ErrPowerCut) {
			return // the deferred calls kill the machine
		}
		if err != nil {
			fail("%s: %v", question, err)
		}
		fmt.Fprintf(in, "%s\n", strconv.Quote(answer))
	}
	if time.Since(began) >= m.Timeout {
		fail("the machine did not end within %s", m.Timeout)
	}
	fail("the machine ended without a result")
}

func unquote(question string) ([]string, error) {
	var words []string
	for question != "" {
		w, err := strconv.QuotedPrefix(question)
		if err != nil {
			return nil, err
		}
		text, err := strconv.Unquote(w)
		if err != nil {
			return nil, err
		}
		words, question = append(words, text), strings.TrimLeft(question[len(w):], " ")
	}
	return words, nil
}
