// This file is the session in logind (org.freedesktop.login1): which session it is, and whether it
// is locked or idle.

package desktop

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

const (
	logind     = "org.freedesktop.login1"
	logindPath = dbus.ObjectPath("/org/freedesktop/login1")
)

// savers are the names under which desktops report that the screen is locked.
var savers = []string{"org.freedesktop.ScreenSaver", "org.gnome.ScreenSaver"}

// login is a session of logind.
type login struct {
	id, user, seat, kind string
	uid                  uint32
	path                 dbus.ObjectPath
	active               bool
	properties           map[string]dbus.Variant
}

// logins lists the sessions of people.
func logins(ctx context.Context, conn *dbus.Conn) ([]login, error) {
	var list [][]any
	if err := call(ctx, conn, logind, logindPath, logind+".Manager.ListSessions").Store(&list); err != nil {
		return nil, fmt.Errorf("logind doesn't list its sessions: %w", err)
	}
	var out []login
	for _, x := range list {
		s := login{}
		if dbus.Store(x, &s.id, &s.uid, &s.user, &s.seat, &s.path) != nil {
			continue
		}
		if call(ctx, conn, logind, s.path, "org.freedesktop.DBus.Properties.GetAll", logind+".Session").Store(&s.properties) != nil {
			continue // it ended meanwhile
		}
		s.active, _ = get[bool](s.properties, "Active")
		s.kind, _ = get[string](s.properties, "Type")
		if class, _ := get[string](s.properties, "Class"); class == "user" || strings.HasPrefix(class, "user-") {
			out = append(out, s)
		}
	}
	return out, nil
}

// chosen returns the session that a file means: the named one, that of this process, one of this
// user, or, for a system service, the one in the foreground. An absent error says that there is
// none.
func chosen(list []login, named string) (login, error) {
	uid, mine := own()
	best, points := login{}, 0
	ids := []string{}
	for _, s := range list {
		ids = append(ids, fmt.Sprintf("%s (%s)", s.id, s.user))
		p := 0
		switch {
		case named != "":
			if s.id == named {
				p = 100
			}
		case s.id == mine:
			p = 100
		case s.uid == uid:
			p = 10
		case s.seat != "" && s.active && (uid == 0 || uid > 0 && uid < 1000):
			p = 2
		}
		if p > 0 && p < 100 {
			if s.kind == "x11" || s.kind == "wayland" || s.kind == "mir" {
				p += 4
			}
			if s.active {
				p += 2
			}
			if s.seat != "" {
				p++
			}
		}
		if p > points {
			best, points = s, p
		}
	}
	switch {
	case points > 0:
		return best, nil
	case named != "" && len(ids) > 0:
		return best, absent{fmt.Sprintf("there is no session %q; available: %s", named, strings.Join(ids, ", "))}
	case named != "":
		return best, absent{fmt.Sprintf("there is no session %q; no user is logged in", named)}
	}
	return best, absent{"no user is logged in whose session this could be"}
}

func (l *link) login(ctx context.Context, named string) (login, error) {
	if l.owner(logind) == "" {
		return login{}, absent{"logind is not running; waiting for it"}
	}
	list, err := logins(ctx, l.conn)
	if err != nil {
		return login{}, err
	}
	return chosen(list, named)
}

// aboutSessions reports whether a signal of logind may change which session is meant, or its
// properties.
func aboutSessions(sig *dbus.Signal) bool {
	switch sig.Name {
	case "org.freedesktop.DBus.Properties.PropertiesChanged":
		return strings.HasPrefix(string(sig.Path), string(logindPath)+"/session/")
	case logind + ".Manager.SessionNew", logind + ".Manager.SessionRemoved":
		return true
	}
	return false
}

// lock is whether the screen is locked: logind's hint, which most desktops set; its request to
// lock, for those that don't; and the reports of desktops on the session bus. It is unlocked when
// all say so.
type lock struct {
	s *Source

	mu    sync.Mutex
	link  *link
	hint  bool
	saver bool
	asked map[string]bool // by the session's path: it was requested to lock
	path  string          // of the session
}

func (k *lock) report(ctx context.Context, first bool) error {
	k.mu.Lock()
	locked := k.hint || k.saver || k.asked[k.path]
	k.mu.Unlock()
	return k.s.report(ctx, first, map[string]any{"what": "lock", "locked": locked})
}

type lockSession struct{ *lock }

func (k lockSession) onSignal(sig *dbus.Signal) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch sig.Name {
	case logind + ".Session.Lock":
		if len(k.asked) < 1000 {
			k.asked[string(sig.Path)] = true
		}
		return true
	case logind + ".Session.Unlock":
		delete(k.asked, string(sig.Path))
		return true
	case "org.freedesktop.DBus.Properties.PropertiesChanged":
		if len(sig.Body) == 3 { // the hint may be set and cleared before it is read
			changed, _ := sig.Body[1].(map[string]dbus.Variant)
			if on, ok := get[bool](changed, "LockedHint"); ok && !on {
				delete(k.asked, string(sig.Path))
			}
		}
	}
	return aboutSessions(sig)
}

func (k lockSession) read(ctx context.Context, l *link, first bool) error {
	s, err := l.login(ctx, k.s.o.Session)
	if err != nil {
		return err
	}
	hint, _ := get[bool](s.properties, "LockedHint")
	k.mu.Lock()
	if k.link != l { // earlier requests may have been undone since
		k.link = l
		clear(k.asked)
	}
	k.path = string(s.path)
	k.hint = hint
	k.mu.Unlock()
	return k.report(ctx, first)
}

type lockSaver struct{ *lock }

func (k lockSaver) onSignal(sig *dbus.Signal) bool {
	if len(sig.Body) == 1 && sig.Body[0] == false {
		k.mu.Lock()
		delete(k.asked, k.path)
		k.mu.Unlock()
	}
	return true
}

func (k lockSaver) read(ctx context.Context, l *link, first bool) error {
	on, there := false, false
	for _, name := range savers {
		if l.owner(name) == "" {
			continue
		}
		var active bool
		path := dbus.ObjectPath("/" + strings.ReplaceAll(name, ".", "/"))
		if err := l.call(ctx, name, path, name+".GetActive").Store(&active); err != nil {
			continue // the freedesktop name often exists without it
		}
		on, there = on || active, true
	}
	k.mu.Lock()
	k.saver = on
	k.mu.Unlock()
	if !there && first {
		return absent{"no screen saver reports whether it is active"}
	}
	return k.report(ctx, first)
}

// idle is the session's idle hint, which the desktop sets.
type idle struct{ s *Source }

func (idle) onSignal(sig *dbus.Signal) bool { return aboutSessions(sig) }

func (i idle) read(ctx context.Context, l *link, first bool) error {
	s, err := l.login(ctx, i.s.o.Session)
	if err != nil {
		return err
	}
	hint, _ := get[bool](s.properties, "IdleHint")
	return i.s.report(ctx, first, map[string]any{"what": "idle", "idle": hint})
}
