//go:build linux

// This file tests with a real bus, on which the test itself is systemd.

package unit

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// bus is a private dbus-daemon.
type bus struct {
	t       *testing.T
	dir     string
	address string
	cmd     *exec.Cmd
}

func newBus(t *testing.T) *bus {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("needs dbus-daemon, which is in Debian's dbus-daemon (or dbus)")
	}
	dir, err := os.MkdirTemp("", "unit") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	b := &bus{t: t, dir: dir, address: "unix:path=" + dir + "/bus"}
	config := fmt.Sprintf(`<busconfig><type>session</type><listen>%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`, b.address)
	if err := os.WriteFile(dir+"/config", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.stop()
		os.RemoveAll(dir)
	})
	b.start()
	return b
}

func (b *bus) start() {
	b.t.Helper()
	b.cmd = exec.Command("dbus-daemon", "--nofork", "--nopidfile", "--config-file="+b.dir+"/config")
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("unix", b.dir+"/bus")
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			b.t.Fatal("the bus does not come up:", err)
		}
	}
}

func (b *bus) stop() {
	if b.cmd.ProcessState == nil {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
	}
	_ = os.Remove(b.dir + "/bus")
}

// fakeSystemd has units, and signals their changes to subscribers.
type fakeSystemd struct {
	t    *testing.T
	conn *dbus.Conn

	mu         sync.Mutex
	units      map[string]map[string]map[string]dbus.Variant // by name, and interface
	subscribed int
}

func service(active, sub string) map[string]map[string]dbus.Variant {
	v := dbus.MakeVariant
	return map[string]map[string]dbus.Variant{
		unitKind:             {"ActiveState": v(active), "SubState": v(sub), "Description": v("A web server"), "LoadState": v("loaded")},
		systemd + ".Service": {"Result": v("success"), "MainPID": v(uint32(0)), "ExecMainCode": v(int32(0)), "ExecMainStatus": v(int32(0))},
	}
}

func path(name string) dbus.ObjectPath {
	return dbus.ObjectPath(string(managerPath) + "/unit/" + strings.NewReplacer(".", "_2e", "-", "_2d").Replace(name))
}

func (b *bus) systemd(units ...string) *fakeSystemd {
	b.t.Helper()
	conn, err := dbus.Connect(b.address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	f := &fakeSystemd{t: b.t, conn: conn, units: map[string]map[string]map[string]dbus.Variant{}}
	for _, u := range units {
		f.units[u] = service("inactive", "dead")
	}
	if err := conn.Export(f, managerPath, manager); err != nil {
		b.t.Fatal(err)
	}
	if err := conn.ExportSubtreeMethodTable(map[string]any{"GetAll": f.getAll}, managerPath, properties); err != nil {
		b.t.Fatal(err)
	}
	if r, err := conn.RequestName(systemd, dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		b.t.Fatal(r, err)
	}
	return f
}

// Subscribe is a method on the bus, as the others that begin with a capital letter.
func (f *fakeSystemd) Subscribe() *dbus.Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subscribed++
	return nil
}

func (f *fakeSystemd) LoadUnit(name string) (dbus.ObjectPath, *dbus.Error) {
	if name == "www.service" { // an alias
		name = "nginx.service"
	}
	return path(name), nil
}

type listed struct {
	Name, Description, Load, Active, Sub, Following string
	Path                                            dbus.ObjectPath
	Job                                             uint32
	JobType                                         string
	JobPath                                         dbus.ObjectPath
}

func (f *fakeSystemd) ListUnits() ([]listed, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []listed{{Name: "ngin.service", Load: "not-found", Path: "/x", JobPath: "/"}}
	for name := range f.units {
		out = append(out, listed{Name: name, Description: "A web server", Load: "loaded", Active: "active", Path: path(name), JobPath: "/"})
	}
	return out, nil
}

type unitFile struct{ Path, State string }

func (f *fakeSystemd) ListUnitFiles() ([]unitFile, *dbus.Error) {
	return []unitFile{{"/lib/systemd/system/nginx-debug.service", "disabled"}, {"/lib/systemd/system/cron.service", "enabled"}}, nil
}

