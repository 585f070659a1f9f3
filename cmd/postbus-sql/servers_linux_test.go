package main

// This file runs a real Postgres for the tests, and the programs that they kill.

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// buffer is a log that several goroutines write to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// until waits for a condition.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// children lists the processes whose parent is pid.
func children(pid int) (list []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		data, _ := os.ReadFile(f)
		for _, word := range strings.Fields(string(data)) {
			if n, err := strconv.Atoi(word); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}

// postgresServer is a Postgres with an empty database.
type postgresServer struct {
	t         *testing.T
	bin, dir  string
	port      string
	as        *syscall.Credential // Postgres does not run as root
	log       buffer
	cmd       *exec.Cmd
	user, pwd string
}

// newPostgres makes a database that is not started.
func newPostgres(t *testing.T) *postgresServer {
	t.Helper()
	p := &postgresServer{t: t, port: freePort(t), user: "postbus", pwd: "secret-of-the-test"}
	if path, err := exec.LookPath("postgres"); err == nil {
		path, _ = filepath.EvalSymlinks(path)
		p.bin = filepath.Dir(path)
	} else if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres"); len(found) > 0 {
		p.bin = filepath.Dir(found[len(found)-1])
	} else {
		t.Skip("postgres is missing: install the Debian package postgresql")
	}
	top, err := os.MkdirTemp("", "postbus-sql") // of the user that Postgres runs as
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	p.dir = filepath.Join(top, "data")
	pwfile := filepath.Join(top, "password")
	if err := os.WriteFile(pwfile, []byte(p.pwd), 0o644); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Skip("there is no user postgres: install the Debian package postgresql")
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		p.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(top, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := p.command("initdb", "-D", p.dir, "-U", p.user, "-A", "scram-sha-256", "--pwfile", pwfile, "-E", "UTF8", "--locale=C", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if p.cmd != nil {
			p.kill()
		}
	})
	return p
}

func (p *postgresServer) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = filepath.Dir(p.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	return cmd
}

// url is the database's, without the password.
func (p *postgresServer) url() string {
	return "postgres://" + p.user + "@127.0.0.1:" + p.port + "/postgres"
}

// start returns when the server accepts connections. A killed server leaves processes that have to
// end first.
func (p *postgresServer) start() {
	p.t.Helper()
	until(p.t, "Postgres is up", func() bool {
		if p.cmd == nil {
			p.cmd = p.command("postgres", "-D", p.dir, "-p", p.port, "-k", "", "-c", "listen_addresses=127.0.0.1")
			p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
			if err := p.cmd.Start(); err != nil {
				p.t.Fatal(err)
			}
		}
		c, err := p.connect()
		if err == nil {
			_ = c.Close(context.Background())
			return true
		}
		if syscall.Kill(p.cmd.Process.Pid, 0) != nil || len(children(p.cmd.Process.Pid)) == 0 {
			time.Sleep(50 * time.Millisecond) // it starts, or it has ended
			var status syscall.WaitStatus
			if pid, _ := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WNOHANG, nil); pid > 0 {
				p.cmd = nil
			}
		}
		return false
	})
}

func (p *postgresServer) connect() (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(p.url())
	if err != nil {
		p.t.Fatal(err)
	}
	c.Password = p.pwd
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return pgx.ConnectConfig(ctx, c)
}

// kill kills the server with its sessions.
func (p *postgresServer) kill() {
	others := children(p.cmd.Process.Pid)
	_ = p.cmd.Process.Kill()
	for _, pid := range others {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = p.cmd.Wait()
	p.cmd = nil
}
