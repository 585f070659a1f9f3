// This file is the one table of keys. Loading, environment names and Diff use it, so that none of
// them can miss a new key.

package config

import (
	"reflect"
	"strings"
	"time"

	"github.com/postbus/postbus/config/yamlnode"
)

// key is one setting: a dotted path, its decoder, and the value that Diff compares.
type key struct {
	path   string
	list   bool // a list of strings; comma-separated in the environment
	noEnv  bool // neither scalar nor list of strings
	live   bool // can change while the bus runs
	decode func(*loader, yamlnode.Node)
	value  func(*Config) any
}

const (
	maxAge  = 3650 * 24 * time.Hour
	maxSize = int64(1) << 50
)

// keys are in the order of the documentation.
var keys = []key{
	{path: "data_dir", decode: dir(func(c *Config) *string { return &c.DataDir }), value: func(c *Config) any { return c.DataDir }},
	{path: "plugins_dir", decode: dir(func(c *Config) *string { return &c.PluginsDir }), value: func(c *Config) any { return c.PluginsDir }},
	{path: "plugin_env", list: true, decode: (*loader).pluginEnv, value: func(c *Config) any { return c.PluginEnv }},
	{path: "location", list: true, decode: (*loader).location, value: func(c *Config) any { return c.Location }},
	{path: "listen.mqtt", list: true, decode: (*loader).listeners, value: func(c *Config) any { return c.Listen.MQTT }},
	{path: "listen.http", decode: (*loader).http, value: func(c *Config) any { return c.Listen.HTTPURL() }},
	{path: "listen.tls.cert", decode: dir(func(c *Config) *string { return &c.Listen.TLS.Cert }), value: func(c *Config) any { return c.Listen.TLS.Cert }},
	{path: "listen.tls.key", decode: dir(func(c *Config) *string { return &c.Listen.TLS.Key }), value: func(c *Config) any { return c.Listen.TLS.Key }},
	{path: "listen.tls.client_ca", decode: dir(func(c *Config) *string { return &c.Listen.TLS.ClientCA }), value: func(c *Config) any { return c.Listen.TLS.ClientCA }},
	{path: "listen.tls.client_crl", decode: dir(func(c *Config) *string { return &c.Listen.TLS.ClientCRL }), value: func(c *Config) any { return c.Listen.TLS.ClientCRL }},
	{path: "listen.origins", list: true, live: true, decode: (*loader).origins, value: func(c *Config) any { return c.Listen.Origins }},
	{path: "durability", decode: (*loader).durability, value: func(c *Config) any { return c.Durability }},
	{path: "retention.age", live: true, decode: duration(0, maxAge, func(c *Config) *time.Duration { return &c.Retention.Age }), value: func(c *Config) any { return c.Retention.Age }},
	{path: "retention.size", live: true, decode: (*loader).retentionSize, value: func(c *Config) any { return c.Retention.Size }},
	{path: "limits.session_expiry", live: true, decode: duration(time.Second, maxAge, func(c *Config) *time.Duration { return &c.Limits.SessionExpiry }), value: func(c *Config) any { return c.Limits.SessionExpiry }},
	{path: "limits.session_backlog", live: true, decode: number(0, 1e12, func(c *Config) *int64 { return &c.Limits.SessionBacklog }), value: func(c *Config) any { return c.Limits.SessionBacklog }},
	{path: "limits.packet_size", live: true, decode: size(1<<10, 256<<20, func(c *Config) *int64 { return &c.Limits.PacketSize }), value: func(c *Config) any { return c.Limits.PacketSize }},
	{path: "limits.connections", live: true, decode: number(0, 10_000_000, func(c *Config) *int { return &c.Limits.Connections }), value: func(c *Config) any { return c.Limits.Connections }},
	{path: "limits.connections_per_address", live: true, decode: number(0, 10_000_000, func(c *Config) *int { return &c.Limits.PerAddress }), value: func(c *Config) any { return c.Limits.PerAddress }},
	{path: "limits.publish_rate", live: true, decode: number(0, 10_000_000, func(c *Config) *int { return &c.Limits.PublishRate }), value: func(c *Config) any { return c.Limits.PublishRate }},
	{path: "limits.publish_size", live: true, decode: size(0, 1<<40, func(c *Config) *int64 { return &c.Limits.PublishSize }), value: func(c *Config) any { return c.Limits.PublishSize }},
	{path: "limits.user_publish_rate", live: true, decode: number(0, 10_000_000, func(c *Config) *int { return &c.Limits.UserPublishRate }), value: func(c *Config) any { return c.Limits.UserPublishRate }},
	{path: "limits.user_publish_size", live: true, decode: size(0, 1<<40, func(c *Config) *int64 { return &c.Limits.UserPublishSize }), value: func(c *Config) any { return c.Limits.UserPublishSize }},
	{path: "limits.keep_alive", live: true, decode: (*loader).keepAlive, value: func(c *Config) any { return c.Limits.KeepAlive }},
	{path: "limits.inflight", live: true, decode: number(1, 65535, func(c *Config) *int { return &c.Limits.Inflight }), value: func(c *Config) any { return c.Limits.Inflight }},
	{path: "limits.disk_free", live: true, decode: size(1<<20, 1<<40, func(c *Config) *int64 { return &c.Limits.DiskFree }), value: func(c *Config) any { return c.Limits.DiskFree }},
	{path: "limits.topic_levels", live: true, decode: number(1, 32768, func(c *Config) *int { return &c.Limits.TopicLevels }), value: func(c *Config) any { return c.Limits.TopicLevels }},
	{path: "limits.subscriptions", live: true, decode: number(1, 1_000_000, func(c *Config) *int { return &c.Limits.Subscriptions }), value: func(c *Config) any { return c.Limits.Subscriptions }},
	{path: "limits.subscription_size", live: true, decode: size(1<<20, 1<<40, func(c *Config) *int64 { return &c.Limits.SubscriptionSize }), value: func(c *Config) any { return c.Limits.SubscriptionSize }},
	{path: "limits.sessions", live: true, decode: number(1, 10_000_000, func(c *Config) *int { return &c.Limits.Sessions }), value: func(c *Config) any { return c.Limits.Sessions }},
	{path: "limits.will_size", live: true, decode: size(1<<20, 1<<40, func(c *Config) *int64 { return &c.Limits.WillSize }), value: func(c *Config) any { return c.Limits.WillSize }},
	{path: "limits.retained", live: true, decode: number(1, 100_000_000, func(c *Config) *int { return &c.Limits.Retained }), value: func(c *Config) any { return c.Limits.Retained }},
	{path: "limits.retained_size", live: true, decode: size(1<<20, 1<<40, func(c *Config) *int64 { return &c.Limits.RetainedSize }), value: func(c *Config) any { return c.Limits.RetainedSize }},
	{path: "groups", noEnv: true, live: true, decode: (*loader).groups, value: func(c *Config) any { return c.Groups }}, // before users, which name them
	{path: "users", noEnv: true, live: true, decode: (*loader).users, value: func(c *Config) any { return c.Users }},
	{path: "jwt", noEnv: true, live: true, decode: (*loader).jwts, value: func(c *Config) any { return withoutPlaces(c.JWT) }}, // after groups too
	{path: "auth_hook.url", live: true, decode: (*loader).hookURL, value: func(c *Config) any { return c.AuthHook.URL }},
	{path: "auth_hook.timeout", live: true, decode: duration(10*time.Millisecond, 30*time.Second, func(c *Config) *time.Duration { return &c.AuthHook.Timeout }), value: func(c *Config) any { return c.AuthHook.Timeout }},
	{path: "auth_hook.cache", live: true, decode: duration(0, time.Hour, func(c *Config) *time.Duration { return &c.AuthHook.Cache }), value: func(c *Config) any { return c.AuthHook.Cache }},
	{path: "auth_hook.secret", live: true, decode: (*loader).hookSecret, value: func(c *Config) any { return c.AuthHook.Secret }},
	{path: "auth_hook.insecure", live: true, decode: onOff(func(c *Config) *bool { return &c.AuthHook.Insecure }), value: func(c *Config) any { return c.AuthHook.Insecure }},
	{path: "anonymous", live: true, decode: (*loader).anonymous, value: func(c *Config) any { return c.Anonymous }},
	{path: "fleet", noEnv: true, live: true, decode: (*loader).fleet, value: func(c *Config) any { return withoutFleetPlaces(c.Fleet) }},
	{path: "profile", decode: (*loader).profile, value: func(c *Config) any { return c.Profile }},
}

