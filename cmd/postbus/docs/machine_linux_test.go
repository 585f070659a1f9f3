// This file runs a document in a virtual machine.

package docs

import (
	"archive/tar"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// step is a block that runs in the machine.
type step struct {
	block
	user string // the user who runs it
	out  string
	code string // "" when it was not run
}

// guest runs the steps of /docs, continues after a restart, and reports on the second serial port.
// Steps of a user share their variables, as lines typed into one terminal do.
const guest = `#!/bin/bash
ip addr add 10.0.2.15/24 dev eth0 2>/dev/null; ip link set eth0 up
mkdir -p /var/lib/docs; chmod 777 /var/lib/docs
until [ "$(systemctl is-system-running)" != starting ] || [ $((i++)) -gt 50 ]; do
	systemctl list-jobs | grep -qv docs.service | head -n 1; sleep 0.2
done
# Somebody is logged in at the machine.
mkdir -p /run/systemd/system/getty@tty1.service.d
printf '[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin USER --noclear tty1 linux\n' >/run/systemd/system/getty@tty1.service.d/docs.conf
systemctl daemon-reload; systemctl restart getty@tty1
until loginctl --no-legend | grep -q 'USER *seat0'; do sleep 0.2; done
for f in /docs/steps/*; do
	n=${f##*/}; n=${n%.*}
	[ ! -e /var/lib/docs/$n ] || [ $n = "$cut" ] || continue
	touch /var/lib/docs/$n
	# What is done is on disk before it is done, also a power cut that follows: nothing is synced between the two.
	next=$(printf %03d $((10#${n%-} + 1)))
	if [ -e /docs/steps/$next.cut ]; then cut=$next; touch /var/lib/docs/$next; fi
	sync
	echo "@@ begin $n"
	case $f in
	*.sh|*.user) su -l USER -c "touch /var/lib/docs/env; . /var/lib/docs/env; cat >/var/lib/docs/now.sh <$f; echo 'export -p >/var/lib/docs/env' >>/var/lib/docs/now.sh; timeout 100 bash -e /var/lib/docs/now.sh" 2>&1 | cat ;;
	*.other) su -s /bin/bash nobody -c "cd /; HOME=/nonexistent timeout 60 bash -e $f" 2>&1 | cat ;;
	*.root) timeout 100 bash -e $f 2>&1 | cat ;;
	*.cut) echo b >/proc/sysrq-trigger; sleep infinity ;;
	esac
	code=${PIPESTATUS[0]}
	echo; echo "@@ end $n $code $SECONDS"
done
echo "@@ done"
systemctl poweroff -f
`

// TestDocuments follows the documents. It does nothing unless .ci/docs runs it.
func TestDocuments(t *testing.T) {
	cache := os.Getenv("DOCS_MACHINE")
	if cache == "" {
		return // not a skip, which is a failure elsewhere
	}
	program := build(t, "linux", "amd64")
	for _, name := range documents {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			follow(t, cache, program, name)
		})
	}
}

func follow(t *testing.T, cache, program, name string) {
	blocks, err := read(name)
	if err != nil {
		t.Fatal(err)
	}
	user := map[string]string{"raspberry-pi.md": "pi", "desktop.md": "me"}[name]
	steps := stepsOf(t, blocks, user, extra[name])
	dir := t.TempDir()
	if err := payload(dir+"/payload.tar", program, user, steps); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	out := boot(t, cache, dir)
	ran, notRun := 0, 0
	for i := range steps {
		s := &steps[i]
		where := fmt.Sprintf("docs/%s:%d", name, s.line)
		if s.line == 0 {
			where = "beside the document"
		}
		switch s.kind {
		case "pi":
			notRun++
			t.Logf("%s: not run:\n%s", where, s.text)
			continue
		case "pc":
			s.out, s.code = onPC(t, s.text)
		case "html":
			continue
		case "text":
			if m := missing(s.text, before(steps[:i])); len(m) > 0 {
				t.Errorf("%s: the commands before it did not print:\n  %s\nbut:\n%s", where, strings.Join(m, "\n  "), before(steps[:i]))
			}
			continue
		default:
			s.out, s.code = result(out, i)
		}
		if s.kind == "cut" {
			continue // it has no end
		}
		ran++
		if s.code != "0" {
			t.Errorf("%s: exit code %q:\n%s\nsaid:\n%s", where, s.code, s.text, s.out)
		} else if testing.Verbose() && s.kind != "yaml" {
			t.Logf("%s: %s\n%s", where, strings.TrimSpace(s.text), strings.TrimSpace(s.out))
		}
	}
	t.Logf("%s: %d blocks ran, %d did not (%s)", name, ran, notRun, time.Since(began).Round(time.Second))
	if !strings.Contains(out, "@@ done") {
		t.Errorf("the machine did not get to the end; it said:\n%s", out)
	}
	checkErrors(t, name, out)
}

