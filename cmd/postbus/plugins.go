// This file wires the plugins: their supervisor, its permissions, and the folder that a first start
// makes.

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/postbus/postbus/bus/web"
	"github.com/postbus/postbus/config/atomicfile"
	"github.com/postbus/postbus/config/examples"
	"github.com/postbus/postbus/plugins"
)

const (
	approvalsFile   = "approvals.json" // in the data folder
	databasesFolder = "databases"      // likewise
)

const folderTimeout = 2 * time.Second // for the first read of the plugins folder, which may be on a drive that hangs

// openPlugins starts the supervisor, and waits until it knows its plugins, so that a client that
// asks for them once the program reports that it runs gets all of them. The supervisor ends when
// the server closes, before the bus.
func (s *server) openPlugins(ctx context.Context, l *loaded) error {
	fresh, err := pluginsFolder(l.PluginsDir)
	if err != nil {
		return fmt.Errorf("plugins folder: %w", err)
	}
	if fresh {
		s.log.Info("created the plugins folder, with a starter plugin",
			"folder", l.PluginsDir, "plugin", examples.Starter)
	}
	o := plugins.Options{
		Logger:     s.log,
		Env:        l.pluginEnv,
		Location:   l.Location.Degrees(),
		SecretDirs: l.secretDirs,
		Approvals:  filepath.Join(l.DataDir, approvalsFile),
		Data:       filepath.Join(l.DataDir, databasesFolder),

		PermissionHint: permissionHint(os.Getenv),
		Approved: func(plugin, hash string, given bool) {
			what := "approval given"
			if !given {
				what = "approval withdrawn"
			}
			s.access.audit.Done(what, "plugin", plugin, "version", hash[:min(12, len(hash))])
		},
	}
	if s.web != nil {
		o.Handle = func(plugin, path string, public bool, h http.Handler) (func(), error) {
			return s.web.Mount(plugin, path, public, h)
		}
	}
	s.supervisor = plugins.New(l.PluginsDir, s.bus, catalog(), o)
	s.shownPlugins.s = s.supervisor
	life, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.supervisor.Run(life) }()
	s.closing(func(context.Context) error {
		cancel()
		return <-ended // the supervisor bounds the time
	})
	select {
	case <-s.supervisor.Ready():
	case <-time.After(folderTimeout):
	case <-ctx.Done():
	}
	return nil
}

// pluginsFolder makes the folder, with the starter in it, when it does not exist.
func pluginsFolder(dir string) (fresh bool, err error) {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	text, err := examples.Plugins.ReadFile("plugins/" + examples.Starter)
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	return true, atomicfile.Write(filepath.Join(dir, examples.Starter), text, 0o644)
}

// shownPlugins is the supervisor in the form that package web requires. It is filled in before
// requests arrive.
type shownPlugins struct{ s *plugins.Supervisor }

func (p *shownPlugins) List() any { return p.s.List() }

func (p *shownPlugins) Get(id string) (any, bool) {
	st, ok := p.s.Get(id)
	return st, ok
}

func (p *shownPlugins) GetWithLines(id string) (any, bool) {
	st, ok := p.s.GetWithLines(id)
	return st, ok
}

func (p *shownPlugins) Explain(topic string) any { return p.s.Explain(topic) }

func (p *shownPlugins) Maker(source, topic string) (any, bool) { return p.s.Maker(source, topic) }

func (p *shownPlugins) Timers(id string, n int) (any, bool) { return p.s.Timers(id, n) }

func (p *shownPlugins) Figures() []web.PluginFigures {
	var out []web.PluginFigures
	for _, st := range p.s.List() {
		c := &st.Counters
		f := web.PluginFigures{ID: st.ID, State: string(st.State),
			Events: c.In, Filtered: c.Filtered, Published: c.Published, Errors: c.Errors, Dropped: c.Dropped, Missed: c.Missed,
			Done: c.Done, Sent: c.Sent, Expired: c.Expired, Failed: c.Failed,
			Fired: c.Fired, Evicted: c.Forgotten, Keys: st.Keys, Timers: st.Timers, StateBytes: st.StateBytes}
		for _, q := range st.Queues {
			f.Queues = append(f.Queues, web.QueueFigures{Action: q.Action, Jobs: q.Jobs, Oldest: q.Oldest, Dead: q.Dead})
		}
		out = append(out, f)
	}
	return out
}

// checker returns the checker of plugin files, for commands that need no bus.
func checker(l *loaded) *plugins.Checker {
	c := &plugins.Checker{Catalog: catalog(), Dir: l.PluginsDir, Host: plugins.HostName(""), Location: l.Location.Degrees()}
	for name := range l.pluginEnv {
		c.Env = append(c.Env, name)
	}
	return c
}
