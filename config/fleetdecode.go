// This file decodes the entries of the key fleet.

package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/config/yamlnode"
)

const (
	maxFleet        = 16  // entries
	maxFleetFilters = 256 // of share, and of take, in one entry
	maxHubs         = 16  // servers of one entry
	maxLane         = 8
)

// fleetKeys are the keys of an entry, in the order of the documentation.
var fleetKeys = []string{"name", "bus", "hub", "creds", "nkey", "ca", "share", "take", "since", "keep", "keep_size", "rate"}

// fleetNodes is where the parts of an entry are, for checks across keys and entries.
type fleetNodes struct {
	name, bus, share yamlnode.Node // of an absent key: the entry's
	hubs             []yamlnode.Node
	filters          []yamlnode.Node // of share
}

// fleet reads the list of entries. The environment has only the bus's name.
func (l *loader) fleet(n yamlnode.Node) {
	if l.inOverlay {
		l.fleetBus(n)
		return
	}
	if n.IsMap() && !n.Refused() {
		n.Fail(`begin each entry with "- ", as in: - name: home`, "want a list of entries, got one mapping")
		return
	}
	items, _ := n.List()
	if len(items) > maxFleet {
		n.Fail("", "want at most %d entries, got %d", maxFleet, len(items))
		items = items[:maxFleet]
	}
	for _, item := range items {
		e := defaultFleetEntry()
		if at, ok := l.fleetEntry(item, &e); ok {
			l.c.Fleet = append(l.c.Fleet, e)
			l.fleetAt = append(l.fleetAt, at)
		}
	}
}

// fleetBus sets the name of this bus in every fleet, so that many machines can have one file.
func (l *loader) fleetBus(n yamlnode.Node) {
	m, _ := n.Map("bus")
	v, has := m.Get("bus")
	if !has {
		return
	}
	bus, ok := l.fleetName(v, "bus")
	if !ok {
		return
	}
	for i := range l.c.Fleet {
		e := &l.c.Fleet[i]
		e.Bus, e.at["bus"], l.fleetAt[i].bus = bus, v.Error(), v
	}
}

func (l *loader) fleetEntry(n yamlnode.Node, e *FleetEntry) (at fleetNodes, ok bool) {
	at = fleetNodes{name: n, bus: n, share: n}
	if n.IsScalar() && !n.Refused() {
		n.Fail(`write {name: home, hub: ["tls://HOST:4222"], share: [{filter: "home/#"}]}`, "want an entry of a fleet, got text")
		return at, false
	}
	m, ok := n.Map(fleetKeys...)
	if !ok {
		return at, false
	}
	e.at = map[string]*yamlnode.Error{"": n.Error()}
	listed := true // all filters of share and take are good
	for i := range m.Len() {
		key, v := m.Entry(i)
		e.at[key] = v.Error()
		var good bool
		switch key {
		case "name":
			at.name = v
			e.Name, good = l.fleetName(v, "fleet")
		case "bus":
			at.bus = v
			e.Bus, good = l.fleetName(v, "bus")
		case "hub":
			if e.Hub, at.hubs, good = hubs(v); !good {
				at.hubs = nil // no further checks of an incomplete list
			}
		case "creds":
			e.Creds, good = l.secret(v, "credentials")
		case "nkey":
			e.NKey, good = l.secret(v, "seed")
		case "ca":
			e.CA, good = l.file(v)
		case "share":
			at.share = v
			e.Share, at.filters, good = shares(v)
		case "take":
			e.Take, good = l.takes(v)
		case "since":
			e.Since, good = since(v)
		case "keep":
			e.Keep, good = v.Duration(time.Second, maxAge)
		case "keep_size":
			e.KeepSize, good = v.Size(1<<20, maxSize)
		case "rate":
			e.Rate, good = rate(v)
		}
		ok = ok && good
		if key == "share" || key == "take" {
			listed = listed && good
		}
	}
	for _, need := range []struct{ key, hint string }{
		{"name", "write the name of the fleet, the same at each of its buses, such as home"},
		{"hub", `write the URLs of the hub's servers: hub: ["tls://HOST:4222"]`},
	} {
		if _, has := m.Get(need.key); !has {
			n.Fail(need.hint, "the entry has no %q", need.key)
			ok = false
		}
	}
	if listed && len(e.Share)+len(e.Take) == 0 {
		n.Fail(`write share: [{filter: "home/#"}] for what others may have, take: [{filter: "home/#"}] for what this bus wants, or both`,
			"the entry neither shares nor takes events")
		ok = false
	}
	if len(at.hubs) > 0 {
		ok = l.checkFleetLogin(m, e, at) && ok
	}
	return at, ok
}

