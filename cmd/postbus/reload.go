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
	users, groups := map[string]config.User{}, map[string]config.Group{}
	for _, u := range old.Users {
		users[u.Name] = u
	}
	for _, g := range old.Groups {
		groups[g.Name] = g
	}
	for _, u := range new.Users {
		before, known := users[u.Name]
		delete(users, u.Name)
		what := "rights changed"
		if !known {
			what = "user added"
		} else if before.Password != u.Password || !reflect.DeepEqual(before.Passwords, u.Passwords) {
			log.Done("password changed", "user", u.Name)
		}
		before.Password, before.Passwords = u.Password, u.Passwords
		if !reflect.DeepEqual(before, u) {
			log.Done(what, "user", u.Name, "publish", u.Publish, "subscribe", u.Subscribe, "deny", u.Deny, "groups", u.Groups, "admin", u.Admin)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(users)) {
		log.Done("user removed", "user", name)
	}
	for _, g := range new.Groups {
		before, known := groups[g.Name]
		delete(groups, g.Name)
		what := "rights changed"
		if !known {
			what = "group added"
		}
		if !known || !reflect.DeepEqual(before, g) {
			log.Done(what, "group", g.Name, "publish", g.Publish, "subscribe", g.Subscribe, "deny", g.Deny, "admin", g.Admin)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		log.Done("group removed", "group", name)
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
