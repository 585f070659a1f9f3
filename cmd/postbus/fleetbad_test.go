package main

// This file has hubs that a fleet can't use: the program says why, and loses nothing until they are mended.

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus/fleet/stream"
)

// badHub is a hub that can't be used, until mend has run.
type badHub struct {
	name  string
	spoil func(t *testing.T, hub *fleetHub, attic *hubBus) // before the bus starts; the hub runs and has no stream
	mend  func(t *testing.T, hub *fleetHub, attic *hubBus)
	want  string // in the error of `fleet check` and in the log
	hint  string
}

// restarted gives a hub another configuration.
func restarted(more string) func(*testing.T, *fleetHub, *hubBus) {
	return func(t *testing.T, hub *fleetHub, _ *hubBus) {
		hub.kill()
		hub.configure(t, more)
		hub.start()
	}
}

// initialised makes the stream.
func initialised(_ *testing.T, _ *fleetHub, attic *hubBus) { attic.initFleet() }

// each calls several functions.
func each(list ...func(*testing.T, *fleetHub, *hubBus)) func(*testing.T, *fleetHub, *hubBus) {
	return func(t *testing.T, hub *fleetHub, attic *hubBus) {
		for _, f := range list {
			f(t, hub, attic)
		}
	}
}

// key is the configuration of a hub that knows one key. secret: it is attic's.
func key(t *testing.T, attic *hubBus, secret bool) string {
	seed, public, err := stream.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if secret {
		save(t, attic.file("secrets/fleet"), seed)
	}
	return fmt.Sprintf("authorization { users: [ { nkey: %s } ] }\n", public)
}

var badHubs = []badHub{
	{"no JetStream", restarted("# without jetstream"), each(restarted(""), initialised), "JetStream is not enabled", "jetstream {}"},
	{"no hub", func(_ *testing.T, hub *fleetHub, _ *hubBus) { hub.kill() },
		each(func(_ *testing.T, hub *fleetHub, _ *hubBus) { hub.start() }, initialised), "connection refused", "start the hub"},
	{"no stream", func(*testing.T, *fleetHub, *hubBus) {}, initialised, "no stream PBF_home", "postbus fleet init"},
	{"another shape", func(t *testing.T, hub *fleetHub, _ *hubBus) {
		o := stream.Options{URLs: []string{hub.url()}, Stream: "PBF_home"}
		if err := stream.Create(t.Context(), o, stream.Shape{Subjects: []string{"other.>"}}); err != nil {
			t.Fatal(err)
		}
	}, func(t *testing.T, hub *fleetHub, attic *hubBus) {
		hub.kill()
		if err := os.RemoveAll(filepath.Join(filepath.Dir(hub.config), "store")); err != nil {
			t.Fatal(err)
		}
		hub.start()
		attic.initFleet()
	}, "subjects", "stream"},
	{"wrong key", func(t *testing.T, hub *fleetHub, attic *hubBus) {
		attic.configure(entry(hub.url(), `nkey: "secret:fleet", `+everything))
		key(t, attic, true)
		restarted(key(t, attic, false))(t, hub, attic)
	}, func(t *testing.T, hub *fleetHub, attic *hubBus) {
		restarted(key(t, attic, true))(t, hub, attic) // the file is read for each attempt
		attic.initFleet()
	}, "does not accept the credentials", "postbus fleet add"},
	{"small max_payload", each(initialised, restarted("max_payload: 1024")), restarted(""), "max_payload", "max_payload"},
}

// TestBadHubs: `fleet check` and the log name what is wrong with a hub, with a hint. The bus works meanwhile, and its
// events arrive once the hub is mended.
func TestBadHubs(t *testing.T) {
	for _, bad := range badHubs {
		t.Run(bad.name, func(t *testing.T) {
			t.Parallel()
			hub := newHub(t, "")
			attic := newFleetBus(t, "attic", entry(hub.url(), everything))
			defer func() {
				if t.Failed() {
					t.Logf("attic:\n%s", lastLines(attic.log, 30))
				}
			}()
			bad.spoil(t, hub, attic)
			attic.start()
			code, out, errs := program("fleet", "check", "--config", attic.file("postbus.yaml"))
			if code != 1 || !strings.Contains(errs, bad.want) || strings.Contains(out, "ok") {
				t.Errorf("fleet check: exit code %d\n%s\n%s", code, out, errs)
			}
			if _, hint, has := strings.Cut(errs, "hint: "); bad.hint != "" && (!has || !strings.Contains(hint, bad.hint)) {
				t.Errorf("fleet check has no hint with %q: %s", bad.hint, errs)
			}
			t.Log(strings.TrimSpace(errs))
			attic.log.waitFor(t, "no exchange with the hub")
			if log := attic.log.String(); !strings.Contains(log, bad.want) || bad.name != "no hub" && !strings.Contains(log, bad.hint) {
				t.Errorf("the log does not name it:\n%s", log)
			}
			f := newFeed(t, attic, 500)
			soon(t, "the bus accepts events", func() bool { return len(attic.values("ev/state/#")) == 3 })
			f.end()
			bad.mend(t, hub, attic)
			entries := []string{entry(hub.url(), everything)}
			desk := newFleetBus(t, "desk", entries...)
			if bad.name == "wrong key" {
				seed, err := os.ReadFile(attic.file("secrets/fleet"))
				if err != nil {
					t.Fatal(err)
				}
				save(t, desk.file("secrets/fleet"), seed)
				desk.configure(entry(hub.url(), `nkey: "secret:fleet", `+everything))
			}
			desk.start()
			soon(t, "the events arrive", func() bool { return len(desk.values("ev/end/#")) == 1 })
			if code, out, errs := program("fleet", "check", "--config", attic.file("postbus.yaml")); code != 0 || !strings.Contains(out, "ok: fleet home") {
				t.Errorf("fleet check: exit code %d\n%s\n%s", code, out, errs)
			}
			attic.end()
			desk.end()
			own := attic.events()["attic"]
			if f := compareOrder(own, desk.events()["attic"]); f != (faults{}) {
				t.Errorf("%+v", f)
			}
			if missing := compareOrder(f.acked, own).lost; missing > 0 {
				t.Errorf("attic lost %d of its events", missing)
			}
		})
	}
}
