package main

// This file runs the real program for tests that kill it again and again.

import (
	"io"
	"os/exec"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// killed is the program, which is started again with the same command line.
type killed struct {
	t    *testing.T
	path string
	args []string
	env  []string // nil: that of the test
	log  io.Writer
	cmd  *exec.Cmd
}

// newKilled does not start the program. It is killed at the end of the test.
func newKilled(t *testing.T, log io.Writer, args ...string) *killed {
	t.Helper()
	path, err := exec.LookPath("postbus")
	if err != nil {
		t.Fatal(err)
	}
	p := &killed{t: t, path: path, args: args, log: log}
	t.Cleanup(func() {
		if p.cmd != nil {
			p.kill()
		}
	})
	return p
}

func (p *killed) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.env, p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *killed) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// persistent is a client that publishes in order, also what was not acknowledged when the program was killed.
func persistent(t *testing.T, url, id string) paho.Client {
	t.Helper()
	c := paho.NewClient(paho.NewClientOptions().AddBroker(url).SetClientID(id).SetCleanSession(false).
		SetResumeSubs(true).SetConnectRetry(true).SetConnectRetryInterval(20 * time.Millisecond).SetMaxReconnectInterval(50 * time.Millisecond).SetOrderMatters(true))
	if tok := c.Connect(); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	t.Cleanup(func() { c.Disconnect(50) })
	return c
}
