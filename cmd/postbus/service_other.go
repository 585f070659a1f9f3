//go:build darwin || windows

// This file is the service under launchd and Windows, by a library, because neither has many
// settings.
//
// On Windows it runs `postbus service run`, which answers the service control manager and logs to a
// file. launchd runs `postbus run`, and keeps its output.

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	kardianos "github.com/kardianos/service"
	"github.com/spf13/cobra"
)

const (
	lastingHint = "put it into a folder of its own and install from there"
	serviceLog  = "postbus.log"
	longestLog  = 10 << 20 // then a new log begins, and the previous one is kept
)

// servicePaths returns the paths of the machine's service.
func (m *Main) servicePaths() systemPaths {
	dir := "/Library/Application Support/postbus"
	if runtime.GOOS == "windows" {
		if dir = m.getenv("ProgramData"); dir == "" {
			dir = `C:\ProgramData`
		}
		dir = filepath.Join(dir, serviceName)
	}
	return systemPaths{config: filepath.Join(dir, "postbus.yaml"), data: filepath.Join(dir, "data")}
}

// definition returns the library's service definition, and the config that it is for. It changes
// nothing.
func (m *Main) definition(s *service) (*kardianos.Config, *loaded, error) {
	if s.user && runtime.GOOS == "windows" {
		return nil, nil, withHint(usagef("Windows has no services of a user"),
			"leave --user out; or have the Task Scheduler run `postbus run` when you log on")
	}
	paths := m.servicePaths()
	if !s.user && s.settings.file == "" {
		s.settings.file = paths.config
	}
	given := s.settings.file != ""
	l, err := m.load(&s.settings)
	switch {
	case !s.user && s.settings.file == paths.config && errors.Is(err, fs.ErrNotExist): // it will be created
		if l, err = m.load(&settings{}); err != nil {
			return nil, nil, err
		}
		l.file, l.DataDir, l.PluginsDir = paths.config, paths.data, filepath.Join(filepath.Dir(paths.config), "plugins.d")
	case err != nil:
		return nil, nil, err
	}
	c := &kardianos.Config{
		Name:        serviceName,
		DisplayName: serviceName,
		Description: "postbus, an MQTT event bus",
		Executable:  s.program,
		Arguments:   []string{"run"},
		Option: kardianos.KeyValue{
			"UserService": s.user, "KeepAlive": true, "RunAtLoad": true, "LogDirectory": l.DataDir, // launchd
			"OnFailure": "restart", "OnFailureDelayDuration": "5s", // Windows
		},
	}
	if runtime.GOOS == "windows" {
		c.Arguments = []string{"service", "run"}
	}
	if given {
		c.Arguments = append(c.Arguments, "--config", l.file)
	}
	return c, l, nil
}

func (m *Main) logOf(l *loaded) string {
	if runtime.GOOS == "windows" {
		return filepath.Join(l.DataDir, serviceLog)
	}
	return filepath.Join(l.DataDir, serviceName+".err.log")
}

func (m *Main) printService(s *service) error {
	c, l, err := m.definition(s)
	if err != nil {
		return err
	}
	m.printf("%s\n  runs     %s %s\n", c.Description, c.Executable, strings.Join(c.Arguments, " "))
	m.printServiceAddresses(l, m.logOf(l))
	return nil
}

// control returns the service for the library's operations.
func (m *Main) control(s *service) (kardianos.Service, *loaded, error) {
	c, l, err := m.definition(s)
	if err != nil {
		return nil, nil, err
	}
	k, err := kardianos.New(nothing{}, c)
	if err != nil {
		return nil, nil, serviceError(err)
	}
	return k, l, nil
}

