// This file is the guest's side: the test binary as /init.

package vmtest

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Inside reports whether this is the guest. A test for the guest returns at once on the host (a
// skip would be a failure in CI).
func Inside() bool { return os.Getpid() == 1 && os.Getenv("VMTEST") != "" }

// Main is a complete TestMain: os.Exit(vmtest.Main(m)). In the guest it doesn't return.
func Main(m *testing.M) int {
	if !Inside() {
		return m.Run()
	}
	code := 1
	if err := prepare(); err != nil {
		fmt.Println("preparing the machine:", err)
	} else {
		code = m.Run()
	}
	if code != 0 {
		printKernelLog()
	}
	fmt.Printf("\n%s%d\n", markExit, code)
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {} // the host ends the machine
}

// prepare mounts file systems, keeps the kernel and the terminal from writing into the protocol,
// and loads modules.
func prepare() error {
	for _, m := range []struct{ what, where string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}} {
		if err := unix.Mount(m.what, m.where, m.what, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m.where, err)
		}
	}
	if err := os.WriteFile("/proc/sys/kernel/printk", []byte("1"), 0); err != nil {
		return err
	}
	if term, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		term.Lflag &^= unix.ECHO | unix.ECHONL
		_ = unix.IoctlSetTermios(0, unix.TCSETS, term)
	}
	if err := loopback(); err != nil {
		return err
	}
	list, err := os.ReadFile("/modules")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(list)) {
		name, params, _ := strings.Cut(strings.TrimSpace(line), " ")
		f, err := os.Open("/" + name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), params, 0)
		f.Close()
		if err != nil {
			return fmt.Errorf("loading module %s: %w", line, err)
		}
	}
	return os.Setenv("TMPDIR", "/tmp")
}

// loopback enables 127.0.0.1, because tests run servers there.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	return nil
}

func printKernelLog() {
	buf := make([]byte, 1<<17)
	if n, err := unix.Klogctl(3, buf); err == nil { // SYSLOG_ACTION_READ_ALL
		lines := strings.Split(string(buf[:n]), "\n")
		fmt.Println("The kernel's last lines:\n" + strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
}

var console struct { // the guest's only console, which only Ask reads
	sync.Mutex
	r *bufio.Reader
}

// Ask sends the host a request and returns its answer. It fails the test when the console ends.
func Ask(t *testing.T, words ...string) string {
	t.Helper()
	console.Lock()
	defer console.Unlock()
	if console.r == nil {
		console.r = bufio.NewReader(os.Stdin)
	}
	for i, w := range words {
		words[i] = strconv.Quote(w)
	}
	fmt.Printf("\n%s%s\n", markAsk, strings.Join(words, " "))
	for {
		line, err := console.r.ReadString('\n')
		if err != nil {
			t.Fatalf("asking the host: %v", err)
		}
		if answer, err := strconv.Unquote(strings.TrimSpace(line)); err == nil {
			return answer
		}
	}
}

// Figure makes the host's test print a number that was measured in the machine.
func Figure(format string, args ...any) {
	fmt.Printf("\n%s%s\n", markFigure, fmt.Sprintf(format, args...))
}
