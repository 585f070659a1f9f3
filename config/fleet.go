// This file is the key fleet: the hubs through which this bus exchanges events with other buses.

package config

import (
	"strings"
	"time"

	"github.com/postbus/postbus/config/yamlnode"
)

// FleetEntry is one hub of a fleet. Entries with the same Name are several hubs of one fleet: they
// have the same Bus and the same Share.
type FleetEntry struct {
	Name     string        // of the fleet, the same at each of its buses
	Bus      string        // this bus's name in the fleet; "": not written, see BusName
	Hub      []string      // URLs of the hub's servers as SCHEME://HOST:PORT, 1 to 16, all of one scheme
	Creds    Secret        // a credentials file of NATS; at most one of Creds and NKey is set
	NKey     Secret        // the seed of a user's nkey
	CA       string        // PEM file of the authority of the hub's certificate; "": the system's
	Share    []Share       // up to 256; an event belongs to the first one whose filter matches it
	Take     []Take        // up to 256; never empty together with Share
	Since    Since         // where a bus begins that is new in the fleet
	Keep     time.Duration // 1s to 3650d: how long the journal keeps events that the hub may ask for again
	KeepSize int64         // bytes, 1MiB to 1024TiB: the maximum of what Keep holds back
	Rate     int64         // bytes per second to the hub, 0 or 1KiB to 1TiB; 0: no limit

	at map[string]*yamlnode.Error // by key; "": the entry
}

// Share is events that other buses can take.
type Share struct {
	Filter string // no filter before it in the list covers it
	Lane   int    // the events of one value of the first Lane levels travel on their own, 0 to 8
}

// Take is events of other buses that this one wants.
type Take struct {
	Filter string
	From   string // the only bus whose events it means; "": any
}

// Since is where a bus begins that has read nothing from the hub yet. The zero value is "now".
type Since struct {
	All bool          // with the oldest event that the hub has
	Age time.Duration // or with events that are this old at most; 0: only new ones
}

// Secret says where a secret is: by the name of one in the folder of secrets, or in a file. At most
// one of the two is set.
type Secret struct {
	Name string // written secret:NAME
	File string
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s == Secret{} }

// maxName is the maximum length of the name of a fleet or a bus, in bytes.
const maxName = 64

// defaultFleetEntry is an entry without its name and its hub.
func defaultFleetEntry() FleetEntry {
	return FleetEntry{Keep: 24 * time.Hour, KeepSize: 1 << 30}
}

// KeyError returns an error about the value of a key such as "creds", with its position in the
// config: for what is found out when the value is used. The key "" is the entry itself, and stands in
// for a key that the entry does not have.
func (e *FleetEntry) KeyError(key string, err error, hint string) yamlnode.Errors {
	at := yamlnode.Error{Key: "fleet"}
	if p := e.at[""]; p != nil {
		at = *p
	}
	if p := e.at[key]; p != nil {
		at = *p
	}
	at.Reason, at.Hint = err.Error(), hint
	return yamlnode.Errors{&at}
}

// Encrypted reports whether the connection to the hub is TLS from its first byte on.
func (e *FleetEntry) Encrypted() bool {
	return strings.HasPrefix(e.Hub[0], "tls://") || strings.HasPrefix(e.Hub[0], "wss://")
}

// BusName returns the name of a bus whose config has none: the first label of the host's name, with a
// hyphen for each run of characters that a name of a bus can't have. It is "" if nothing is left, and
// for "localhost", which is not the name of any host.
func BusName(host string) string {
	label, _, _ := strings.Cut(host, ".")
	if strings.EqualFold(label, "localhost") {
		return ""
	}
	return validName(label)
}

// validName replaces what checkFleetName refuses.
func validName(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case nameRune(r):
			b.WriteRune(r)
		case !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() == maxName {
			break
		}
	}
	return strings.Trim(b.String(), "-")
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

// CheckBusName checks the name of a bus in a fleet. The error may have a hint.
func CheckBusName(name string) error { return checkFleetName("bus", name) }

// checkFleetName checks the name of a fleet or a bus. It becomes one token of a subject and a part of
// the name of a stream, where a dot or a wildcard would change the meaning.
func checkFleetName(what, s string) error {
	hint := "write a name of letters, digits, - and _"
	if v := validName(s); v != "" {
		hint = "write " + v
	}
	switch {
	case s == "":
		return hintf("write a name of letters, digits, - and _", "the name of a %s can't be empty", what)
	case strings.ContainsFunc(s, func(r rune) bool { return !nameRune(r) }):
		return hintf(hint, "%.80q: the name of a %s has only letters (a to z), digits, - and _", s, what)
	case len(s) > maxName:
		return hintf(hint, "the name of a %s has at most %d characters, not %d", what, maxName, len(s))
	}
	return nil
}

// withoutFleetPlaces returns what can differ between two configs.
func withoutFleetPlaces(list []FleetEntry) []FleetEntry {
	var plain []FleetEntry
	for _, e := range list {
		e.at = nil
		plain = append(plain, e)
	}
	return plain
}
