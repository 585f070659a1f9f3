// This file translates the config into options of the bus, the broker and the web server.

package main

import (
	"log/slog"
	"sync/atomic"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/audit"
	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/bus/auth/issuer"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/quiet"
	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/bus/web"
	"github.com/postbus/postbus/config"
)

func busOptions(c *config.Config, log *slog.Logger, a *access) bus.Options {
	o := bus.Options{
		MayPublishWill: a.mayPublishWill,

		Dir:         c.DataDir,
		Logger:      log,
		Durability:  c.Durability.Interval,
		Limits:      busLimits(c),
		SegmentSize: c.Profile.Sizes().Segment,
		Pins:        fleetPins(c.Fleet),
	}
	if c.Profile == config.ProfilePi {
		o.CacheSize = 1 << 20
	}
	return o
}

// busLimits returns the bus's options that can change. A retention of 0 disables that limit of the
// retention.
func busLimits(c *config.Config) bus.Limits {
	l := bus.Limits{
		RetentionAge:   c.Retention.Age,
		RetentionSize:  c.Retention.Size,
		SessionBacklog: uint64(c.Limits.SessionBacklog),
		MaxPayload:     int(c.Limits.PacketSize),
		MinFree:        c.Limits.DiskFree,

		TopicLevels:      c.Limits.TopicLevels,
		Subscriptions:    c.Limits.Subscriptions,
		SubscriptionSize: c.Limits.SubscriptionSize,
		Sessions:         c.Limits.Sessions,
		WillSize:         c.Limits.WillSize,
		Retained:         c.Limits.Retained,
		RetainedSize:     c.Limits.RetainedSize,
	}
	if l.RetentionAge == 0 {
		l.RetentionAge = -1
	}
	if l.RetentionSize == 0 {
		l.RetentionSize = -1
	}
	return l
}

func brokerOptions(c *config.Config, log *slog.Logger, a *access) broker.Options {
	v, _ := versionOf()
	o := broker.Options{
		Logger:        log,
		Audit:         a.audit,
		Authenticate:  a.mqtt,
		SessionExpiry: c.Limits.SessionExpiry,
		PacketSize:    int(c.Limits.PacketSize),
		Connections:   c.Limits.Connections,
		PerAddress:    c.Limits.PerAddress,
		PublishRate:   broker.Rate{Events: c.Limits.PublishRate, Bytes: c.Limits.PublishSize},
		UserRate:      broker.Rate{Events: c.Limits.UserPublishRate, Bytes: c.Limits.UserPublishSize},
		KeepAlive:     c.Limits.KeepAlive,
		Inflight:      c.Limits.Inflight,
		Version:       "postbus " + v,
		Presence:      true,
	}
	if c.Profile == config.ProfilePi {
		o.OutputBuffer = 64 << 10
	}
	return o
}

// newPolicy compiles the access rights. Without tokens no client can log in with one.
func newPolicy(v *auth.Verifier, tokens *auth.Tokens, c *config.Config) (*auth.Policy, error) {
	o := policyOptions(c)
	o.Tokens = tokens
	return auth.NewPolicy(v, o)
}

func policyOptions(c *config.Config) (o auth.Options) {
	o.OtherUsers = len(c.JWT) > 0 || c.AuthHook.URL != ""
	for _, g := range c.Groups {
		o.Groups = append(o.Groups, auth.Group{Name: g.Name, Admin: g.Admin,
			Rules: auth.Rules{Publish: g.Publish, Subscribe: g.Subscribe, Deny: g.Deny}})
	}
	for _, u := range c.Users {
		user := auth.User{Name: u.Name, Password: u.Password, Bridge: u.Bridge, ClientID: u.ClientID,
			Groups: u.Groups, Admin: u.Admin, Certificates: u.Certificates,
			Rules: auth.Rules{Publish: u.Publish, Subscribe: u.Subscribe, Deny: u.Deny}}
		for _, w := range u.Passwords {
			user.Passwords = append(user.Passwords, auth.NamedPassword(w))
		}
		o.Users = append(o.Users, user)
	}
	switch a := c.Anonymous; {
	case a.Off:
	case a.Explicit:
		o.Anonymous = &auth.Rules{Publish: a.Publish, Subscribe: a.Subscribe, Deny: a.Deny}
		o.AnonymousRemote = true
	default: // users of this machine may also see the bus's state
		o.AnonymousAdmin = !c.HasLogins()
		o.Anonymous = &auth.Rules{Publish: a.Publish, Subscribe: append([]string{"$SYS/#", "$bus/#"}, a.Subscribe...), Deny: a.Deny}
	}
	return o
}

// access is the current policy and the logins beside it; a reload swaps them.
type access struct {
	log      *slog.Logger
	audit    *audit.Log
	verifier *auth.Verifier
	keys     *keyFile
	tokens   *auth.Tokens
	sources  *issuer.Sources
	policy   atomic.Pointer[auth.Policy]
	outside  atomic.Pointer[outside]
	quiet    quiet.Log // for what clients cause
	revoked  *revoked  // certificates; nil: there is no list
}

func newAccess(l *loaded, log *slog.Logger) (*access, error) {
	a := &access{log: log, verifier: auth.NewVerifier(0), keys: newKeyFile(l.DataDir), sources: newSources(l.Config, log)}
	a.tokens = auth.NewTokens(a.keys)
	p, err := newPolicy(a.verifier, a.tokens, l.Config)
	if err != nil {
		return nil, withHint(err, "postbus user passwd NAME writes a new hash")
	}
	o, err := a.newOutside(l, nil)
	if err != nil {
		return nil, err
	}
	a.policy.Store(p)
	a.outside.Store(o)
	a.audit = audit.Open(l.DataDir, log)
	return a, nil
}

func (a *access) mqtt(c broker.Credentials) (broker.Identity, error) {
	id, err := a.authenticate(c, "mqtt")
	if err != nil {
		return nil, err // not a nil *auth.Identity in the interface
	}
	return id.As(c.ClientID), nil
}

func (a *access) http(c web.Credentials) (web.Identity, error) {
	id, err := a.authenticate(broker.Credentials{User: c.User, Password: c.Password, HasPassword: c.HasPassword, Local: c.Local,
		Address: c.Address, Certificate: c.Certificate}, "http")
	if err != nil {
		return nil, err
	}
	return id, nil
}

// mayPublishWill reports whether the user of a session may publish a last will now. A reserved topic
// was accepted at CONNECT as a bridge's own state.
func (a *access) mayPublishWill(user, client string, w *bus.Will) bool {
	p := a.policy.Load()
	id, ok := p.Lookup(user)
	if w.Login != nil {
		g, err := auth.ParseGrant(w.Login)
		if err == nil {
			id, err = a.outside.Load().renew(p, g)
		}
		ok = err == nil
	}
	return ok && (topic.Reserved(w.Topic) || id.As(client).MayPublish(w.Topic))
}

// renew is how connected clients are checked after a reload.
func (a *access) renew(old broker.Identity, client string, local bool) (broker.Identity, error) {
	p := a.policy.Load()
	if c := old.(*auth.Identity).Certificate(); c != nil {
		if err := a.revoked.check(c.Leaf); err != nil {
			return nil, err
		}
	}
	if g, ok := old.(*auth.Identity).Granted(); ok {
		id, err := a.outside.Load().renew(p, g)
		if err != nil {
			return nil, err
		}
		return id.As(client), nil
	}
	id, err := p.Renew(old.(*auth.Identity), client, local)
	if err != nil {
		return nil, err
	}
	return id, nil
}
