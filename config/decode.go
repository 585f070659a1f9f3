// This file decodes nodes into a Config. Every function reports its own errors and keeps the
// default after one, so that all errors are reported at once.

package config

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/config/yamlnode"
)

// loader fills one Config from the file and then from the overlay.
type loader struct {
	c     *Config
	base  string // the folder of relative paths
	env   []string
	where map[string]yamlnode.Node // every value found, by path: for checks across keys

	userTrouble bool            // some users or the anonymous rules were refused
	groupNames  map[string]bool // also of groups with errors

	inOverlay bool         // the settings of the environment and the command line are read
	fleetAt   []fleetNodes // of the entries of c.Fleet

	certificateOf  map[string]string // users, by entry
	certificatesAt string            // path of the first list; "": there is none
}

// section reads the mapping at path, down to its keys.
func (l *loader) section(n yamlnode.Node, path string) {
	names, byName := children(path)
	m, ok := n.Map(names...)
	if !ok {
		return
	}
	for _, name := range names {
		v, ok := m.Get(name)
		if !ok {
			continue
		}
		l.where[v.Path()] = v
		if k := byName[name]; k != nil {
			k.decode(l, v)
		} else {
			l.section(v, v.Path())
		}
	}
}

// children lists the names directly below a path; sections have no key.
func children(path string) (names []string, byName map[string]*key) {
	byName = map[string]*key{}
	prefix := ""
	if path != "" {
		prefix = path + "."
	}
	for i := range keys {
		tail, ok := strings.CutPrefix(keys[i].path, prefix)
		if !ok {
			continue
		}
		name, _, deeper := strings.Cut(tail, ".")
		if _, seen := byName[name]; !seen {
			names = append(names, name)
			byName[name] = nil
		}
		if !deeper {
			byName[name] = &keys[i]
		}
	}
	return names, byName
}

// file reads a path: ~/ is the home folder, a relative path is relative to the config file's
// folder.
func (l *loader) file(n yamlnode.Node) (string, bool) {
	s, ok := n.Text()
	switch {
	case !ok:
		return "", false
	case s == "":
		n.Fail("write a path, or remove the key for the default", "the path is empty")
		return "", false
	case strings.ContainsFunc(s, unicode.IsControl):
		n.Fail("", "the path holds a control character")
		return "", false
	case s == "~" || strings.HasPrefix(s, "~/"):
		home := l.getenv("HOME")
		if home == "" {
			n.Fail("write the whole path", "%q needs $HOME, which is not set", s)
			return "", false
		}
		return filepath.Join(home, s[1:]), true
	case strings.HasPrefix(s, "~"):
		n.Fail("write the whole path", "only ~/ is supported, not %q", s)
		return "", false
	}
	if l.base != "" && !filepath.IsAbs(s) {
		s = filepath.Join(l.base, s)
	}
	return s, true
}

func (l *loader) getenv(name string) string {
	value := ""
	for _, kv := range l.env {
		if n, v, ok := strings.Cut(kv, "="); ok && n == name {
			value = v
		}
	}
	return value
}

// texts reads a list of strings and checks each one; nil for an empty list. ok is false if any
// string was refused.
func (l *loader) texts(n yamlnode.Node, check func(string) error) (texts []string, ok bool) {
	items, ok := n.List()
	for _, item := range items {
		l.where[item.Path()] = item
		s, good := item.Text()
		if good {
			if err := check(s); err != nil {
				var v *topic.VariableError
				if errors.As(err, &v) {
					item.FailWithin(v.Offset, v.Hint, "%v", err)
				} else {
					item.Fail(hintOf(err), "%v", err)
				}
				good = false
			}
		}
		ok = ok && good
		texts = append(texts, s)
	}
	return texts, ok
}

func (l *loader) listeners(n yamlnode.Node) {
	var found []Listener
	_, ok := l.texts(n, func(s string) error {
		u, err := ParseListener(s)
		found = append(found, u)
		return err
	})
	if !ok {
		l.c.Listen.MQTT = nil // no further checks on an incomplete list
		return
	}
	if len(found) == 0 {
		n.Fail(`write ["tcp://127.0.0.1:1883"], or leave the key out: that is the default`,
			"no listener: no MQTT client could connect")
		return
	}
	l.c.Listen.MQTT = found
}

