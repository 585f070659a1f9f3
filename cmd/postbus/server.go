// This file is the running bus: opened in order, closed in reverse.

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/admission"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/web"
	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/config/yamlnode"
	pages "github.com/postbus/postbus/docs/examples"
	"github.com/postbus/postbus/plugins"
)

// stopTimeout bounds the whole stop; requests and clients get at most a part of it, see share.
const (
	stopTimeout    = 5 * time.Second
	requestTimeout = time.Second
	clientTimeout  = 2 * time.Second
)

// server is everything that runs.
type server struct {
	log    *slog.Logger
	bus    *bus.Bus
	access *access
	broker *broker.Broker
	web    *web.Server
	fleets *fleets
	keys   *keyPair
	files  *openFiles
	budget *admission.Budget // of connections that have not logged in, over MQTT and HTTP

	mqtt         []config.Listener // with real ports
	http         string            // URL, "" for none
	supervisor   *plugins.Supervisor
	warnings     *keptWarningList
	shownPlugins shownPlugins
	accounts     accounts

	closers []func(context.Context) error // in the order of opening
}

// open opens everything that the config asks for. On an error it closes what it has opened.
func open(ctx context.Context, l *loaded, log *slog.Logger) (s *server, err error) {
	c := l.Config
	kept := keepWarnings(log.Handler())
	log = slog.New(kept)
	s = &server{log: log, warnings: kept.kept, files: newOpenFiles(openFileLimit(), log), budget: admission.NewBudget(log)}
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
			defer cancel()
			err = errors.Join(err, s.close(ctx))
			s = nil
		}
	}()
	if s.access, err = newAccess(l, log); err != nil {
		return s, err
	}
	s.closing(func(context.Context) error { return s.access.audit.Close() })
	if err = s.access.keys.ready(); err != nil {
		return s, err
	}
	if s.keys, err = loadKeys(c.Listen.TLS, log); err != nil {
		return s, err
	}
	s.keys.askFor(c.Users)
	if s.keys != nil && s.keys.revoked != nil {
		s.access.revoked = s.keys.revoked
		s.access.revoked.look()
	}
	if err = s.openBus(ctx, c); err != nil {
		return s, err
	}
	s.fleets = &fleets{bus: s.bus, log: log}
	s.closing(func(context.Context) error { s.fleets.close(); return nil })
	if err := s.fleets.apply(ctx, l); err != nil {
		log.Error("the journal does not hold yet what the fleet shares, will retry", "err", err)
	}
	o := brokerOptions(c, log, s.access)
	if o.Bans, err = openBans(c.DataDir); err != nil {
		return s, err
	}
	o.Budget = s.budget
	s.broker = broker.New(s.bus, o)
	if err = s.broker.Open(); err != nil {
		return s, fmt.Errorf("broker: %w", err)
	}
	s.closing(func(ctx context.Context) error {
		ctx, cancel := share(ctx, 2, clientTimeout)
		defer cancel()
		return s.broker.Close(ctx)
	})
	s.watchRevoked()
	// All addresses are bound before any client is accepted, so that a failed start serves nothing.
	listeners, err := s.bindAll(c)
	if err != nil {
		return s, err
	}
	s.warnOf(&config.Config{}, c)
	web, err := s.bindWeb(c)
	if err != nil {
		return s, err
	}
	if err = s.openPlugins(ctx, l); err != nil {
		return s, err
	}
	if web != nil {
		s.web.Serve(web)
	}
	for _, l := range listeners {
		s.broker.Listen(l.socket, l.String(), l.Local())
		s.mqtt = append(s.mqtt, l.Listener)
	}
	return s, nil
}

func (s *server) openBus(ctx context.Context, c *config.Config) error {
	b, err := bus.Open(ctx, busOptions(c, s.log, s.access))
	switch {
	case errors.Is(err, journal.ErrLocked):
		return withHint(err, "stop the other one, or give this one a folder of its own: --data-dir DIR")
	case errors.Is(err, journal.ErrFormat):
		return withHint(fmt.Errorf("data directory %s: %w", c.DataDir, err),
			"run that version or a newer one; the data is unchanged")
	case errors.Is(err, fs.ErrPermission):
		return withHint(fmt.Errorf("data directory %s: %w", c.DataDir, err),
			"change its owner to this user, or choose another: --data-dir DIR")
	case err != nil:
		return fmt.Errorf("data directory %s: %w", c.DataDir, err)
	}
	s.bus = b
	s.closing(func(context.Context) error { return b.Close() })
	return nil
}

// watchRevoked ends the connections of certificates that a new list revokes.
func (s *server) watchRevoked() {
	if s.access.revoked == nil {
		return
	}
	s.access.revoked.renewed = func() { s.broker.Reauthorize(s.access.renew) }
	ctx, cancel := context.WithCancel(context.Background())
	var task sync.WaitGroup
	task.Go(func() { s.access.revoked.watch(ctx) })
	s.closing(func(context.Context) error {
		cancel()
		task.Wait()
		return nil
	})
}

