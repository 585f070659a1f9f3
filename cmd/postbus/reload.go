// This file reloads the config: verify all of it, then commit. A bad edit changes nothing.

package main

import (
	"errors"
	"sync"

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
	next, policy, err := r.verify()
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
	r.commit(next.Config, policy)
	log.Info("config reloaded", "why", why, "changed", applied)
	if len(restart) > 0 {
		log.Warn("these changes need a restart", "keys", restart)
	}
}

// verify does everything that can fail.
func (r *reloader) verify() (*loaded, *auth.Policy, error) {
	next, err := r.m.load(r.settings)
	if err != nil {
		return nil, nil, err
	}
	policy, err := newPolicy(r.server.access.verifier, r.server.access.tokens, next.Config)
	if err != nil {
		return nil, nil, err
	}
	if r.server.keys != nil {
		if _, err := r.server.keys.reload(); err != nil {
			return nil, nil, err
		}
	}
	return next, policy, nil
}

// commit cannot fail.
func (r *reloader) commit(next *config.Config, policy *auth.Policy) {
	s := r.server
	s.access.policy.Store(policy)
	s.broker.SetOptions(brokerOptions(next, s.log, s.access))
	s.broker.Reauthorize(s.access.renew)
	s.bus.SetLimits(busLimits(next))
	s.keys.askFor(next.Users)
	if s.web != nil {
		s.web.SetOrigins(next.Listen.Origins)
	}
	r.current = next
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