func (l *loader) fleetName(n yamlnode.Node, what string) (string, bool) {
	s, ok := n.Text()
	if !ok {
		return "", false
	}
	if err := checkFleetName(what, s); err != nil {
		n.Fail(hintOf(err), "%v", err)
		return "", false
	}
	return s, true
}

// hubs reads the servers of a hub. They have one scheme, because a client uses TLS, and WebSocket,
// for all of them or for none.
func hubs(n yamlnode.Node) (urls []string, nodes []yamlnode.Node, ok bool) {
	items, ok := n.List()
	switch {
	case !ok:
		return nil, nil, false
	case len(items) == 0:
		n.Fail(`write ["tls://HOST:4222"]`, "the list of the hub's servers is empty")
		return nil, nil, false
	case len(items) > maxHubs:
		n.Fail("a few servers of a cluster are enough: they name the others", "want at most %d servers, got %d", maxHubs, len(items))
		return nil, nil, false
	}
	for _, item := range items {
		s, good := item.Text()
		if !good {
			ok = false
			continue
		}
		url, err := parseHub(s)
		scheme, _, _ := strings.Cut(url, "://")
		switch {
		case err != nil:
			item.Fail(hintOf(err), "%v", err)
			ok = false
			continue
		case slices.Contains(urls, url):
			item.Fail("remove one of the two", "the server %s twice", url)
			ok = false
		case len(urls) > 0 && !strings.HasPrefix(urls[0], scheme+"://"):
			item.Fail("write the same scheme for all servers of a hub", "%s and %s: the servers of a hub have one scheme", url, urls[0])
			ok = false
		}
		urls, nodes = append(urls, url), append(nodes, item)
	}
	return urls, nodes, ok
}

const secretScheme = "secret:"