func (s *server) bindAll(c *config.Config) ([]*bound, error) {
	var list []*bound
	for _, l := range c.Listen.MQTT {
		b, err := bind(l, s.keys, s.files, s.budget)
		if err != nil {
			return nil, err
		}
		s.closing(func(context.Context) error { return ignoreClosed(b.socket.Close()) })
		list = append(list, b)
	}
	return list, nil
}

// bindWeb binds the HTTP address and makes the server; nil without an HTTP address.
func (s *server) bindWeb(c *config.Config) (net.Listener, error) {
	if c.Listen.HTTP == "" {
		return nil, nil
	}
	l, address, err := bindHTTP(c.Listen, s.keys, s.files, s.budget)
	if err != nil {
		return nil, err
	}
	s.closing(func(context.Context) error { return ignoreClosed(l.Close()) })
	v, _ := versionOf()
	real := c.Listen
	real.HTTP = address
	s.http = real.HTTPURL()
	socket := "ws" + strings.TrimPrefix(s.http, "http") + "/mqtt" // wss for https
	var named func(string) bool
	if c.Listen.HTTPS {
		named = s.keys.names
	}
	s.web = web.New(s.bus, web.Options{
		Logger:       s.log,
		Audit:        s.access.audit,
		Authenticate: s.access.http,
		Mint:         s.access.mint,
		Origins:      c.Listen.Origins,
		Hosts:        hostNames(c.Listen.HTTP),
		Named:        named,
		MaxPayload:   int(c.Limits.PacketSize),
		Local:        config.LocalAddress(c.Listen.HTTP),
		Plugins:      &s.shownPlugins,
		PluginsDir:   c.PluginsDir,
		Examples:     pages.Files,
		Broker:       s.broker,
		Clients:      s.broker,
		Accounts:     &s.accounts,
		Fleet:        func() any { return s.fleets.status() },
		FleetFigures: s.fleets.figures,
		Warnings:     func() any { return s.warnings.newest() },
		MQTT:         func(c net.Conn, local bool) { s.broker.Serve(c, socket, local) },
		ReadBuffer:   c.Profile.Sizes().ReadBuffer,
		WriteBuffer:  c.Profile.Sizes().WriteBuffer,
		Version:      v,
	})
	s.closing(func(ctx context.Context) error {
		ctx, cancel := share(ctx, 4, requestTimeout)
		defer cancel()
		return s.web.Close(ctx)
	})
	return l, nil
}

// hostNames returns the names, beside addresses, under which a browser may reach this machine.
func hostNames(address string) []string {
	host, _, _ := net.SplitHostPort(address)
	names := []string{host}
	if config.LocalAddress(address) {
		return names
	}
	if name, err := os.Hostname(); err == nil {
		names = append(names, name, name+".local")
	}
	return names
}

// The texts about a config with PlainPasswords.
const (
	plainPasswords     = "listen.http is open to the network without TLS: passwords and tokens are sent unencrypted"
	plainPasswordsHint = "write https://HOST:PORT with listen.tls, or put a proxy in front of it: docs/https.md"
)

// warnOf logs what is allowed in a config and probably not meant, except for what the config before had, too.
func (s *server) warnOf(before, c *config.Config) {
	if c.PlainPasswords() && !before.PlainPasswords() {
		s.log.Warn(plainPasswords, "listen.http", c.Listen.HTTP, "hint", plainPasswordsHint)
	}
	for _, w := range c.Warnings() {
		known := slices.ContainsFunc(before.Warnings(), func(o *yamlnode.Error) bool { return o.Key == w.Key && o.Reason == w.Reason })
		if !known {
			s.log.Warn("config: "+w.Error(), "hint", w.Hint)
		}
	}
}

// touch takes the locks without which nothing goes on.
func (s *server) touch() {
	s.bus.Stats()
	s.bus.SessionsAfter("", 1)
	s.broker.Connections()
}

func (s *server) closing(f func(context.Context) error) { s.closers = append(s.closers, f) }

// close closes everything in reverse, and continues after errors.
func (s *server) close(ctx context.Context) error {
	if s.access != nil {
		s.access.close() // first, because connections and requests wait for logins
	}
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i](ctx))
	}
	s.closers = nil
	return errors.Join(errs...)
}

// share is a part of the time that is left to ctx, 1/n, and at most limit: what closes late may have
// used most of the time, and the bus, which closes last, needs some to write its snapshot.
func share(ctx context.Context, n time.Duration, limit time.Duration) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(end)/n)
	}
	return context.WithTimeout(ctx, limit)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
