package hour

// This file is the program under test, its disk, and what it tells of itself.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// disk is a file system of its own, or a plain folder where this machine allows none.
type disk struct {
	dir  string
	real bool // it is small
}

// newDisk mounts a tmpfs in a mount namespace that a child process has: it is reached below /proc, and ends with
// that process, which ends with this one.
func newDisk(t *testing.T, size string) *disk {
	t.Helper()
	at := t.TempDir()
	cmd := exec.Command("sh", "-c", `mount -t tmpfs -o size="$1",mode=0700 postbus-hour "$2" && echo ready && exec cat`, "sh", size, at)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Logf("this machine gives no mount namespace: the disk is full by limits.disk_free: %v", err)
		return &disk{dir: at}
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // which says only that it was ended
	})
	ready := make([]byte, len("ready"))
	if _, err := io.ReadFull(out, ready); err != nil {
		t.Logf("this machine mounts no tmpfs for this user: the disk is full by limits.disk_free: %s", &errs)
		return &disk{dir: at}
	}
	return &disk{dir: fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, at), real: true}
}

// fill writes a file until nothing fits, and again whenever something does, until ctx ends; then it is removed.
func (d *disk) fill(ctx context.Context) error {
	name := filepath.Join(d.dir, "filler")
	defer os.Remove(name)
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 64<<10); ctx.Err() == nil; {
		n, err := f.Write(block)
		switch {
		case err == nil:
		case !errors.Is(err, syscall.ENOSPC):
			return err
		case n == 0 && len(block) > 512:
			block = block[:len(block)/2]
		case n == 0:
			block = block[:cap(block)]
			timer := time.NewTimer(20 * time.Millisecond)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		}
	}
	return nil
}

// program is the bus.
type program struct {
	path   string
	house  *house
	log    string
	client http.Client

	cmd      *exec.Cmd
	ended    chan error
	starts   []time.Duration
	most     int // MiB
	kills    int
	stops    int
	answered atomic.Value // the last error of the API
	written  int64        // bytes of the log that were looked at
}

func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postbus")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/postbus/postbus/cmd/postbus").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// start starts the bus and waits until it accepts events.
func (p *program) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.path, "run", "--config", p.house.config())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	p.cmd, p.ended = cmd, ended
	if err := p.until("the bus is ready", func() bool { _, code := p.ready(); return code == http.StatusOK }); err != nil {
		return err
	}
	p.starts = append(p.starts, time.Since(began))
	return nil
}

// until waits for a condition while the bus runs.
func (p *program) until(what string, reached func() bool) error {
	for end := time.Now().Add(2 * time.Minute); ; {
		if reached() {
			return nil
		}
		select {
		case err := <-p.ended:
			p.ended <- err
			return fmt.Errorf("the bus has ended, before %s: %v", what, err)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited in vain until %s (the last error of the API: %v)", what, p.answered.Load())
		}
	}
}

// end ends the bus by a signal, and reports whether it stopped as it should.
func (p *program) end(sig syscall.Signal) error {
	p.measure()
	if err := p.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case err := <-p.ended:
		p.ended <- err // the end of the test asks again
		if sig == syscall.SIGKILL {
			p.kills++
			return nil
		}
		p.stops++
		return err
	case <-time.After(time.Minute):
		return fmt.Errorf("the bus does not stop on %v", sig)
	}
}

// measure notes the largest memory of the bus.
func (p *program) measure() {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			n, _ := strconv.Atoi(f[1])
			p.most = max(p.most, n>>10)
		}
	}
}

// ready asks /readyz.
func (p *program) ready() (body string, code int) {
	resp, err := p.client.Get("http://" + p.house.places["ws"] + "/readyz")
	if err != nil {
		return err.Error(), 0
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error(), 0
	}
	return string(b), resp.StatusCode
}

// api asks the API as the judge.
func (p *program) api(path string, into any) (err error) {
	defer func() {
		if err != nil {
			p.answered.Store(err.Error())
		}
	}()
	r, err := http.NewRequest(http.MethodGet, "http://"+p.house.places["ws"]+"/api/v1/"+path, nil)
	if err != nil {
		return err
	}
	r.SetBasicAuth(judge, p.house.password(judge))
	resp, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// session is what the bus says of one.
type session struct {
	Name   string            `json:"name"`
	Online bool              `json:"online"`
	Lag    uint64            `json:"lag"`
	Lost   map[string]uint64 `json:"lost"`
}

func (p *program) sessions() (list []session, err error) {
	err = p.api("sessions?limit=1000", &list)
	return list, err
}

// damaged is what each session has lost by damage, ever, as the bus counts it.
func (p *program) damaged() (map[string]uint64, error) {
	list, err := p.sessions()
	lost := map[string]uint64{}
	for _, s := range list {
		lost[s.Name] = s.Lost["damaged"]
	}
	return lost, err
}

// newLog is what the bus has logged since the last call.
func (p *program) newLog() string {
	b, _ := os.ReadFile(p.log)
	text := string(b[min(p.written, int64(len(b))):])
	p.written = int64(len(b))
	return text
}
