// This file reloads the config: verify all of it, then commit. A bad edit changes nothing.

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"sync"

	"github.com/postbus/postbus/bus/audit"
	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/bus/web"
	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/config/yamlnode"
)

type reloader struct {
	m        *Main
	settings *settings
	server   *server
	started  *config.Config // settings that need a restart have their values from here

	file string // the config file; "": there is none

	mu      sync.Mutex
	current *config.Config
	wrote   [sha256.Size]byte // of the file's content that an edit over HTTP wrote last and put in force; zero: none, or it was read since
}

// verified is everything about a new config that can fail.
type verified struct {
	config *config.Config
	loaded *loaded
	policy *auth.Policy
	logins *outside
	digest [sha256.Size]byte // of the text; zero: unknown
}

// run reads the config again and applies the settings that can change at run time. why is for the
// log.
func (r *reloader) run(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runLocked(why, func() (*loaded, error) { return r.m.load(r.settings) })
}

// saved is run for a file that was saved. What an edit over HTTP has written is in force already. A file
// that is missing or empty has lost its users: a program that saves it may be between two steps.
func (r *reloader) saved(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, err := os.ReadFile(r.file)
	switch {
	case err != nil || len(bytes.TrimSpace(text)) == 0:
		r.server.log.Warn("the config file is missing or empty: the previous config stays in use until a restart or SIGHUP", "file", r.file)
	case sha256.Sum256(text) != r.wrote:
		r.runLocked(why, func() (*loaded, error) { return r.parse(text) })
	}
}

func (r *reloader) runLocked(why string, load func() (*loaded, error)) {
	r.wrote = [sha256.Size]byte{}
	v, err := r.verify(load)
	if err != nil {
		r.logError(err)
		return
	}
	r.apply(v, why)
}

// apply puts a config in force and reports that; by is who asked for it, for the logs.
func (r *reloader) apply(v verified, why string, by ...any) {
	log := r.server.log
	applied, _ := config.Diff(r.current, v.config)
	if applied == nil {
		applied = []string{} // so that JSON has [], not null
	}
	_, restart := config.Diff(r.started, v.config)
	r.server.warnOf(r.current, v.config)
	r.commit(v, by)
	log.Info("config reloaded", append([]any{"why", why, "changed", applied}, by...)...)
	if len(applied) > 0 {
		r.server.access.audit.Done("config changed", append([]any{"why", why, "keys", applied}, by...)...)
	}
	if len(restart) > 0 {
		log.Warn("these changes need a restart", "keys", restart)
	}
}

// verify loads the config, and does everything that can fail.
func (r *reloader) verify(load func() (*loaded, error)) (v verified, err error) {
	next, err := load()
	if err != nil {
		return v, err
	}
	if r.server.keys != nil {
		if _, err := r.server.keys.reload(); err != nil {
			return v, err
		}
	}
	if revoked := r.server.access.revoked; revoked != nil {
		revoked.look() // a bad list keeps no config from being loaded
	}
	return r.verifyUsers(next)
}

// parse returns the config with another text of its file.
func (r *reloader) parse(text []byte) (*loaded, error) {
	return r.m.loadWith(r.settings, func(path string, env []string, flags ...config.Override) (*config.Config, error) {
		return config.Parse(path, text, env, flags...)
	})
}

// verifyUsers checks what the policy and the logins from outside check beyond the config.
func (r *reloader) verifyUsers(next *loaded) (v verified, err error) {
	a := r.server.access
	v.config, v.loaded = next.Config, next
	if v.policy, err = newPolicy(a.verifier, a.tokens, next.Config); err != nil {
		return v, err
	}
	v.logins, err = a.newOutside(next, a.outside.Load())
	return v, err
}

// discard ends what verified holds and apply did not use.
func (v *verified) discard(r *reloader) {
	if v.logins != nil {
		r.server.access.discard(v.logins)
	}
}

// keepsAdmin refuses a config in which an administrator no longer is one: it could not be corrected in
// the same way.
func (v *verified) keepsAdmin(by web.Identity) error {
	old, ok := by.(*auth.Identity)
	var now *auth.Identity
	if ok {
		if g, granted := old.Granted(); granted {
			var err error
			now, err = v.logins.renew(v.policy, g)
			ok = err == nil
		} else {
			now, ok = v.policy.Lookup(old.Name)
		}
	}
	if !ok || !web.Administers(now) {
		return refuse(http.StatusConflict, "another administrator can do it, or postbus user, on the machine of the bus",
			"you would no longer be an administrator")
	}
	return nil
}

// commit cannot fail.
func (r *reloader) commit(v verified, by []any) {
	s, next := r.server, v.config
	auditRights(s.access.audit, r.current, next, by)
	s.access.policy.Store(v.policy)
	s.access.swap(v.logins)
	s.broker.SetOptions(brokerOptions(next, s.log, s.access))
	s.broker.Reauthorize(s.access.renew)
	s.bus.SetLimits(busLimits(next))
	s.keys.askFor(next.Users)
	if s.web != nil {
		s.web.SetOrigins(next.Listen.Origins)
	}
	if err := s.fleets.apply(context.Background(), v.loaded); err != nil {
		s.log.Error("the change of fleet is not in the journal yet, will retry", "err", err)
	}
	r.current = next
}

// auditRights writes which users and groups were added and removed, and whose password or rights have
// changed. by is who did it, where that is known.
func auditRights(log *audit.Log, old, new *config.Config, by []any) {
	auditChanges(log, by, "user", old.Users, new.Users, func(u config.User) string { return u.Name }, func(before, u config.User) []any {
		if before.Name != "" && (before.Password != u.Password || !reflect.DeepEqual(before.Passwords, u.Passwords)) {
			log.Done("password changed", append([]any{"user", u.Name}, by...)...)
		}
		before.Password, before.Passwords = u.Password, u.Passwords
		if reflect.DeepEqual(before, u) {
			return nil
		}
		return []any{"publish", u.Publish, "subscribe", u.Subscribe, "deny", u.Deny, "groups", u.Groups, "admin", u.Admin,
			"client_id", u.ClientID, "certificates", u.Certificates, "bridge", u.Bridge}
	})
	auditChanges(log, by, "group", old.Groups, new.Groups, func(g config.Group) string { return g.Name }, func(before, g config.Group) []any {
		if reflect.DeepEqual(before, g) {
			return nil
		}
		return []any{"publish", g.Publish, "subscribe", g.Subscribe, "deny", g.Deny, "admin", g.Admin}
	})
}

// auditChanges compares two lists of a kind by the names of their items. rights returns those of an item
// if they have changed; the one before is zero for a new item.
func auditChanges[T any](log *audit.Log, by []any, kind string, old, new []T, name func(T) string, rights func(before, now T) []any) {
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
			log.Done(what, slices.Concat([]any{kind, name(item)}, args, by)...)
		}
	}
	for _, gone := range slices.Sorted(maps.Keys(was)) {
		log.Done(kind+" removed", append([]any{kind, gone}, by...)...)
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
