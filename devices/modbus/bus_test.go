package modbus

// This file is shared by the tests: a bus that holds things, and a running source.

import (
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

const patience = kindtest.Patience

// bus has steps that several tests share.
type bus struct{ *kindtest.Bus }

func newBus() bus { return bus{kindtest.NewBus()} }

// until waits for an event for which is returns true.
func (b bus) until(t *testing.T, name string, is func(e map[string]any) bool) map[string]any {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		e := b.Next(t)
		if is(e) {
			return e
		}
		if time.Now().After(end) {
			t.Fatalf("not in time: %s, but %v", name, e)
		}
	}
}

func ok(e map[string]any) bool    { return e["ok"] == true }
func notOK(e map[string]any) bool { return e["ok"] == false }

func (b bus) last() string {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	return b.Last()
}

// options returns options with a poll a second, and a timeout that a busy machine keeps.
func options(registers ...Register) Options {
	o := defaults()
	o.Every, o.Timeout, o.Registers = time.Second, 2*time.Second, registers
	return o
}

// start runs a source. The returned function stops it.
func (b bus) start(t *testing.T, o Options) (stop func()) {
	t.Helper()
	if errs := o.Check(); errs != nil {
		t.Fatal(errs)
	}
	return b.Start(t, New(o, b), nil)
}

func reg(name string, address int) Register { return Register{Name: name, Address: address} }
