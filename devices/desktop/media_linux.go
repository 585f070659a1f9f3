// This file is the media players: MPRIS 2.2 (org.mpris.MediaPlayer2), one bus name for each.

package desktop

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

const (
	players    = "org.mpris.MediaPlayer2."
	playerPath = dbus.ObjectPath("/org/mpris/MediaPlayer2")
	playerFace = "org.mpris.MediaPlayer2.Player"
	mirror     = players + "playerctld" // it only mirrors another player
)

// media is the players' playback.
type media struct {
	s     *Source
	mu    sync.Mutex
	dirty map[string]bool   // unique names of players that sent a signal
	seen  map[string]string // the reported players, and their owners then
	link  *link
}

func (m *media) onSignal(sig *dbus.Signal) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirty == nil {
		m.dirty = map[string]bool{}
	}
	if sig.Sender != daemon {
		m.dirty[sig.Sender] = true // bounded by the number of owners
	}
	return true
}

// read reports the players that appeared, disappeared or sent a signal.
func (m *media) read(ctx context.Context, l *link, first bool) error {
	m.mu.Lock()
	dirty := m.dirty
	m.dirty = nil
	m.mu.Unlock()
	l.mu.Lock()
	owners := maps.Clone(l.owners)
	l.mu.Unlock()
	maps.DeleteFunc(owners, func(name, owner string) bool {
		return !strings.HasPrefix(name, players) || name == mirror || owner == ""
	})
	if m.seen == nil {
		m.seen = map[string]string{}
	}
	for _, name := range slices.Sorted(maps.Keys(m.seen)) {
		if owners[name] == "" {
			delete(m.seen, name)
			if err := m.s.report(ctx, false, map[string]any{"what": "media", "player": name[len(players):], "status": "closed"}); err != nil {
				return err
			}
		}
	}
	all := m.link != l
	m.link = l
	for _, name := range slices.Sorted(maps.Keys(owners)) {
		owner := owners[name]
		if !all && !dirty[owner] && m.seen[name] == owner {
			continue
		}
		f, err := m.player(ctx, l, name)
		if err != nil {
			continue // it has ended or hangs; its next signal causes another read
		}
		m.seen[name] = owner
		if err := m.s.report(ctx, first, f); err != nil {
			return err
		}
	}
	return nil
}

// player returns a player's state.
func (m *media) player(ctx context.Context, l *link, name string) (map[string]any, error) {
	p, err := l.properties(ctx, name, playerPath, playerFace)
	if err != nil {
		return nil, err
	}
	f := mediaFields(name[len(players):], p)
	var identity dbus.Variant
	if l.call(ctx, name, playerPath, "org.freedesktop.DBus.Properties.Get", "org.mpris.MediaPlayer2", "Identity").Store(&identity) == nil {
		if text, _ := identity.Value().(string); text != "" {
			f["identity"] = short(text)
		}
	}
	return f, nil
}

// mediaFields returns an event's fields from a player's properties.
func mediaFields(player string, p map[string]dbus.Variant) map[string]any {
	f := map[string]any{"what": "media", "player": short(player), "identity": nil, "title": nil, "artist": nil, "album": nil, "length": nil, "url": nil}
	status, _ := get[string](p, "PlaybackStatus")
	f["status"] = mediaStatus(status)
	data, _ := get[map[string]dbus.Variant](p, "Metadata")
	for key, name := range map[string]string{"title": "xesam:title", "album": "xesam:album", "url": "xesam:url"} {
		if text, _ := get[string](data, name); text != "" {
			f[key] = short(text)
		}
	}
	switch artists := data["xesam:artist"].Value().(type) {
	case []string:
		if text := strings.Join(artists, ", "); text != "" {
			f["artist"] = short(text)
		}
	case string: // some players do this, against the specification
		if artists != "" {
			f["artist"] = short(artists)
		}
	}
	var length float64 // in microseconds; players use all number types
	switch n := data["mpris:length"].Value().(type) {
	case int64:
		length = float64(n)
	case uint64:
		length = float64(n)
	case int32:
		length = float64(n)
	case uint32:
		length = float64(n)
	case float64:
		length = n
	}
	if length > 0 && length < 1e15 {
		f["length"] = length / 1e6
	}
	return f
}

// mediaStatus converts MPRIS's word to ours.
func mediaStatus(s string) string {
	if s == "Playing" || s == "Paused" {
		return strings.ToLower(s)
	}
	return "stopped"
}

// short returns at most 1,000 characters of a text from outside.
func short(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	n := 0
	for i := range s {
		if n++; n > 1000 {
			return s[:i] + "…"
		}
	}
	return s
}
