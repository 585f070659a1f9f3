package plugins

// This file is the supervisor: it keeps the running plugins equal to the files in the folder.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/config/dirwatch"
	"github.com/postbus/postbus/plugins/internal/clock"
)

// approvalsLook is the maximum time until an approval is noticed.
const approvalsLook = 500 * time.Millisecond

// reviewEvery is the minimum time between two publications of a plugin's counters.
const reviewEvery = time.Second

// Options of a supervisor. The zero value works.
type Options struct {
	Logger     *slog.Logger
	Host       string            // the value of ${host}; the machine's name when empty
	Env        map[string]string // the values of ${env.NAME}
	Location   []float64         // of Checker
	SecretDirs []string          // folders of secrets; the first that contains one applies
	Approvals  string            // file of approvals; empty: no approval is possible
	Data       string            // the folder for what kinds keep, such as databases; empty: there is none
	// Approved is told of each approval that was given, and of each that was withdrawn; may be nil.
	Approved func(plugin, hash string, given bool)
	Quiet    time.Duration // a file without changes for this long counts as saved; 250 ms when 0
	Grace    time.Duration // wait before an event without publisher is cleared; 10 s when 0
	// Handle mounts h on the bus's HTTP listener for a plugin; nil: there is no listener.
	Handle func(plugin, path string, public bool, h http.Handler) (remove func(), err error)
	// PermissionHint says how a kind of plugin that was denied something gets the permission; "" or nil:
	// nothing is known.
	PermissionHint func(kind string) string
	Dir            string // set by New

	hang time.Duration // replaces openTime and stopTime in a test of a source that hangs
	now  clock.Now     // replaces the machine's clocks in a test of time
}

// Supervisor runs the plugins of a folder.
type Supervisor struct {
	o       Options
	bus     *bus.Bus
	checker *Checker

	mu      sync.Mutex // guards plugins; held for lookups, not for work
	plugins map[string]*plugin
	tasks   sync.WaitGroup

	// The following fields belong to the scanning goroutine.
	files    map[string]*known // by id
	lost     bool              // the folder does not exist
	approved map[string]string // the approvals when they were last read; nil: never
	sweep    sweeper
	ready    chan struct{}
	once     sync.Once

	scripts   atomic.Pointer[map[string]bool] // files in the folder that approvals cover
	rounds    atomic.Uint64                   // of all plugins' run
	listening uint64                          // Bus.ListeningChanges when the traced plugins were last looked for
	reviewed  time.Time                       // when reviewAll last ran

	ending atomic.Bool // the program is stopping: waits are short
}

// New makes a supervisor of the plugins in dir, an absolute path. Run starts it.
func New(dir string, b *bus.Bus, c *Catalog, o Options) *Supervisor {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Dir = dir
	o.Host = HostName(o.Host)
	o.Grace = cmp.Or(o.Grace, 10*time.Second)
	if o.now == nil {
		o.now = clock.System
	}
	var env []string
	for name := range o.Env {
		env = append(env, name)
	}
	return &Supervisor{o: o, bus: b, plugins: map[string]*plugin{}, files: map[string]*known{}, ready: make(chan struct{}),
		checker: &Checker{Catalog: c, Dir: dir, Host: o.Host, Env: env, Location: o.Location}}
}

// Run loads the plugins and follows the folder until ctx ends. Then it stops all of them, in a
// limited time.
func (s *Supervisor) Run(ctx context.Context) error {
	stopPlugins, cancel := context.WithCancel(context.Background())
	look := make(chan chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		dirwatch.Watch(ctx, s.o.Dir, dirwatch.Options{Logger: s.o.Logger, Quiet: s.o.Quiet, Relevant: s.watched}, func(string) {
			done := make(chan struct{}) // the watch paces itself by how long a scan takes
			select {
			case look <- done:
				<-done
			case <-ctx.Done():
			}
		})
	})
	approvals := make(chan string, 1)
	if s.o.Approvals != "" {
		watching.Go(func() {
			// The journal is written in the same folder: a notification of each write would wake
			// this goroutine all the time.
			dirwatch.Watch(ctx, filepath.Dir(s.o.Approvals), dirwatch.Options{Logger: s.o.Logger, Quiet: 50 * time.Millisecond, File: filepath.Base(s.o.Approvals), Silent: true, Look: approvalsLook},
				func(why string) {
					select {
					case approvals <- "approvals":
					case <-ctx.Done():
					}
				})
		})
	}
	defer func() {
		watching.Wait()
		s.ending.Store(true)
		cancel()
		s.tasks.Wait()
	}()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case done := <-look:
			s.step("reading the plugins folder", func() { s.scan(stopPlugins) })
			close(done)
		case <-approvals:
			s.step("reading the approvals", func() { s.scan(stopPlugins) })
		case now := <-tick.C:
			s.step("the periodic check of the plugins", func() {
				if s.look(now) {
					s.scan(stopPlugins)
				}
			})
		}
	}
}

