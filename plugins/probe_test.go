package plugins

// This file is the tests' environment: kinds that a test controls, a bus, a folder, and a sink for
// the published events.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins/http"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/mqtt"
)

// probeOptions are the options of the kind "probe", a source that a test drives.
type probeOptions struct {
	Name  string        `key:"name" doc:"which of the test's probes it is" need:"yes"`
	Port  int           `key:"port" doc:"claimed when it is not 0" min:"0" max:"65535"`
	Mode  string        `key:"mode" doc:"what goes wrong" oneof:"denied|fail-open|hang-open|panic-open|panic-run|hang-stop|end|slow-open|lose"`
	Every time.Duration `key:"every" doc:"time between two events" min:"1ms" max:"1h"`
	Size  int64         `key:"size" doc:"bytes" unit:"size" min:"1KiB" max:"1MiB"`
	Ratio float64       `key:"ratio" doc:"a number" min:"0" max:"1"`
	Token string        `key:"token" doc:"a secret" secret:"yes"`
	File  string        `key:"file" doc:"a file" path:"yes"`
	List  []string      `key:"list" doc:"some words"`
	Block *probeBlock   `key:"block" doc:"a block"`
	Run   bool          `key:"run" doc:"whether it counts as running a command"`
}

type probeBlock struct {
	Header string `key:"header" doc:"a name" need:"yes"`
	Key    string `key:"key" doc:"a secret" secret:"yes"`
}

func (o probeOptions) Claims() []string {
	if o.Port == 0 {
		return nil
	}
	return []string{fmt.Sprintf("port:%d", o.Port)}
}

func (o probeOptions) Access() []string {
	if o.Run {
		return []string{"exec:./probe"}
	}
	return nil
}

func (o probeOptions) Scripts(string) []string {
	if o.Run && o.File != "" {
		return []string{o.File}
	}
	return nil
}

func (o probeOptions) Check() []error {
	if o.Ratio == 0.5 {
		return []error{&probeError{"ratio", "a ratio of a half is not liked", "write another"}}
	}
	return nil
}

type probeError struct{ key, reason, hint string }

func (e *probeError) Error() string { return e.reason }
func (e *probeError) Key() string   { return e.key }
func (e *probeError) Hint() string  { return e.hint }

type probeEvent struct {
	Value int            `key:"value" doc:"a number"`
	Text  string         `key:"text" doc:"a text"`
	JSON  map[string]any `key:"json" doc:"anything"`
	Seen  time.Time      `key:"seen" doc:"a time"`
}

// probes are the running sources of a test, by name.
type probes struct {
	mu     sync.Mutex
	posts  map[string]func(map[string]any, func(error)) error
	opened map[string]int
	envs   map[string]kind.Env
	closed map[string]int
	token  map[string]string
	hang   chan struct{} // closed at the end of the test
	jobs   chan probeArgs
	refuse func(probeArgs) error
}

type probeSource struct {
	o   probeOptions
	all *probes
	env kind.Env
	let func()
}

type portThing struct{ closed bool }

func (p *portThing) Close() error { p.closed = true; return nil }

func (s *probeSource) Open(ctx context.Context) error {
	switch s.o.Mode {
	case "denied":
		return fmt.Errorf("/dev/probe: %w", fs.ErrPermission)
	case "fail-open":
		return errors.New("no such probe")
	case "hang-open":
		<-s.all.hang
	case "panic-open":
		panic("opened")
	case "slow-open":
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.o.Port != 0 {
		_, release, err := s.env.Hold(fmt.Sprintf("port:%d", s.o.Port), func() (io.Closer, error) { return &portThing{}, nil })
		if err != nil {
			return err
		}
		s.let = release
	}
	if s.o.Token != "" {
		s.env.Log().With("with", s.o.Token).Warn("opened with "+s.o.Token, "err", errors.New(s.o.Token))
	}
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.all.opened[s.o.Name]++
	s.all.envs[s.o.Name] = s.env
	s.all.token[s.o.Name] = s.o.Token
	return nil
}

func (s *probeSource) Stream(ctx context.Context, post kind.Post) error {
	switch s.o.Mode {
	case "panic-run":
		panic("running")
	case "end":
		return nil
	case "lose":
		s.env.Lost(2, "the probe slept")
		s.env.Lost(1, "the probe slept again")
	}
	with := ctx
	if s.o.Mode == "hang-stop" {
		with = context.Background() // it ignores that ctx ends
	}
	s.all.mu.Lock()
	s.all.posts[s.o.Name] = func(f map[string]any, done func(error)) error { return post(with, time.Now(), f, done) }
	s.all.mu.Unlock()
	<-ctx.Done()
	if s.o.Mode == "hang-stop" {
		<-s.all.hang
	}
	return nil
}

func (s *probeSource) Close() error {
	if s.let != nil {
		s.let()
	}
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.all.closed[s.o.Name]++
	return nil
}

type actOptions struct {
	Where string `key:"where" doc:"a place"`
	Port  int    `key:"port" doc:"shared with a source when it is not 0" min:"0" max:"65535"`
}

func (o actOptions) Claims() []string { return probeOptions{Port: o.Port}.Claims() }

type probeArgs struct {
	Title string         `key:"title" doc:"a text" need:"yes"`
	Level int            `key:"level" doc:"a number" min:"0" max:"10"`
	On    bool           `key:"on" doc:"whether"`
	Data  map[string]any `key:"data" doc:"anything"`
	Body  []byte         `key:"body" doc:"bytes"`
	Words []string       `key:"words" doc:"some words"`

	Payload any  `key:"payload" doc:"what to publish"`
	Retain  bool `key:"retain" doc:"keep it"`
}

type probeAction struct{ all *probes }

func (a *probeAction) Do(ctx context.Context, args probeArgs) error {
	a.all.mu.Lock()
	refuse := a.all.refuse
	a.all.mu.Unlock()
	if refuse != nil {
		if err := refuse(args); err != nil {
			return err
		}
	}
	select {
	case a.all.jobs <- args:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func newProbes(t testing.TB) (*probes, *Catalog) {
	p := &probes{posts: map[string]func(map[string]any, func(error)) error{}, opened: map[string]int{}, envs: map[string]kind.Env{}, closed: map[string]int{}, token: map[string]string{},
		hang: make(chan struct{}), jobs: make(chan probeArgs, 10000)}
	t.Cleanup(func() {
		select {
		case <-p.hang:
		default:
			close(p.hang)
		}
	})
	return p, NewCatalog(append(slices.Concat(mqtt.Kinds(), http.Kinds()),
		kind.StreamOf("probe", "A probe.", "", probeOptions{}, probeEvent{}, func(o probeOptions, e kind.Env) *probeSource { return &probeSource{o: o, all: p, env: e} }),
		kind.StreamOf("asker", "A probe whose sender is answered.", "", probeOptions{}, probeEvent{}, func(o probeOptions, e kind.Env) *probeSource {
			return &probeSource{o: o, all: p, env: e}
		}).Answering(),
		kind.ActionOf("note", "Notes.", "", actOptions{}, func(o actOptions, e kind.Env) *probeAction { return &probeAction{p} }),
	)...)
}

// post sends an event through a probe, as soon as it runs.
func (p *probes) post(t *testing.T, name string, fields map[string]any) {
	t.Helper()
	if err := p.ask(t, name, fields); err != nil {
		t.Fatal(err)
	}
}

// ask posts an event and returns the answer that the source gets.
func (p *probes) ask(t *testing.T, name string, fields map[string]any) error {
	t.Helper()
	done := make(chan error, 1)
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		f := p.posts[name]
		p.mu.Unlock()
		if f != nil && f(fields, func(err error) { done <- err }) == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("probe %s does not run", name)
		}
	}
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		t.Fatal("the event is not sealed")
		return nil
	}
}