func (f *fakeSystemd) getAll(m dbus.Message, kind string) (map[string]dbus.Variant, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, _ := m.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	for name, u := range f.units {
		if path(name) == at {
			return maps.Clone(u[kind]), nil
		}
	}
	v := dbus.MakeVariant
	return map[string]dbus.Variant{"LoadState": v("not-found"), "ActiveState": v("inactive"), "SubState": v("dead")}, nil
}

// set changes a unit, and signals the change unless silent.
func (f *fakeSystemd) set(name, active, sub string, silent bool, more map[string]any) {
	f.t.Helper()
	f.mu.Lock()
	u := f.units[name]
	news := map[string]dbus.Variant{"ActiveState": dbus.MakeVariant(active), "SubState": dbus.MakeVariant(sub)}
	maps.Copy(u[unitKind], news)
	for k, v := range more {
		u[systemd+".Service"][k] = dbus.MakeVariant(v)
	}
	subscribed := f.subscribed
	f.mu.Unlock()
	if silent {
		return
	}
	if subscribed == 0 {
		f.t.Error("there is no subscription, without which systemd sends no signals")
	}
	for _, e := range []struct {
		kind string
		news map[string]dbus.Variant
	}{{systemd + ".Service", map[string]dbus.Variant{"StatusText": dbus.MakeVariant("x")}}, {unitKind, news}} {
		if err := f.conn.Emit(path(name), properties+".PropertiesChanged", e.kind, e.news, []string{"Conditions"}); err != nil {
			f.t.Fatal(err)
		}
	}
}

// healthy waits until the source reports that it works, or that it doesn't.
func healthy(t *testing.T, env *kindtest.Bus, want bool) string {
	t.Helper()
	for {
		if got := env.NextDegraded(t); (got == "<nil>") == want {
			return got
		}
	}
}

func (b *bus) source(units ...string) (*Source, *kindtest.Bus) {
	o := defaults()
	o.Units, o.Address = units, b.address
	env := kindtest.NewBus()
	s := New(o, env)
	s.waitMin = 20 * time.Millisecond
	return s, env
}

const inAnyOrder = "in any order"

func run(t *testing.T, s *Source) (expect func(want ...string), stop func() error) {
	t.Helper()
	if errs := s.o.Check(); errs != nil {
		t.Fatal(errs)
	}
	env := s.env.(*kindtest.Bus)
	ended := make(chan error, 1)
	end := env.Start(t, s, func(ctx context.Context) error {
		ended <- s.Run(ctx, env.Emit)
		return nil
	})
	expect = func(want ...string) {
		t.Helper()
		anyOrder := len(want) > 0 && want[0] == inAnyOrder
		if anyOrder {
			want = want[1:]
		}
		for len(want) > 0 {
			e := env.Next(t)
			got := fmt.Sprint(e["unit"], " ", e["before"], ">", e["state"], " ", e["sub"], " ", e["result"], " ", e["pid"], " ", e["exit"], " ", e["initial"])
			i := 0
			if anyOrder {
				i = max(0, slices.Index(want, got))
			}
			if got != want[i] || e["description"] != "A web server" || e["loaded"] != "loaded" {
				t.Errorf("got %s (%v), want %s", got, e, want[i])
			}
			want = slices.Delete(slices.Clone(want), i, i+1)
		}
	}
	return expect, func() error {
		t.Helper()
		end()
		env.None(t)
		return <-ended
	}
}

