// This file reloads the config: verify all of it, then commit. A bad edit changes nothing.

package main

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/postbus/postbus/bus/audit"
	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/config/yamlnode"
)

type reloader struct {
	m        *Main
	settings *settings
	server   *server
	started  *config.Config // settings that need a restart have their values from here

	mu      sync.Mutex
	current *config.Config
}

// run reads the config again and applies the settings that can change at run time. why is for the
// log.
func (r *reloader) run(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	log := r.server.log
	next, policy, logins, err := r.verify()
	if err != nil {
		r.logError(err)
		return
	}
	applied, _ := config.Diff(r.current, next.Config)
	if applied == nil {
		applied = []string{} // so that JSON has [], not null
	}
	_, restart := config.Diff(r.started, next.Config)
	if !r.current.PlainPasswords() {
		r.server.warnOf(next.Config)
	}
	r.commit(next.Config, policy, logins)
	log.Info("config reloaded", "why", why, "changed", applied)
	if len(applied) > 0 {
		r.server.access.audit.Done("config changed", "why", why, "keys", applied)
	}
	if len(restart) > 0 {
		log.Warn("these changes need a restart", "keys", restart)
	}
}

// verify does everything that can fail.
func (r *reloader) verify() (*loaded, *auth.Policy, *outside, error) {
	next, err := r.m.load(r.settings)
	if err != nil {
		return nil, nil, nil, err
	}
	policy, err := newPolicy(r.server.access.verifier, r.server.access.tokens, next.Config)
	if err != nil {
		return nil, nil, nil, err
	}
	if r.server.keys != nil {
		if _, err := r.server.keys.reload(); err != nil {
			return nil, nil, nil, err
		}
	}
	if revoked := r.server.access.revoked; revoked != nil {
		revoked.look() // a bad list keeps no config from being loaded
	}
	logins, err := r.server.access.newOutside(next, r.server.access.outside.Load())
	return next, policy, logins, err
}

// commit cannot fail.
func (r *reloader) commit(next *config.Config, policy *auth.Policy, logins *outside) {
	s := r.server
	auditRights(s.access.audit, r.current, next)
	s.access.policy.Store(policy)
	s.access.swap(logins)
	s.broker.SetOptions(brokerOptions(next, s.log, s.access))
	s.broker.Reauthorize(s.access.renew)
	s.bus.SetLimits(busLimits(next))
	s.keys.askFor(next.Users)
	if s.web != nil {
		s.web.SetOrigins(next.Listen.Origins)
	}
	r.current = next
}

// auditRights writes which users and groups were added and removed, and whose password or rights have
// changed.
func auditRights(log *audit.Log, old, new *config.Config) {
	auditChanges(log, "user", old.Users, new.Users, func(u config.User) string { return u.Name }, func(before, u config.User) []any {
		if before.Name != "" && (before.Password != u.Password || !reflect.DeepEqual(before.Passwords, u.Passwords)) {
			log.Done("password changed", "user", u.Name)
		}
		before.Password, before.Passwords = u.Password, u.Passwords
		if reflect.DeepEqual(before, u) {
			return nil
		}
		return []any{"publish", u.Publish, "subscribe", u.Subscribe, "deny", u.Deny, "groups", u.Groups, "admin", u.Admin}
	})
	auditChanges(log, "group", old.Groups, new.Groups, func(g config.Group) string { return g.Name }, func(before, g config.Group) []any {
		if reflect.DeepEqual(before, g) {
			return nil
		}
		return []any{"publish", g.Publish, "subscribe", g.Subscribe, "deny", g.Deny, "admin", g.Admin}
	})
}

// auditChanges compares two lists of a kind by the names of their items. rights returns those of an item
// if they have changed; the one before is zero for a new item.
func auditChanges[T any](log *audit.Log, kind string, old, new []T, name func(T) string, rights func(before, now T) []any) {
	was := map[string]T{}
	for _, item := range old {
		was[name(item)] = item
	}
	for _, item := range new {
		before, known := was[name(item)]
		delete(was, name(item))
		what := "rights changed"
		if !known {
			what = kind + " added"
		}
		if args := rights(before, item); args != nil {
			log.Done(what, append([]any{kind, name(item)}, args...)...)
		}
	}
	for _, gone := range slices.Sorted(maps.Keys(was)) {
		log.Done(kind+" removed", kind, gone)
	}
}

// logError logs every error, because the user who saved the file may see only the log.
func (r *reloader) logError(err error) {
	log := r.server.log
	var list yamlnode.Errors
	var c *configError
	if errors.As(err, &c) {
		list = c.list
	}
	for _, e := range list {
		log.Error("config: "+e.Error(), "hint", e.Hint)
	}
	if list == nil {
		log.Error("config: " + oneLine(err.Error()))
	}
	log.Error("config not reloaded: the previous one stays in use", "errors", max(1, len(list)))
}
