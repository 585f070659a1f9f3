// This file is "run": from the first flag to the last signal.

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/config/atomicfile"
)

type runFlags struct {
	settings
	http          string
	mqtt          []string
	level, format string
	addrFile      string
}

func (m *Main) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the bus",
		Long: `Run the bus until SIGTERM or Ctrl-C. Without a config it serves this machine only, at
127.0.0.1:1883 and http://127.0.0.1:8080. SIGHUP, or saving the config file, reloads it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.overrides(cmd)
			return m.run(cmd.Context(), &f)
		},
	}
	f.configFlag(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.dataDir, "data-dir", "", "keep the journal in `DIR`")
	fl.StringVar(&f.pluginsDir, "plugins-dir", "", "read plugins from `DIR`")
	fl.StringArrayVar(&f.mqtt, "mqtt", nil,
		"MQTT listener `URL`: tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH; may be repeated")
	fl.StringVar(&f.http, "http", "", "HTTP `ADDRESS` as HOST:PORT or https://HOST:PORT, or off")
	fl.StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
	fl.StringVar(&f.format, "log-format", "text", "text or json")
	fl.StringVar(&f.addrFile, "addr-file", "", "write the addresses in use to `FILE`, one a line")
	_ = fl.MarkHidden("addr-file")
	return cmd
}

// overrides returns the flags that were given, in the config package's form.
func (f *runFlags) overrides(cmd *cobra.Command) {
	f.settings.overrides(cmd)
	f.override(cmd, "mqtt", "listen.mqtt", f.mqtt...)
	f.override(cmd, "http", "listen.http", f.http)
}

// logger writes to standard error.
func (m *Main) logger(level, format string) (*slog.Logger, error) {
	var o slog.HandlerOptions
	switch strings.ToLower(level) {
	case "debug":
		o.Level = slog.LevelDebug
	case "info":
		o.Level = slog.LevelInfo
	case "warn":
		o.Level = slog.LevelWarn
	case "error":
		o.Level = slog.LevelError
	default:
		return nil, usagef("--log-level %q: want debug, info, warn or error", level)
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(m.Stderr, &o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(m.Stderr, &o)), nil
	}
	return nil, usagef("--log-format %q: want text or json", format)
}

func (m *Main) run(ctx context.Context, f *runFlags) error {
	log, err := m.logger(f.level, f.format)
	if err != nil {
		return err
	}
	file, _ := m.configFile(&f.settings) // "" if there is none, which load judges
	w := newWatcher(file)
	c, err := m.load(&f.settings)
	if err != nil {
		return err
	}
	limitMemory(log)
	withoutCoreDumps()
	defer outlive()()
	// From here on a signal requests an orderly stop.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	opening, cancel := context.WithCancel(ctx)
	defer cancel()
	received := receive(signals, cancel)
	s, err := open(opening, c, log)
	stop, reload := received()
	switch {
	case stop && err == nil:
		log.Info("stopping before it was ready")
		return errorsWithClose(nil, s)
	case stop && errors.Is(err, context.Canceled):
		return nil
	case err != nil:
		return err
	}
	r := &reloader{m: m, settings: &f.settings, server: s, started: c.Config, current: c.Config, file: c.file}
	s.accounts.reloader.Store(r)
	if err := m.announce(s, c, f.addrFile); err != nil {
		return errorsWithClose(err, s)
	}
	w.start(c.file, r.saved, log)
	notifySystemd(m.getenv("NOTIFY_SOCKET"), "READY=1")
	if reload {
		r.run("SIGHUP")
	}
	alive, dead := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		reportAlive(alive, watchdogInterval(m.getenv), s.touch, func() { notifySystemd(m.getenv("NOTIFY_SOCKET"), "WATCHDOG=1") })
	})

	m.serve(ctx, signals, r)

	dead()
	notifySystemd(m.getenv("NOTIFY_SOCKET"), "STOPPING=1")
	err = m.stop(s, w, signals)
	if err == nil {
		watching.Wait()
	}
	return err
}

// receive lets a signal cancel the opening, which may have to replay a long journal. The function
// that it returns ends this and reports which signals came, so that none is lost in between.
func receive(signals <-chan os.Signal, cancel context.CancelFunc) func() (stop, reload bool) {
	opened, ended := make(chan struct{}), make(chan struct{})
	var stop, reload bool
	go func() {
		defer close(ended)
		for {
			select {
			case sig := <-signals:
				if sig == syscall.SIGHUP {
					reload = true
					continue
				}
				stop = true
				cancel()
			case <-opened:
				return
			}
		}
	}()
	return func() (bool, bool) {
		close(opened)
		<-ended
		return stop, reload
	}
}

// errorsWithClose closes s, and returns err with the error of that.
func errorsWithClose(err error, s *server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if cerr := s.close(ctx); cerr != nil {
		return errors.Join(err, fmt.Errorf("stop: %w", cerr))
	}
	return err
}

// serve returns when the program must stop.
func (m *Main) serve(ctx context.Context, signals chan os.Signal, r *reloader) {
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				r.server.log.Info("stopping", "signal", sig.String())
				return
			}
			r.run("SIGHUP")
		}
	}
}

// stop closes everything in order, within stopTimeout. A second signal ends it at once:
// acknowledged events are on disk already.
func (m *Main) stop(s *server, w *watcher, signals chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		w.close()
		done <- s.close(ctx)
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("stop: %w", err)
			}
			s.log.Info("stopped")
			return nil
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				continue
			}
			return fmt.Errorf("stopped at once by a second signal (%s)", sig)
		case <-ctx.Done():
			select { // closing may have used all of its time and be complete
			case err := <-done:
				return err
			case <-time.After(100 * time.Millisecond):
			}
			return withHint(fmt.Errorf("stopping took longer than %s", stopTimeout),
				"no acknowledged event is lost; the next start replays the journal")
		}
	}
}

// announce prints the addresses to open: only real ones.
func (m *Main) announce(s *server, c *loaded, addrFile string) error {
	v, _ := versionOf()
	m.printf("postbus %s\n", v)
	for _, l := range s.mqtt {
		m.printf("  MQTT     %s\n", l)
	}
	if s.http != "" {
		m.printf("  HTTP     %s\n", s.http)
	}
	m.printf("  plugins  %s\n  data     %s\n", c.PluginsDir, c.DataDir)
	if c.there {
		m.printf("  config   %s\n", c.file)
	}
	if addrFile == "" {
		return nil
	}
	// Written in one step, so that a script that waits for the file reads all of it.
	var b strings.Builder
	for _, l := range s.mqtt {
		fmt.Fprintf(&b, "%s\n", l)
	}
	if s.http != "" {
		fmt.Fprintf(&b, "%s\n", s.http)
	}
	return atomicfile.Write(addrFile, []byte(b.String()), 0o644)
}