// fleetBusPath is no key of a file: the environment sets the bus's name in all entries of fleet.
const fleetBusPath = "fleet.bus"

// rulePaths are the lists inside "anonymous". That is one key of the table because it is replaced
// as a whole; the environment can set each list.
var rulePaths = []string{"anonymous.publish", "anonymous.subscribe", "anonymous.deny"}

// envName is the variable that overrides a key: listen.http is POSTBUS_LISTEN_HTTP.
func envName(path string) string {
	return "POSTBUS_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// allPaths lists every dotted key that a file may hold outside of lists.
func allPaths() []string {
	var paths []string
	for _, k := range keys {
		paths = append(paths, k.path)
		if i := strings.LastIndexByte(k.path, '.'); i >= 0 && strings.Contains(k.path[:i], ".") {
			paths = append(paths, k.path[:i]) // listen.tls
		}
	}
	return append(paths, rulePaths...)
}

// Diff lists the keys whose values differ, by dotted path in the order of the documentation: those
// that apply while the bus runs, and those that need a restart.
func Diff(old, new *Config) (reloadable, needsRestart []string) {
	for _, k := range keys {
		if reflect.DeepEqual(k.value(old), k.value(new)) {
			continue
		}
		if k.live {
			reloadable = append(reloadable, k.path)
		} else {
			needsRestart = append(needsRestart, k.path)
		}
	}
	return reloadable, needsRestart
}

// The following functions make decoders for keys without special rules.

func duration(min, max time.Duration, field func(*Config) *time.Duration) func(*loader, yamlnode.Node) {
	return func(l *loader, n yamlnode.Node) {
		if v, ok := n.Duration(min, max); ok {
			*field(l.c) = v
		}
	}
}

func size(min, max int64, field func(*Config) *int64) func(*loader, yamlnode.Node) {
	return func(l *loader, n yamlnode.Node) {
		if v, ok := n.Size(min, max); ok {
			*field(l.c) = v
		}
	}
}

func number[T int | int64](min, max int64, field func(*Config) *T) func(*loader, yamlnode.Node) {
	return func(l *loader, n yamlnode.Node) {
		if v, ok := n.Int(min, max); ok {
			*field(l.c) = T(v)
		}
	}
}

func onOff(field func(*Config) *bool) func(*loader, yamlnode.Node) {
	return func(l *loader, n yamlnode.Node) {
		if v, ok := n.Bool(); ok {
			*field(l.c) = v
		}
	}
}

func dir(field func(*Config) *string) func(*loader, yamlnode.Node) {
	return func(l *loader, n yamlnode.Node) {
		if v, ok := l.file(n); ok {
			*field(l.c) = v
		}
	}
}