func TestStates(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("", func(t *testing.T) {
		b := newBus(t)
		f := b.systemd("nginx.service", "cron.service", "other.service")
		s, _ := b.source("nginx", "cron.service")
		expect, stop := run(t, s)
		f.set("nginx.service", "activating", "start", false, map[string]any{"MainPID": uint32(4711)})
		f.set("other.service", "failed", "failed", false, nil)
		expect("nginx.service inactive>activating start success 4711 <nil> false")
		f.set("nginx.service", "active", "running", false, nil)
		f.set("nginx.service", "active", "running", false, nil) // no change
		expect("nginx.service activating>active running success 4711 <nil> false")
		f.set("cron.service", "active", "running", false, nil)
		expect("cron.service inactive>active running success <nil> <nil> false")
		f.set("nginx.service", "failed", "failed", false, map[string]any{"MainPID": uint32(0), "Result": "exit-code", "ExecMainCode": int32(1), "ExecMainStatus": int32(3)})
		expect("nginx.service active>failed failed exit-code <nil> 3 false")
		// As after `systemctl daemon-reload`, which sends only this signal.
		f.set("cron.service", "inactive", "dead", true, nil)
		if err := f.conn.Emit(managerPath, manager+".Reloading", false); err != nil {
			t.Fatal(err)
		}
		expect("cron.service active>inactive dead success <nil> <nil> false")
		if err := stop(); err != nil {
			t.Error(err)
		}
		f.conn.Close()
	})
	kindtest.NoMoreGoroutines(t, before)
}

