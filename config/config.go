// Package config is postbus.yaml: its keys, their defaults, strict loading and validation.
//
// It promises:
//
//   - Load reports every error at once, each with file, line, column, key, reason and where
//     possible a hint (see package yamlnode). On error it returns no Config, so a bad edit is never
//     half applied.
//   - A Config from Load or Default is complete and valid: every value is in range, every listener
//     address parses, every filter is an MQTT filter, and no client of another machine has access
//     unless the user configured that.
//   - Settings from the environment and the command line override the file and pass the same
//     checks.
//
// It opens nothing but the config file: it neither binds addresses nor reads certificates or data
// folders. It imports the standard library and the YAML parser only, so package auth checks
// password hashes again, strictly.
package config

import (
	"time"

	"github.com/postbus/postbus/config/yamlnode"
)

// Config is the whole of postbus.yaml. The zero value is not useful: start from Default.
type Config struct {
	DataDir    string    // "": the platform's folder, see DefaultPaths
	PluginsDir string    // "": plugins.d beside the config, see DefaultPaths
	PluginEnv  []string  // environment variables that plugins may read as ${env.NAME}
	Location   *Location // where plugins compute the sun; nil: unknown
	Listen     Listen
	Durability Durability
	Retention  Retention
	Limits     Limits
	Groups     []Group // in the order of the file
	Users      []User
	JWT        []JWT
	AuthHook   AuthHook
	Anonymous  Anonymous
	Fleet      []FleetEntry
	Profile    Profile

	warnings yamlnode.Errors
}

// Location is a place on the earth, in degrees.
type Location struct {
	Latitude  float64 // -90 to 90, north is positive
	Longitude float64 // -180 to 180, east is positive
}

// Degrees is the latitude and the longitude; nil if there is no location.
func (l *Location) Degrees() []float64 {
	if l == nil {
		return nil
	}
	return []float64{l.Latitude, l.Longitude}
}

// Listen is the addresses on which clients connect.
type Listen struct {
	MQTT    []Listener // at least one, no address twice
	HTTP    string     // host:port of dashboard, WebSocket, API and metrics; "" for none
	HTTPS   bool       // HTTP speaks TLS, with the certificate of TLS: the file has https://host:port
	TLS     TLS
	Origins []string // other web origins allowed to open the WebSocket, as "https://host:port"
}

// HTTPURL is the URL by which browsers and commands reach HTTP, as "https://host:port"; "" if HTTP
// is off.
func (l Listen) HTTPURL() string {
	switch {
	case l.HTTP == "":
		return ""
	case l.HTTPS:
		return "https://" + l.HTTP
	}
	return "http://" + l.HTTP
}

// PlainPasswords reports whether users' passwords may cross a network unencrypted, over HTTP.
func (c *Config) PlainPasswords() bool {
	return c.HasLogins() && c.Listen.HTTP != "" && !c.Listen.HTTPS && !LocalAddress(c.Listen.HTTP)
}

// HasLogins reports whether clients can log in with a user name.
func (c *Config) HasLogins() bool {
	return len(c.Users) > 0 || len(c.JWT) > 0 || c.AuthHook.URL != ""
}

// TLS holds the files that tls:// and https:// listeners need. Relative names in the config file
// are relative to that file's folder.
type TLS struct {
	Cert     string // PEM chain; needs Key
	Key      string // PEM; needs Cert
	ClientCA string // PEM; if set, clients of tls:// listeners must present a certificate it signed
	// ClientCRL is PEM or DER: certificates of clients that ClientCA has revoked.
	ClientCRL string
}

// Durability states when an acknowledged event is on disk: before its acknowledgement (Interval 0,
// written "fsync"), or at most Interval later (10ms to 1h). In the second case a power cut loses
// the events that were acknowledged in between.
type Durability struct{ Interval time.Duration }

// Fsync reports whether every acknowledgement waits for the disk.
func (d Durability) Fsync() bool { return d.Interval == 0 }

// Retention is what the journal keeps after all sessions have it: events no older than Age and no
// more than Size in all. 0 keeps nothing more.
type Retention struct {
	Age  time.Duration // 0 to 3650d
	Size int64         // bytes, 0 or 1MiB to 1024TiB
}

// Limits bounds the resources that clients may use. All of them can change while the bus runs.
type Limits struct {
	SessionExpiry  time.Duration // 1s to 3650d: how long an offline persistent session is kept
	SessionBacklog int64         // events one session may lag behind; 0: only the size rules
	PacketSize     int64         // maximum bytes of one MQTT packet, 1KiB to 256MiB
	Connections    int           // at the same time; 0: no limit
	PerAddress     int           // of them from one address of another machine; 0: no limit
	PublishRate    int           // PUBLISH packets per client and second; 0: no limit
	PublishSize    int64         // their bytes per client and second; 0: no limit
	// The same for all clients of a user together.
	UserPublishRate int
	UserPublishSize int64
	KeepAlive       time.Duration // whole seconds to 65535s: the maximum that a client may request; 0: any
	Inflight        int           // deliveries in flight to one client, 1 to 65535
	DiskFree        int64         // bytes, 1MiB to 1TiB: with less free the bus refuses QoS 1

	TopicLevels      int   // of a topic name or filter, 1 to 32768
	Subscriptions    int   // of one session, 1 to 1,000,000
	SubscriptionSize int64 // bytes of memory of all sessions' subscriptions, 1MiB to 1TiB
	Sessions         int   // connected or not, 1 to 10,000,000
	WillSize         int64 // bytes of memory of all last wills, 1MiB to 1TiB
	Retained         int   // retained values, 1 to 100,000,000
	RetainedSize     int64 // bytes of their topics and payloads, 1MiB to 1TiB
}