func (l *loader) http(n yamlnode.Node) {
	s, ok := n.Text()
	if !ok {
		return
	}
	if s == "off" {
		l.c.Listen.HTTP, l.c.Listen.HTTPS = "", false
		return
	}
	addr, tls, err := ParseHTTP(s)
	if err != nil {
		hint := hintOf(err)
		if s == "" {
			hint = `write "off" for no HTTP at all`
		}
		n.Fail(hint, "%v", err)
		return
	}
	l.c.Listen.HTTP, l.c.Listen.HTTPS = addr, tls
}

func (l *loader) origins(n yamlnode.Node) {
	if list, ok := l.texts(n, checkOrigin); ok {
		l.c.Listen.Origins = list
	}
}

func (l *loader) durability(n yamlnode.Node) {
	if n.IsScalar() && !n.Refused() {
		if n.Raw().Value == "fsync" {
			l.c.Durability = Durability{}
			return
		}
		if _, err := yamlnode.ParseDuration(n.Raw().Value); err != nil {
			n.Fail(`write "fsync" (an acknowledged event is on disk), or an interval from 10ms to 1h`,
				"%q is neither fsync nor an interval", n.Raw().Value)
			return
		}
	}
	if d, ok := n.Duration(10*time.Millisecond, time.Hour); ok {
		l.c.Durability = Durability{Interval: d}
	}
}

// retentionSize accepts 0, but not the few bytes between 0 and one useful segment.
func (l *loader) retentionSize(n yamlnode.Node) {
	v, ok := n.Size(0, maxSize)
	if !ok {
		return
	}
	if v > 0 && v < 1<<20 {
		n.Fail(`write a unit, as in 1GiB; 0 keeps nothing beyond what sessions need`,
			"want 0, or a size from 1MiB, got %s", yamlnode.FormatSize(v))
		return
	}
	l.c.Retention.Size = v
}

func (l *loader) keepAlive(n yamlnode.Node) {
	v, ok := n.Duration(0, 65535*time.Second)
	if !ok {
		return
	}
	if v%time.Second != 0 {
		n.Fail("", "want whole seconds, which is what MQTT has, got %s", v)
		return
	}
	l.c.Limits.KeepAlive = v
}

func (l *loader) profile(n yamlnode.Node) {
	if s, ok := n.OneOf(string(ProfileDefault), string(ProfilePi)); ok {
		l.c.Profile = Profile(s)
	}
}

// pluginEnv reads names of environment variables. It refuses those that hold postbus's own secrets.
func (l *loader) pluginEnv(n yamlnode.Node) {
	names, ok := l.texts(n, func(s string) error {
		switch {
		case !envForm.MatchString(s):
			return fmt.Errorf("%q is not a name of an environment variable", s)
		case s == "POSTBUS_PASSWORD" || s == envName("auth_hook.secret") || s == "CREDENTIALS_DIRECTORY":
			return fmt.Errorf("plugins must not read %s", s)
		}
		return nil
	})
	if ok {
		l.c.PluginEnv = names
	}
}

// location reads [latitude, longitude]; null is none.
func (l *loader) location(n yamlnode.Node) {
	const form = "write the latitude, then the longitude, in degrees: [52.52, 13.40]"
	switch {
	case n.Refused() || n.IsNull():
		return
	case !n.IsList():
		n.Fail(form, "want a list of two numbers")
		return
	}
	items, _ := n.List()
	if len(items) != 2 {
		n.Fail(form, "want [latitude, longitude], got a list of %d", len(items))
		return
	}
	latitude, ok := items[0].Float(-180, 180)
	longitude, also := items[1].Float(-180, 180)
	if ok && math.Abs(latitude) > 90 {
		items[0].Fail(form, "the latitude %v is not on the earth: want -90 (south pole) to 90 (north pole)", latitude)
		return
	}
	if ok && also {
		l.c.Location = &Location{latitude, longitude}
	}
}

var envForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)