// before returns the output of the last commands.
func before(steps []step) string {
	for i := len(steps) - 1; i >= 0; i-- {
		if k := steps[i].kind; steps[i].line > 0 && k != "text" && k != "html" && k != "pi" && k != "yaml" {
			return steps[i].out
		}
	}
	return ""
}

// stepsOf inserts the test's own steps after their blocks.
func stepsOf(t *testing.T, blocks []block, user string, more []step) []step {
	t.Helper()
	var steps []step
	for _, b := range blocks {
		steps = append(steps, step{block: b, user: user})
		for i := range more {
			if m := &more[i]; m.path != "" && b.kind != "pi" && b.kind != "text" && strings.Contains(b.text, m.path) {
				steps = append(steps, step{block: block{kind: m.kind, text: m.text}})
				m.path = ""
			}
		}
	}
	for _, m := range more {
		if m.path != "" {
			t.Fatalf("no block has %q", m.path)
		}
	}
	return steps
}

func result(out string, n int) (text, code string) {
	m := regexp.MustCompile(fmt.Sprintf(`(?s)@@ begin %03d\r?\n(.*?)\r?\n@@ end %03d (\d+)`, n, n)).FindStringSubmatch(out)
	if m == nil {
		return "", ""
	}
	return strings.ReplaceAll(m[1], "\r", ""), m[2]
}

var onePC sync.Mutex

// onPC runs commands in the repository, unchanged. It removes the programs that they build.
func onPC(t *testing.T, text string) (out, code string) {
	t.Helper()
	onePC.Lock()
	defer onePC.Unlock()
	program := "../../../postbus"
	if _, err := os.Stat(program); err == nil {
		t.Fatalf("%s is in the way", program)
	}
	defer os.Remove(program)
	c := exec.Command("bash", "-ec", text)
	c.Dir = "../../.."
	c.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false")
	output, err := c.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s%v", output, err), "1"
	}
	return string(output), "0"
}

// payload writes the archive on the second disk.
func payload(file, program, user string, steps []step) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	put := func(name string, mode int64, text []byte) error {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(text)), ModTime: time.Now()}); err != nil {
			return err
		}
		_, err := w.Write(text)
		return err
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if err := put("postbus", 0o755, text); err != nil {
		return err
	}
	if self, err := os.Executable(); err != nil {
		return err
	} else if text, err = os.ReadFile(self); err != nil {
		return err
	}
	if err := put("desktop", 0o755, text); err != nil {
		return err
	}
	if err := put("guest", 0o755, []byte(strings.ReplaceAll(guest, "USER", user))); err != nil {
		return err
	}
	// As `scp postbus pi@raspberrypi:` leaves it; a PC has it from `go build`.
	if err := put("steps/000-.root", 0o644, []byte("install -o "+user+" -g "+user+" /docs/postbus /home/"+user+"/postbus\n")); err != nil {
		return err
	}
	for i, s := range steps {
		kind, text := s.kind, s.text+"\n"
		switch s.kind {
		case "pi", "pc", "text", "html":
			continue
		case "yaml":
			kind, text = "root", saved(s)
			if strings.HasPrefix(s.path, "~") {
				kind = "sh"
			}
		}
		if err := put(fmt.Sprintf("steps/%03d.%s", i, kind), 0o644, []byte(text)); err != nil {
			return err
		}
	}
	return w.Close()
}

// saved saves a file as an editor does, and waits until the bus has noticed.
func saved(s step) string {
	return "mkdir -p " + filepath.Dir(s.path) + "\ncat >" + s.path + " <<'END-OF-FILE'\n" + s.text + "END-OF-FILE\nsleep 2\n"
}

// boot runs the machine to its end and returns the output of its second serial port.
func boot(t *testing.T, cache, dir string) string {
	t.Helper()
	c := exec.Command("qemu-system-x86_64", "-M", "q35", "-m", "768", "-smp", "2", "-accel", "tcg,thread=multi", "-display", "none", "-monitor", "none",
		"-nic", "user,model=virtio-net-pci,restrict=on",
		"-drive", "file="+cache+"/disk,format=raw,if=virtio,snapshot=on", "-drive", "file="+dir+"/payload.tar,format=raw,if=virtio,snapshot=on",
		"-kernel", cache+"/vmlinuz", "-initrd", cache+"/initrd", "-append", "console=ttyS0 quiet panic=5 net.ifnames=0 rw",
		"-serial", "file:"+dir+"/console", "-serial", "file:"+dir+"/out")
	c.Env = append(os.Environ(), "TMPDIR="+dir)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the machine: %v", err)
		}
	case <-time.After(15 * time.Minute):
		_ = c.Process.Kill()
		<-ended
		t.Error("the machine did not end in time")
	}
	out, err := os.ReadFile(dir + "/out")
	if err != nil {
		t.Fatal(err)
	}
	if t.Failed() || !strings.Contains(string(out), "@@ done") {
		console, _ := os.ReadFile(dir + "/console")
		t.Logf("the console:\n%s", console)
	}
	return string(out)
}