// Group is rules that users share. Its filters may have variables: see topic.Template.
type Group struct {
	Name      string
	Publish   []string
	Subscribe []string
	Deny      []string
	Admin     bool // its users may administer the bus
}

// User is one account. Its rights are the union of its own rules and those of its groups; a Deny of
// any of them takes precedence over Publish and Subscribe. Filters may have variables.
type User struct {
	Name      string
	Password  string // PHC string "$argon2id$…"; "": only Passwords
	Passwords []Password
	Publish   []string
	Subscribe []string
	Deny      []string
	Groups    []string // names of groups, none of them twice
	Admin     bool     // the user may administer the bus
	// Certificates are those of clients that need no password: CN=name, SAN=dns:name (or ip, email,
	// uri) or sha256:fingerprint, each of one user only.
	Certificates []string
	ClientID     string // the client identifiers that the user may present, with * and ${user}; "": any
	Bridge       bool   // the user is another broker, whose statements about an event's route are trusted
}

// MaxPasswords is the maximum number of a user's passwords, Password among them.
const MaxPasswords = 8

// Password is one of several passwords of a user, so that one that leaked can be removed alone.
type Password struct {
	Name    string    // unique for the user
	Hash    string    // PHC string "$argon2id$…"
	Expires time.Time // zero: never
}

// Anonymous is the rights of clients without a user name.
type Anonymous struct {
	// Explicit is true if the user wrote the key. Only then do the rules also apply to clients that
	// do not connect over loopback or a unix socket.
	Explicit bool
	// Off is true for "anonymous: off": every client must log in, on loopback too.
	Off       bool
	Publish   []string
	Subscribe []string
	Deny      []string
}

// Profile adapts the use of memory and flash to the machine.
type Profile string

// The profiles.
const (
	ProfileDefault Profile = "default"
	ProfilePi      Profile = "pi" // half a gigabyte of memory, an SD card
)

// Sizes are a profile's settings that have no key of their own, in bytes.
type Sizes struct {
	ReadBuffer  int   // per connection
	WriteBuffer int   // per connection
	Segment     int64 // of the journal, preallocated
}

// Sizes returns the profile's buffers; the Pi's save 18 KiB for each idle client.
func (p Profile) Sizes() Sizes {
	if p == ProfilePi {
		return Sizes{ReadBuffer: 512, WriteBuffer: 1 << 10, Segment: 8 << 20}
	}
	return Sizes{ReadBuffer: 4 << 10, WriteBuffer: 16 << 10, Segment: 64 << 20}
}

// Default is the configuration of a bus without a config file: it serves this machine only, and
// every acknowledged event is on disk.
func Default() *Config {
	return &Config{
		Listen: Listen{
			MQTT: []Listener{{Network: "tcp", Address: "127.0.0.1:1883"}},
			HTTP: "127.0.0.1:8080",
		},
		Retention: Retention{Age: 24 * time.Hour, Size: 1 << 30},
		Limits: Limits{
			SessionExpiry: 7 * 24 * time.Hour,
			PacketSize:    1 << 20,
			Inflight:      100,
			DiskFree:      64 << 20,

			TopicLevels:      128,
			Subscriptions:    1000,
			SubscriptionSize: 64 << 20,
			Sessions:         100_000,
			WillSize:         64 << 20,
			Retained:         250_000,
			RetainedSize:     256 << 20,
		},
		AuthHook:  AuthHook{Timeout: 2 * time.Second, Cache: time.Minute},
		Anonymous: Anonymous{Publish: []string{"#"}, Subscribe: []string{"#"}},
		Profile:   ProfileDefault,
	}
}

// DefaultFor is Default with the profile's values: the Pi has fewer deliveries in flight, and lower
// limits of what is in memory. The profiles do not differ in how long events are kept.
func DefaultFor(p Profile) *Config {
	c := Default()
	if p == ProfilePi {
		c.Profile = ProfilePi
		c.Limits.Inflight, c.Limits.PerAddress = 32, 500
		c.Limits.SubscriptionSize, c.Limits.Sessions, c.Limits.WillSize = 16<<20, 10_000, 16<<20
		c.Limits.Retained, c.Limits.RetainedSize = 50_000, 64<<20
	}
	return c
}