// step does a part of the supervisor's work. It logs a panic and continues.
func (s *Supervisor) step(what string, do func()) {
	if err := safely(func() error { do(); return nil }); err != nil {
		s.printPanic(what, err)
	}
}

func (s *Supervisor) printPanic(what string, err error) {
	var p *panicked
	stack := ""
	if errors.As(err, &p) {
		stack = string(p.stack)
	}
	s.o.Logger.Error("internal error: "+what+" failed", "err", err, "stack", stack)
}

// Ready is closed when the folder was read for the first time.
func (s *Supervisor) Ready() <-chan struct{} { return s.ready }

// look runs a few times a second: it finds the traced plugins and clears orphans.
// It reports whether a file beside the plugins has changed.
func (s *Supervisor) look(now time.Time) (changed bool) {
	if n := s.bus.ListeningChanges(); n != s.listening {
		s.listening = n
		s.each(func(p *plugin) { p.mapper.tracing.Store(s.bus.Listening(traceTopic(p.id))) })
	}
	if now.Sub(s.reviewed) >= reviewEvery {
		s.reviewed = now
		s.reviewAll()
		changed = s.tablesChanged()
	}
	s.sweepNow(now)
	return changed
}

// each calls do with each plugin, in no order. do must not block.
func (s *Supervisor) each(do func(p *plugin)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.plugins {
		do(p)
	}
}

func (s *Supervisor) all() []*plugin {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*plugin, 0, len(s.plugins))
	for _, p := range s.plugins {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *plugin) int { return strings.Compare(a.id, b.id) })
	return list
}

// List describes every plugin, ordered by id.
func (s *Supervisor) List() []Status {
	list := []Status{}
	for _, p := range s.all() {
		st := p.status()
		st.Queues = p.queues()
		list = append(list, st)
	}
	return list
}

// Get describes one plugin.
func (s *Supervisor) Get(id string) (Status, bool) {
	if p := s.plugin(id); p != nil {
		st := p.status()
		st.Queues = p.queues()
		return st, true
	}
	return Status{}, false
}

// GetWithLines is Get with the lines of the file in the texts of its errors: for those who may read the
// file, in which a secret may be written out.
func (s *Supervisor) GetWithLines(id string) (Status, bool) {
	p := s.plugin(id)
	if p == nil {
		return Status{}, false
	}
	st, lines := p.describe()
	st.Queues = p.queues()
	for i := range st.Errors {
		st.Errors[i].Text = lines[i]
	}
	return st, true
}

func (s *Supervisor) plugin(id string) *plugin {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plugins[id]
}

// setGoal sets a plugin's goal, and makes the plugin if it is new.
func (s *Supervisor) setGoal(ctx context.Context, id string, g goal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.plugins[id]; p != nil && p.setGoal(g) || g.gone {
		return
	}
	p := newPlugin(s, id)
	p.mapper.tracing.Store(s.bus.Listening(traceTopic(id)))
	p.setGoal(g)
	s.plugins[id] = p
	s.tasks.Go(func() { p.run(ctx) })
}

// forget removes a plugin that has ended.
func (s *Supervisor) forget(p *plugin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plugins[p.id] == p {
		delete(s.plugins, p.id)
	}
}

// withPermissionHint adds to an error of a source or an action how it gets a permission that it lacks.
func (s *Supervisor) withPermissionHint(kind string, err error) error {
	if s.o.PermissionHint == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if hint := s.o.PermissionHint(kind); hint != "" {
		return fmt.Errorf("%w; for the service: %s", err, hint)
	}
	return err
}

// patience is how long a source or an action may take to end.
func (s *Supervisor) patience() time.Duration {
	if s.ending.Load() {
		return stopTime / 4 // the whole program has a few seconds
	}
	return cmp.Or(s.o.hang, stopTime)
}

// claim records the owner of resources that allow one owner. The first owner keeps them.
func claim(taken map[string]string, file string, claims []string) error {
	for _, c := range claims {
		if other, ok := taken[c]; ok {
			return fmt.Errorf("%s and %s both claim %s", other, file, c)
		}
	}
	for _, c := range claims {
		taken[c] = file
	}
	return nil
}

// HostName is name, or the first label of the machine's name if name is empty.
func HostName(name string) string {
	if name != "" {
		return name
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	name, _, _ = strings.Cut(name, ".")
	return name
}
