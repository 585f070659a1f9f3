package attack

// This file starts the brokers, and measures what they use.

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
)

// broker is a running broker.
type broker struct {
	target
	cmd    *exec.Cmd
	cgroup string // "" when the machine gives none
	ended  chan error
}

// cgroup makes a cgroup with a bound of memory; "" if this machine gives none.
func cgroup(t *testing.T, name string, bytes int64) string {
	t.Helper()
	for _, kind := range []struct{ root, limit string }{{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"}} {
		dir := filepath.Join(kind.root, fmt.Sprintf("postbus-attack-%d-%s", os.Getpid(), name))
		if _, err := os.Stat(filepath.Join(kind.root, "cgroup.procs")); err != nil || os.Mkdir(dir, 0o755) != nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, kind.limit), []byte(strconv.FormatInt(bytes, 10)), 0o644); err != nil {
			_ = os.Remove(dir)
			continue
		}
		t.Cleanup(func() {
			for range 100 {
				if os.Remove(dir) == nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
		return dir
	}
	return ""
}

// run starts a program in the cgroup, and waits until its MQTT port is open.
func run(t *testing.T, at target, cgroup string, env []string, name string, args ...string) *broker {
	t.Helper()
	b := &broker{target: at, cgroup: cgroup, ended: make(chan error, 1)}
	script := `exec "$@"`
	if cgroup != "" {
		script = `echo $$ >` + cgroup + `/cgroup.procs && exec "$@"`
	}
	b.cmd = exec.Command("sh", append([]string{"-c", script, "sh", name}, args...)...)
	b.cmd.Env = append(os.Environ(), env...)
	log, err := os.OpenFile(filepath.Join(t.TempDir(), "log"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	b.cmd.Stdout, b.cmd.Stderr = log, log
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { b.ended <- b.cmd.Wait() }()
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s:\n%s", name, text[max(0, len(text)-3000):])
		}
		_ = b.cmd.Process.Kill()
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", at.mqtt, time.Second)
		if err == nil {
			c.Close()
			return b
		}
		if b.alive() != nil || time.Now().After(end) {
			t.Fatalf("%s does not start: %v", name, errors.Join(err, b.alive()))
		}
	}
}

// alive returns why the program has ended.
func (b *broker) alive() error {
	select {
	case err := <-b.ended:
		b.ended <- err
		return fmt.Errorf("the program has ended: %v (%s)", err, b.cmd.ProcessState)
	default:
		return nil
	}
}

// stop stops the program in order.
func (b *broker) stop(t *testing.T) {
	t.Helper()
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-b.ended:
		if err != nil {
			t.Errorf("stop: %v", err)
		}
		b.ended <- err
	case <-time.After(time.Minute):
		t.Error("it does not stop")
	}
}

// usage is the resident memory and its maximum since the start in MiB, and the processor time.
func (b *broker) usage() (rss, peak int, cpu time.Duration) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.Atoi(f[1])
		switch f[0] {
		case "VmRSS:":
			rss = n >> 10
		case "VmHWM:":
			peak = n >> 10
		}
	}
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.cmd.Process.Pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	if f := strings.Fields(after); len(f) > 12 {
		user, _ := strconv.Atoi(f[11])
		system, _ := strconv.Atoi(f[12])
		cpu = time.Duration(user+system) * 10 * time.Millisecond // a tick is 1/100 s
	}
	return rss, peak, cpu
}

// resetPeak makes the maximum of memory start anew.
func (b *broker) resetPeak() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", b.cmd.Process.Pid), []byte("5"), 0o200)
}

func command(t *testing.T, input, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// postbus builds the program, gives the two users their rights, and starts it. Without identities there is
// no TLS.
func postbus(t *testing.T, who *identities) (start func() *broker) {
	t.Helper()
	dir := t.TempDir()
	program, file := filepath.Join(dir, "postbus"), filepath.Join(dir, "postbus.yaml")
	command(t, "", "go", "build", "-o", program, "github.com/postbus/postbus/cmd/postbus")
	at := target{mqtt: programtest.FreePort(t), http: programtest.FreePort(t), who: who}
	listen, client := fmt.Sprintf("{mqtt: [\"tcp://%s\"], http: %q}", at.mqtt, at.http), http.DefaultClient
	if who != nil {
		listen = fmt.Sprintf("{mqtt: [\"tls://%s\"], http: \"https://%s\", tls: {cert: %[3]s/cert.pem, key: %[3]s/key.pem, client_ca: %[3]s/ca.pem}}", at.mqtt, at.http, who.dir)
		client = &http.Client{Transport: &http.Transport{TLSClientConfig: who.client(&who.honest)}}
		t.Cleanup(client.CloseIdleConnections)
	}
	config := "profile: pi\ndata_dir: data\nplugins_dir: plugins\nlisten: " + listen + "\nanonymous: off\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, honest+"\n", program, "user", "add", "honest", "--config", file, "--publish", "honest/#", "--subscribe", "honest/#")
	command(t, password+"\n", program, "user", "add", mallory, "--config", file, "--publish", mallory+"/#", "--subscribe", mallory+"/#")
	if who != nil { // HTTPS asks for certificates if a user has one
		command(t, "", program, "user", "set", "honest", "--config", file, "--certificate", "CN=honest")
	}
	group := cgroup(t, "postbus", memory)
	return func() *broker {
		b := run(t, at, group, nil, program, "run", "--config", file, "--log-level", "warn")
		for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			scheme := map[bool]string{true: "http://", false: "https://"}[who == nil]
			resp, err := client.Get(scheme + at.http + "/readyz")
			if err == nil {
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					return b
				}
			}
			if b.alive() != nil || time.Now().After(end) {
				t.Fatalf("it is not ready: %v", errors.Join(err, b.alive()))
			}
		}
	}
}

// mosquitto is the same with Debian's Mosquitto, whose defaults for memory stay.
func mosquitto(t *testing.T, who *identities) (start func() *broker) {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	users, rules, file := filepath.Join(dir, "users"), filepath.Join(dir, "rules"), filepath.Join(dir, "mosquitto.conf")
	command(t, "", "mosquitto_passwd", "-c", "-b", users, "honest", honest)
	command(t, "", "mosquitto_passwd", "-b", users, mallory, password)
	at, secure := target{mqtt: programtest.FreePort(t), who: who}, ""
	if who != nil {
		secure = fmt.Sprintf("cafile %[1]s/ca.pem\ncertfile %[1]s/cert.pem\nkeyfile %[1]s/key.pem\nrequire_certificate true\n", who.dir)
	}
	for name, text := range map[string]string{
		rules: "user honest\ntopic readwrite honest/#\nuser " + mallory + "\ntopic readwrite " + mallory + "/#\n",
		file: fmt.Sprintf("listener %s 127.0.0.1\n%sallow_anonymous false\npassword_file %s\nacl_file %s\npersistence true\npersistence_location %s/\nautosave_interval 30\nuser root\n",
			at.mqtt[strings.LastIndex(at.mqtt, ":")+1:], secure, users, rules, dir),
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	group := cgroup(t, "mosquitto", memory)
	return func() *broker { return run(t, at, group, nil, program, "-c", file) }
}