// TestStrangersAreNotHeard sends signals from other programs, because any client may send us one.
func TestStrangersAreNotHeard(t *testing.T) {
	b := newBus(t)
	f := b.systemd("nginx.service")
	s, _ := b.source("nginx")
	expect, stop := run(t, s)
	stranger, err := dbus.Connect(b.address)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	to, v := dbus.MakeVariant(s.conn.conn.Names()[0]), dbus.MakeVariant
	send := func(at dbus.ObjectPath, iface, member string, body ...any) {
		stranger.Send(&dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{dbus.FieldPath: v(at), dbus.FieldInterface: v(iface),
			dbus.FieldMember: v(member), dbus.FieldSignature: v(dbus.SignatureOf(body...)), dbus.FieldDestination: to}}, nil)
	}
	send(path("nginx.service"), properties, "PropertiesChanged", unitKind, map[string]dbus.Variant{"ActiveState": v("failed"), "SubState": v("failed")}, []string{})
	send("/", "org.freedesktop.DBus", "NameOwnerChanged", systemd, ":1.1", "")
	if err := stranger.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
		t.Fatal(err)
	}
	f.set("nginx.service", "active", "running", false, nil)
	expect("nginx.service inactive>active running success <nil> <nil> false")
	if err := stop(); err != nil {
		t.Error(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subscribed != 1 {
		t.Errorf("it connected %d times", f.subscribed)
	}
}

// TestMoreChangesThanThereIsRoomFor makes more changes than fit the queue while an event waits for
// the disk: the last one counts.
func TestMoreChangesThanThereIsRoomFor(t *testing.T) {
	b := newBus(t)
	f := b.systemd("nginx.service")
	s, _ := b.source("nginx")
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f.set("nginx.service", "active", "running", true, nil)
	for range cap(s.conn.signals) + 1 { // those before
		s.conn.DeliverSignal("", "", &dbus.Signal{Sender: f.conn.Names()[0], Path: path("nginx.service"), Name: properties + ".PropertiesChanged",
			Body: []any{unitKind, map[string]dbus.Variant{"ActiveState": dbus.MakeVariant("inactive"), "SubState": dbus.MakeVariant("dead")}, []string{}}})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []any
	if err := s.Run(ctx, func(_ context.Context, _ time.Time, e map[string]any) error {
		if got = append(got, e["state"]); len(got) == 3 {
			cancel()
		}
		return nil
	}); err != nil || fmt.Sprint(got) != "[active inactive active]" {
		t.Error(got, err)
	}
}

func TestTwoNamesOfAUnit(t *testing.T) {
	b := newBus(t)
	f := b.systemd("nginx.service")
	s, _ := b.source("nginx", "www")
	expect, stop := run(t, s)
	f.set("nginx.service", "active", "running", false, nil)
	// The first look, which takes one unit after the other, may fall around the change.
	expect(inAnyOrder, "nginx.service inactive>active running success <nil> <nil> false", "www.service inactive>active running success <nil> <nil> false")
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestInitialStates(t *testing.T) {
	b := newBus(t)
	f := b.systemd("nginx.service", "cron.service")
	f.set("nginx.service", "active", "running", true, map[string]any{"MainPID": uint32(7)})
	s, _ := b.source("nginx", "cron")
	s.o.Initial = true
	expect, stop := run(t, s)
	expect("nginx.service <nil>>active running success 7 <nil> true", "cron.service <nil>>inactive dead success <nil> <nil> true")
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestAUnitThatDoesNotExist(t *testing.T) {
	b := newBus(t)
	b.systemd("nginx.service", "ssh.service")
	for unit, want := range map[string]string{
		"ngnix": "there is no unit ngnix.service; similar: nginx.service",
		"ngin":  "there is no unit ngin.service; similar: nginx-debug.service, nginx.service",
		"crond": "there is no unit crond.service; similar: cron.service",
		"zzz":   "there is no unit zzz.service; `systemctl list-unit-files` lists them",
	} {
		s, _ := b.source(unit)
		if err := s.Open(t.Context()); err == nil || err.Error() != want {
			t.Errorf("%s: %v", unit, err)
		}
		s.Close()
	}
}

func TestTheBusAndSystemdComeAndGo(t *testing.T) {
	b := newBus(t)
	b.stop()
	s, env := b.source("nginx")
	expect, stop := run(t, s)
	if got := healthy(t, env, false); !strings.Contains(got, "the system bus of D-Bus is not running") {
		t.Error(got)
	}
	b.start()
	if got := healthy(t, env, false); !strings.Contains(got, "systemd is not on the bus; does this machine use it?") {
		t.Error(got)
	}
	f := b.systemd("nginx.service")
	healthy(t, env, true)
	f.set("nginx.service", "active", "running", false, nil)
	expect("nginx.service inactive>active running success <nil> <nil> false")

	b.stop()
	if got := healthy(t, env, false); !strings.Contains(got, "the bus has ended the connection") {
		t.Error(got)
	}
	b.start()
	f = b.systemd("nginx.service") // and its state differs from before
	f.set("nginx.service", "failed", "failed", true, nil)
	healthy(t, env, true)
	expect("nginx.service active>failed failed success <nil> <nil> false")

	if _, err := f.conn.ReleaseName(systemd); err != nil {
		t.Fatal(err)
	}
	healthy(t, env, false)
	if _, err := f.conn.RequestName(systemd, 0); err != nil {
		t.Fatal(err)
	}
	healthy(t, env, true)
	f.set("nginx.service", "inactive", "dead", false, nil)
	expect("nginx.service failed>inactive dead success <nil> <nil> false")

	// The unit no longer exists when systemd is back: the user must resolve that.
	f.mu.Lock()
	delete(f.units, "nginx.service")
	f.mu.Unlock()
	if _, err := f.conn.ReleaseName(systemd); err != nil {
		t.Fatal(err)
	}
	healthy(t, env, false)
	if _, err := f.conn.RequestName(systemd, 0); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		n := f.subscribed
		f.mu.Unlock()
		if n >= 3 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("there is no new subscription")
		}
	}
	if err := stop(); err != nil && !strings.Contains(err.Error(), "there is no unit nginx.service") {
		t.Error(err)
	}
}

func TestDescribe(t *testing.T) {
	got := describe([][]any{{"b.service", "The B", "loaded", "active", "running"}, {"a.service", "The A", "loaded", "failed", "failed"}, {"x.mount", "X", "loaded", "active", "mounted"},
		{"c.service", "C", "not-found", "inactive", "dead"}, {"short"}, {}})
	if want := "units: [a.service]  # failed: The A\nunits: [b.service]  # active: The B"; strings.Join(got, "\n") != want {
		t.Errorf("got %q", got)
	}
}

func TestDescribeWithoutBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+t.TempDir()+"/none")
	if got := Describe(); len(got) != 1 || !strings.HasPrefix(got[0], "# the system bus, which systemd uses, can't be reached: ") {
		t.Errorf("got %q", got)
	}
}