// world is a bus with a supervisor.
type world struct {
	t      *testing.T
	dir    string
	bus    *bus.Bus
	probes *probes
	s      *Supervisor
	stop   func()
	o      Options
	cat    *Catalog
	data   string
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "plugins.d"), o: o, data: t.TempDir()}
	if err := os.Mkdir(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.probes, w.cat = newProbes(t)
	w.open()
	t.Cleanup(func() {
		w.stop()
		if err := w.bus.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) open() {
	b, err := bus.Open(context.Background(), bus.Options{Dir: w.data})
	if err != nil {
		w.t.Fatal(err)
	}
	w.bus = b
	w.start()
}

// start runs a supervisor until stop.
func (w *world) start() {
	o := w.o
	o.Host = "test"
	if o.Quiet == 0 {
		o.Quiet = 20 * time.Millisecond
	}
	if o.Grace == 0 {
		o.Grace = 300 * time.Millisecond
	}
	if o.Logger == nil && testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	w.s = New(w.dir, w.bus, w.cat, o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = w.s.Run(ctx) }()
	w.stop = sync.OnceFunc(func() { cancel(); <-ended })
	<-w.s.Ready()
}

// write saves a file atomically.
func (w *world) write(name, text string) {
	w.t.Helper()
	tmp := filepath.Join(w.dir, filepath.Dir(name), "."+filepath.Base(name)+".tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(name string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

// until waits for a condition.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

// is waits until a plugin is in a state, and returns its status then.
func (w *world) is(id string, state State, also ...func(Status) bool) (st Status) {
	w.t.Helper()
	ok := false
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if st, ok = w.s.Get(id); ok && st.State == state {
			good := true
			for _, f := range also {
				good = good && f(st)
			}
			if good {
				return st
			}
		}
		if time.Now().After(end) {
			w.t.Fatalf("plugin %s is %q (%s), generation %d; want %q", id, st.State, st.Reason, st.Generation, state)
		}
	}
}

func generation(n int) func(Status) bool { return func(s Status) bool { return s.Generation == n } }

// sink collects events.
type sink struct {
	t   *testing.T
	sub *bus.Subscription
}

func (w *world) subscribe(filters ...string) *sink {
	w.t.Helper()
	sub, err := w.bus.Subscribe(context.Background(), "sink-"+strings.Join(filters, ","), filters...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(sub.Close)
	return &sink{w.t, sub}
}

func (s *sink) next() bus.Event {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := s.sub.Next(ctx)
	if err != nil {
		s.t.Fatalf("no event: %v", err)
	}
	s.sub.Ack(e)
	return e
}

// quiet fails if an event arrives within a short time.
func (s *sink) quiet() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if e, err := s.sub.Next(ctx); err == nil {
		s.t.Fatalf("unexpected event %s %s", e.Topic, e.Payload)
	}
}

func decode(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	return m
}

func (w *world) event(topic string) bus.Event {
	return bus.Event{Topic: topic, Payload: []byte("v"), QoS: 1, Retain: true, Source: "somebody"}
}

func slogDiscard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// lockedBuffer is a log that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