var (
	secretForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`) // as in plugin files
	seedForm   = regexp.MustCompile(`^S[A-Z2-7]{57}$`)                   // a seed of NATS
)

// secret reads secret:NAME or a file. It never shows the text: that may be the secret itself.
func (l *loader) secret(n yamlnode.Node, what string) (Secret, bool) {
	const hint = `write it to the file secrets/NAME beside postbus.yaml (chmod 600), and "secret:NAME" here`
	s, ok := n.Text()
	if !ok {
		return Secret{}, false
	}
	name, named := strings.CutPrefix(s, secretScheme)
	switch {
	case seedForm.MatchString(strings.TrimSpace(s)), strings.HasPrefix(s, "eyJ"), strings.Contains(s, "-----BEGIN"):
		n.Fail(hint, "want secret:NAME or a file, not the %s", what)
	case strings.HasPrefix(s, "${"):
		n.Fail(`write "secret:NAME"`, "want secret:NAME or a file: there are no variables here")
	case named && !secretForm.MatchString(name):
		n.Fail("", "the name of a secret has 1 to 100 letters, digits, . _ and -, and begins with a letter or digit")
	case named:
		return Secret{Name: name}, true
	default:
		file, ok := l.file(n)
		return Secret{File: file}, ok
	}
	return Secret{}, false
}

// filtersOf reads the items of share or take, which are mappings with a filter.
func filtersOf(n yamlnode.Node, keys []string, each func(item yamlnode.Node, m yamlnode.Map, filter yamlnode.Node, text string) bool) bool {
	items, ok := n.List()
	if len(items) > maxFleetFilters {
		n.Fail("", "want at most %d filters, got %d", maxFleetFilters, len(items))
		return false
	}
	for _, item := range items {
		if item.IsScalar() && !item.Refused() {
			item.Fail(fmt.Sprintf("write {filter: %q}", item.Raw().Value), "want a mapping with the key filter, got text")
			ok = false
			continue
		}
		m, good := item.Map(keys...)
		if !good {
			ok = false
			continue
		}
		filter, has := m.Get("filter")
		if !has {
			item.Fail(`write {filter: "home/#"}`, `the entry has no "filter"`)
			ok = false
			continue
		}
		text, good := filter.Text()
		if good {
			if err := checkFleetFilter(text); err != nil {
				filter.Fail(hintOf(err), "%v", err)
				good = false
			}
		}
		ok = each(item, m, filter, text) && good && ok
	}
	return ok
}

func shares(n yamlnode.Node) (list []Share, nodes []yamlnode.Node, ok bool) {
	ok = filtersOf(n, []string{"filter", "lane"}, func(_ yamlnode.Node, m yamlnode.Map, filter yamlnode.Node, text string) bool {
		good := true
		for i, s := range list {
			if !topic.Covers(s.Filter, text) {
				continue
			}
			line, col := nodes[i].Place()
			if s.Filter == text {
				filter.Fail("remove one of the two", "the filter %q twice: it is at %d:%d, too", text, line, col)
			} else {
				filter.Fail("move it before that one, or remove it: an event belongs to the first filter that matches it",
					"%q has no effect: %q at %d:%d matches all of its topics", text, s.Filter, line, col)
			}
			good = false
			break
		}
		lane := int64(0)
		if v, has := m.Get("lane"); has {
			var is bool
			lane, is = v.Int(0, maxLane)
			good = good && is
		}
		list, nodes = append(list, Share{Filter: text, Lane: int(lane)}), append(nodes, filter)
		return good
	})
	return list, nodes, ok
}

func (l *loader) takes(n yamlnode.Node) (list []Take, ok bool) {
	ok = filtersOf(n, []string{"filter", "from"}, func(_ yamlnode.Node, m yamlnode.Map, filter yamlnode.Node, text string) bool {
		t, good := Take{Filter: text}, true
		if v, has := m.Get("from"); has {
			var is bool
			if t.From, is = v.Text(); is && t.From != "" {
				t.From, is = l.fleetName(v, "bus")
			}
			good = is
		}
		if good && slices.Contains(list, t) {
			filter.Fail("remove one of the two", "the filter %q twice", text)
			good = false
		}
		list = append(list, t)
		return good
	})
	return list, ok
}

// checkFleetFilter checks a topic filter of share or take.
func checkFleetFilter(f string) error {
	switch _, _, replay := topic.SplitReplay(f); {
	case replay || topic.Shared(f):
		inner := topic.Inner(f)
		if inner == "" {
			inner = "#"
		}
		return hintf(fmt.Sprintf("write %q", inner), "%q is a subscription; want a topic filter", f)
	case strings.HasPrefix(f, "$"):
		return hintf(`remove it: "#" stands for all topics that do not begin with $`, "%q: topics that begin with $ are each bus's own and never leave it", f)
	case strings.Contains(f, "${"):
		return hintf("write the level out, or +", "%q: variables are for the rules of users, not for a fleet", f)
	}
	err := topic.CheckFilter(f)
	var wrong *topic.Error
	if errors.As(err, &wrong) {
		return explainFilter(f, wrong)
	}
	return err
}

func since(n yamlnode.Node) (s Since, ok bool) {
	const hint = "write now (only new events), all (everything that the hub has) or an age such as 1h or 7d"
	switch {
	case n.Refused():
		return s, false
	case !n.IsScalar():
		n.Fail(hint, "want now, all or an age")
		return s, false
	}
	word := n.Raw().Value
	switch _, err := yamlnode.ParseDuration(word); {
	case word == "now":
		return Since{}, true
	case word == "all":
		return Since{All: true}, true
	case err != nil:
		n.Fail(hint, "%.60q is neither now nor all nor an age", word)
		return s, false
	}
	s.Age, ok = n.Duration(time.Second, maxAge)
	return s, ok
}

// rate accepts 0, but not the few bytes with which nothing would arrive.
func rate(n yamlnode.Node) (int64, bool) {
	if n.IsScalar() && !n.Refused() {
		if size, perSecond := strings.CutSuffix(n.Raw().Value, "/s"); perSecond {
			n.Fail(fmt.Sprintf("write %.60s: a rate is always per second", size), "%.60q is not a size", n.Raw().Value)
			return 0, false
		}
	}
	v, ok := n.Size(0, 1<<40)
	if ok && v > 0 && v < 1<<10 {
		n.Fail("write a unit, as in 64KiB; 0 is no limit", "want 0, or at least 1KiB per second, got %s", yamlnode.FormatSize(v))
		return 0, false
	}
	return v, ok
}