func (m *Main) installService(_ context.Context, s *service) error {
	k, l, err := m.control(s)
	if err != nil {
		return err
	}
	done := "installed"
	if _, err := k.Status(); !errors.Is(err, kardianos.ErrNotInstalled) && err == nil {
		done = "updated"
		_ = k.Stop() // it may not be running
		if err := k.Uninstall(); err != nil {
			return serviceError(err)
		}
	}
	if err := os.MkdirAll(l.DataDir, 0o700); err != nil {
		return serviceError(err)
	}
	if paths := m.servicePaths(); l.file == paths.config {
		if _, err := paths.newConfig(0o600); err != nil {
			return serviceError(err)
		}
	}
	if err := k.Install(); err != nil {
		return serviceError(err)
	}
	if err := k.Start(); err != nil {
		return serviceError(err)
	}
	m.printf("%s: the service %s\n", done, serviceName)
	m.printServiceAddresses(l, m.logOf(l))
	return nil
}

func (m *Main) uninstallService(_ context.Context, s *service) error {
	k, l, err := m.control(s)
	if err != nil {
		return err
	}
	if _, err := k.Status(); errors.Is(err, kardianos.ErrNotInstalled) {
		return withHint(errors.New("no service is installed"), "postbus service install makes one")
	}
	_ = k.Stop() // it may not be running
	if err := k.Uninstall(); err != nil {
		return serviceError(err)
	}
	m.printf("stopped and removed: the service %s\nNothing else was removed. Remaining:\n", serviceName)
	m.printPaths(l)
	return nil
}

func serviceError(err error) error {
	err = fmt.Errorf("service: %w", err)
	switch {
	case !errors.Is(err, fs.ErrPermission):
		return err
	case runtime.GOOS == "windows":
		return withHint(err, "run it as administrator")
	}
	return withHint(err, "sudo postbus service install; or one of your own: postbus service install --user")
}

// nothing is the program of a service that is only installed.
type nothing struct{}

func (nothing) Start(kardianos.Service) error { return nil }
func (nothing) Stop(kardianos.Service) error  { return nil }

// permissionHint is about systemd's services only.
func permissionHint(func(string) string) func(kind string) string { return nil }

// serviceCommands are the commands that Windows calls.
func (m *Main) serviceCommands() []*cobra.Command {
	if runtime.GOOS != "windows" {
		return nil
	}
	var s settings
	cmd := &cobra.Command{
		Use:    "run",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return m.underControl(cmd.Context(), s) },
	}
	s.configFlag(cmd)
	return []*cobra.Command{cmd}
}

// underControl runs the bus for the service control manager.
func (m *Main) underControl(ctx context.Context, s settings) error {
	l, err := m.load(&s)
	if err != nil {
		return err
	}
	log, err := openLog(filepath.Join(l.DataDir, serviceLog))
	if err != nil {
		return err
	}
	defer log.Close()
	r := &controlled{ctx: ctx, run: func(ctx context.Context) error {
		bus := &Main{Stdin: strings.NewReader(""), Stdout: log, Stderr: log, Env: m.Env}
		err := bus.run(ctx, &runFlags{settings: s, level: "info", format: "text"})
		if err != nil {
			bus.report(err)
		}
		return err
	}}
	k, err := kardianos.New(r, &kardianos.Config{Name: serviceName})
	if err != nil {
		return err
	}
	return k.Run()
}

// controlled is the bus, started and stopped by the service control manager.
type controlled struct {
	ctx    context.Context
	run    func(context.Context) error
	cancel context.CancelFunc
	ended  chan error
}

// Start must not block.
func (c *controlled) Start(kardianos.Service) error {
	ctx, cancel := context.WithCancel(c.ctx)
	c.cancel, c.ended = cancel, make(chan error, 1)
	go func() {
		err := c.run(ctx)
		c.ended <- err
		if ctx.Err() == nil { // not stopped on request: Windows notices the end, and restarts it
			os.Exit(exitFailed)
		}
	}()
	return nil
}

// Stop waits until the bus is closed, which has its own timeout.
func (c *controlled) Stop(kardianos.Service) error {
	c.cancel()
	return <-c.ended
}

// openLog appends to a log file of bounded size.
func openLog(file string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	if st, err := os.Stat(file); err == nil && st.Size() > longestLog {
		_ = os.Rename(file, file+".1") // on an error the log continues in the same file
	}
	return os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}
