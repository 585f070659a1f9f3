package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/config/yamlnode"
)

const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"

func parse(t *testing.T, text string, env ...string) *Config {
	t.Helper()
	c, err := Parse("", []byte(text), env)
	if err != nil {
		t.Fatal(render(err))
	}
	return c
}

func render(err error) string {
	var errs yamlnode.Errors
	if errors.As(err, &errs) {
		return errs.Render()
	}
	return err.Error()
}

func TestNothingIsTheDefault(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "{}\n", "\ufeff", "listen:\nlimits:\nusers:\n", "null"} {
		if c := parse(t, text); !reflect.DeepEqual(c, Default()) {
			t.Errorf("%q gives %+v", text, c)
		}
	}
	if c, err := Load("", nil); err != nil || !reflect.DeepEqual(c, Default()) {
		t.Errorf("no file: %+v, %v", c, err)
	}
}

func TestEveryKey(t *testing.T) {
	got := parse(t, `
data_dir: /var/lib/postbus
plugins_dir: /etc/postbus/plugins.d
plugin_env: [LANG]
location: [-33.87, 151]
listen:
  mqtt: ["tcp://127.0.0.1:1883", "tls://[::]:8883", "unix:///run/x.sock"]
  http: "off"
  tls: {cert: /c.pem, key: /k.pem, client_ca: /ca.pem, client_crl: /crl.pem}
  origins: ["https://dash.example.org:8443"]
durability: 1s
retention: {age: 7d, size: 500MB}
limits:
  session_expiry: 1d12h
  session_backlog: 1000000
  packet_size: 256MiB
  connections: 100
  connections_per_address: 10
  publish_rate: 50
  publish_size: 1MiB
  user_publish_rate: 500
  user_publish_size: 10MiB
  keep_alive: 5m
  inflight: 65535
  disk_free: 1.5GiB
  topic_levels: 9
  subscriptions: 10
  subscription_size: 11MiB
  sessions: 12
  will_size: 13MiB
  retained: 13
  retained_size: 14MiB
groups:
  family: {publish: ["home/${user}/#"], subscribe: ["home/#"], deny: ["home/${client}"]}
  ops: {admin: true}
users:
  - {name: pi, password: "`+hash+`", publish: ["home/#"], subscribe: ["home/#", "$bus/#"], deny: ["home/safe/#"], groups: [ops, family], admin: true, certificates: ["CN=pi", "SAN=dns:Pi.Example", "SAN=ip:::1", "SAN=email:a@b.example", "SAN=uri:urn:x", "sha256:`+strings.Repeat("AB:", 31)+`AB"], client_id: "${user}-*", bridge: true}
  - name: read only
    passwords:
      - {name: laptop, hash: "`+hash+`", expires: 2027-01-01T01:00:00+01:00}
      - {name: phone, hash: "`+hash+`x", expires: 2027-01-02}
      - {name: tv, hash: "`+hash+`y"}
    subscribe: ["#"]
jwt:
  - {issuer: "https://id.example", audience: postbus, keys: "https://id.example/jwks.json"}
  - {issuer: "https://id.example", audience: app, keys: /jwks.json, user: "id:${claims.realm.name}", groups: [family], publish: ["user/${claims.sub}/#"], subscribe: ["a"], deny: ["b"], client_id: "${user}-*"}
auth_hook: {url: "http://10.0.0.1/login", timeout: 1s, cache: 0s, secret: x, insecure: true}
anonymous: {publish: ["in/+"]}
fleet:
  - {name: home, bus: attic, hub: ["tls://hub.example.org", "tls://[::1]:4333/"], creds: "secret:fleet", ca: /hub.pem, share: [{filter: "home/attic/#"}, {filter: "cmd/#", lane: 2}],
     take: [{filter: "home/#"}, {filter: "cmd/attic/#", from: desk}], since: 1d, keep: 7d, keep_size: 2GiB, rate: 64KiB}
profile: pi
`)
	for i := range got.JWT {
		if err := got.JWT[i].KeysError(errors.New("bad")); !strings.Contains(err.Error(), ".keys: bad") || got.JWT[i].keysAt.Line == 0 {
			t.Error(err)
		}
		got.JWT[i].keysAt = nil
	}
	got.Fleet = withoutFleetPlaces(got.Fleet)
	want := &Config{
		DataDir: "/var/lib/postbus", PluginsDir: "/etc/postbus/plugins.d", PluginEnv: []string{"LANG"}, Location: &Location{-33.87, 151},
		Listen: Listen{
			MQTT: []Listener{{Network: "tcp", Address: "127.0.0.1:1883"}, {Network: "tcp", Address: "[::]:8883", TLS: true}, {Network: "unix", Address: "/run/x.sock"}},
			TLS:  TLS{Cert: "/c.pem", Key: "/k.pem", ClientCA: "/ca.pem", ClientCRL: "/crl.pem"}, Origins: []string{"https://dash.example.org:8443"},
		},
		Durability: Durability{Interval: time.Second},
		Retention:  Retention{Age: 7 * 24 * time.Hour, Size: 500e6},
		Limits: Limits{SessionExpiry: 36 * time.Hour, SessionBacklog: 1e6, PacketSize: 256 << 20, Connections: 100, PerAddress: 10, PublishRate: 50, PublishSize: 1 << 20, UserPublishRate: 500, UserPublishSize: 10 << 20,
			KeepAlive: 5 * time.Minute, Inflight: 65535, DiskFree: 3 << 29,
			TopicLevels: 9, Subscriptions: 10, SubscriptionSize: 11 << 20, Sessions: 12, WillSize: 13 << 20, Retained: 13, RetainedSize: 14 << 20},
		Groups: []Group{{Name: "family", Publish: []string{"home/${user}/#"}, Subscribe: []string{"home/#"}, Deny: []string{"home/${client}"}}, {Name: "ops", Admin: true}},
		Users: []User{{Name: "pi", Password: hash, Publish: []string{"home/#"}, Subscribe: []string{"home/#", "$bus/#"}, Deny: []string{"home/safe/#"}, Groups: []string{"ops", "family"}, Admin: true, Certificates: []string{"CN=pi", "SAN=dns:pi.example", "SAN=ip:::1", "SAN=email:a@b.example", "SAN=uri:urn:x", "sha256:" + strings.Repeat("ab", 32)}, ClientID: "${user}-*", Bridge: true},
			{Name: "read only", Passwords: []Password{{"laptop", hash, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}, {"phone", hash + "x", time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC)}, {Name: "tv", Hash: hash + "y"}}, Subscribe: []string{"#"}}},
		JWT: []JWT{{Issuer: "https://id.example", Audience: "postbus", Keys: "https://id.example/jwks.json", User: "${claims.sub}"},
			{Issuer: "https://id.example", Audience: "app", Keys: "/jwks.json", User: "id:${claims.realm.name}", Groups: []string{"family"}, Publish: []string{"user/${claims.sub}/#"}, Subscribe: []string{"a"}, Deny: []string{"b"}, ClientID: "${user}-*"}},
		AuthHook:  AuthHook{URL: "http://10.0.0.1/login", Timeout: time.Second, Secret: "x", Insecure: true},
		Anonymous: Anonymous{Explicit: true, Publish: []string{"in/+"}},
		Fleet: []FleetEntry{{Name: "home", Bus: "attic", Hub: []string{"tls://hub.example.org:4222", "tls://[::1]:4333"}, Creds: Secret{Name: "fleet"}, CA: "/hub.pem",
			Share: []Share{{Filter: "home/attic/#"}, {Filter: "cmd/#", Lane: 2}}, Take: []Take{{Filter: "home/#"}, {Filter: "cmd/attic/#", From: "desk"}},
			Since: Since{Age: 24 * time.Hour}, Keep: 7 * 24 * time.Hour, KeepSize: 2 << 30, Rate: 64 << 10}},
		Profile: ProfilePi,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// Every key of the table differs from the default here, so that a decoder that stores nothing
	// is found.
	live, restart := Diff(Default(), got)
	if len(live)+len(restart) != len(keys) {
		t.Errorf("%d keys, but only %v and %v differ", len(keys), live, restart)
	}
}

// TestExample loads the shipped example, and again with its commented keys enabled.
func TestExample(t *testing.T) {
	c, err := Load("examples/postbus.yaml", nil)
	if err != nil {
		t.Fatal(render(err))
	}
	if !reflect.DeepEqual(c, Default()) {
		t.Errorf("the example says %+v, the defaults are %+v", c, Default())
	}
	data, err := os.ReadFile("examples/postbus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		name := k.path[strings.LastIndexByte(k.path, '.')+1:]
		if !strings.Contains(string(data), name+":") {
			t.Errorf("the example doesn't show %s", k.path)
		}
	}
	live := regexp.MustCompile(`(?m)^( *)# ((data_dir|plugins_dir|tls|anonymous): )`).ReplaceAll(data, []byte("$1$2"))
	if c, err = Parse("x.yaml", live, nil); err != nil {
		t.Fatal(render(err))
	}
	if c.DataDir != "/var/lib/postbus" || c.Listen.TLS.Cert != "server.pem" || !c.Anonymous.Explicit || !reflect.DeepEqual(c.Anonymous.Publish, Default().Anonymous.Publish) {
		t.Errorf("commented keys: %+v", c)
	}
}

func TestProfile(t *testing.T) {
	if c := parse(t, "profile: pi"); !reflect.DeepEqual(c, DefaultFor(ProfilePi)) || c.Limits.Inflight != 32 {
		t.Errorf("%+v", c)
	}
	if c := parse(t, "profile: pi\nlimits: {inflight: 7}"); c.Limits.Inflight != 7 {
		t.Errorf("inflight %d, want what is written", c.Limits.Inflight)
	}
	if c := parse(t, "profile: pi", "POSTBUS_PROFILE=default"); !reflect.DeepEqual(c, Default()) {
		t.Errorf("%+v", c)
	}
	if ProfilePi.Sizes().ReadBuffer >= ProfileDefault.Sizes().ReadBuffer || ProfilePi.Sizes().Segment >= ProfileDefault.Sizes().Segment {
		t.Error("the Pi's sizes are not small")
	}
}

func TestEnvironment(t *testing.T) {
	c := parse(t, `
listen: {http: "127.0.0.1:9", origins: ["http://a"]}
anonymous: {publish: [a], subscribe: [b]}
`, "POSTBUS_LISTEN_HTTP=off", "POSTBUS_LISTEN_MQTT=tcp://127.0.0.1:1, tcp://:2", "POSTBUS_LIMITS_PACKET_SIZE=2MiB",
		"POSTBUS_RETENTION_AGE=7d", "POSTBUS_LISTEN_ORIGINS=", "POSTBUS_ANONYMOUS_PUBLISH=x/#,y", "POSTBUS_LIMITS_INFLIGHT=5",
		"POSTBUS_DATA_DIR=rel/data", "POSTBUS_DURABILITY=2s", "PATH=/bin", "POSTBUS_LIMITS_INFLIGHT=6",
		"POSTBUS_PASSWORD=x", "POSTBUS_URL=x", "POSTBUS_USER=x", "POSTBUS_CONFIG=x",
		"POSTBUS_PORT=tcp://10.0.0.1:1883", "POSTBUS_PORT_1883_TCP_ADDR=10.0.0.1", "POSTBUS_SERVICE_HOST=10.0.0.1")
	want := Default()
	want.Listen.HTTP = ""
	want.Listen.MQTT = []Listener{{Network: "tcp", Address: "127.0.0.1:1"}, {Network: "tcp", Address: ":2"}}
	want.Limits.PacketSize, want.Limits.Inflight = 2<<20, 6
	want.Retention.Age = 7 * 24 * time.Hour
	want.Anonymous = Anonymous{Explicit: true, Publish: []string{"x/#", "y"}, Subscribe: []string{"b"}}
	want.DataDir, want.Durability.Interval = "rel/data", 2*time.Second
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if c := parse(t, "anonymous: {publish: [a]}\nusers: [{name: a, password: '"+hash+"'}]", "POSTBUS_ANONYMOUS=off"); !c.Anonymous.Off {
		t.Errorf("%+v", c.Anonymous)
	}
	if c := parse(t, "", "POSTBUS_ANONYMOUS_SUBSCRIBE=a"); !c.Anonymous.Explicit || c.Anonymous.Publish != nil {
		t.Errorf("%+v", c.Anonymous)
	}
}

// TestEveryKeyHasAVariable sets each key to a value of its own through the environment.
func TestEveryKeyHasAVariable(t *testing.T) {
	values := map[string]string{"listen.mqtt": "tcp://127.0.0.1:9", "listen.http": "off", "listen.origins": "http://x", "durability": "1s", "profile": "pi",
		"limits.disk_free": "3MiB", "limits.packet_size": "3MiB", "limits.subscription_size": "3MiB", "limits.retained_size": "3MiB", "limits.will_size": "3MiB", "retention.size": "3MiB", "anonymous": "off", "plugin_env": "LANG", "location": "-33.87, 151",
		"auth_hook.timeout": "9s", "auth_hook.cache": "9s", "auth_hook.insecure": "true"}
	for _, k := range keys {
		if k.noEnv || k.path == "anonymous" {
			continue
		}
		v := values[k.path]
		if v == "" {
			v = "9"
			if strings.Contains(k.path, "expiry") || strings.Contains(k.path, "age") || strings.Contains(k.path, "alive") {
				v = "9s"
			}
		}
		env := []string{envName(k.path) + "=" + v}
		if strings.HasPrefix(k.path, "listen.tls") {
			env = []string{"POSTBUS_LISTEN_TLS_CERT=9", "POSTBUS_LISTEN_TLS_KEY=9", "POSTBUS_LISTEN_TLS_CLIENT_CA=9", "POSTBUS_LISTEN_TLS_CLIENT_CRL=9"}
		}
		if strings.HasPrefix(k.path, "auth_hook") {
			env = append(env, "POSTBUS_AUTH_HOOK_URL=https://x/")
		}
		c, err := Parse("", nil, env)
		if err != nil {
			t.Errorf("%s: %v", k.path, render(err))
			continue
		}
		if reflect.DeepEqual(k.value(c), k.value(Default())) {
			t.Errorf("%s changed nothing", env[0])
		}
	}
}

func TestFlagsWin(t *testing.T) {
	c, err := Load("", []string{"POSTBUS_LISTEN_HTTP=127.0.0.1:1"}, Override{"--http", "listen.http", []string{"127.0.0.1:2"}},
		Override{"--mqtt", "listen.mqtt", []string{"tcp://127.0.0.1:3", "unix:///a,b"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen.HTTP != "127.0.0.1:2" || len(c.Listen.MQTT) != 2 || c.Listen.MQTT[1].Address != "/a,b" {
		t.Errorf("%+v", c.Listen)
	}
	_, err = Load("", nil, Override{"--http", "listen.http", []string{"x"}})
	if want := `command line: --http: "x" is not HOST:PORT`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPathsCountFromTheFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "postbus.yaml")
	if err := os.WriteFile(file, []byte("data_dir: data\nplugins_dir: ~/p\nlisten: {tls: {cert: c.pem, key: /k.pem}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, []string{"HOME=/home/pi"})
	if err != nil {
		t.Fatal(err)
	}
	if c.DataDir != filepath.Join(dir, "data") || c.PluginsDir != filepath.FromSlash("/home/pi/p") || c.Listen.TLS.Cert != filepath.Join(dir, "c.pem") || c.Listen.TLS.Key != "/k.pem" {
		t.Errorf("%+v", c)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none.yaml"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := Load(dir, nil); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("folder: %v", err)
	}
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, []byte(strings.Repeat("#\n", yamlnode.MaxSize/2+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big, nil); err == nil || !strings.Contains(err.Error(), "1MiB") {
		t.Errorf("big: %v", err)
	}
}

func TestExposure(t *testing.T) {
	user := "users: [{name: a, password: '" + hash + "'}]\n"
	for text, ok := range map[string]bool{
		`listen: {mqtt: ["tcp://0.0.0.0:1883"]}`:                               false,
		`listen: {mqtt: ["tcp://:1883"]}`:                                      false,
		`listen: {mqtt: ["tcp://[::]:1883"]}`:                                  false,
		`listen: {mqtt: ["tcp://192.168.1.2:1883"]}`:                           false,
		`listen: {mqtt: ["tcp://pi.local:1883"]}`:                              false,
		`listen: {http: ":8080"}`:                                              false,
		`listen: {mqtt: ["tcp://localhost:1883"]}`:                             true,
		`listen: {mqtt: ["tcp://127.9.9.9:1883"]}`:                             true,
		`listen: {mqtt: ["tcp://[::1]:1883"]}`:                                 true,
		`listen: {mqtt: ["tcp://[::ffff:127.0.0.1]:1883"]}`:                    true,
		`listen: {mqtt: ["unix:///run/x"]}`:                                    true,
		user + `listen: {mqtt: ["tcp://:1883"]}`:                               true,
		`{listen: {mqtt: ["tcp://:1883"]}, anonymous: {subscribe: ["pub/#"]}}`: true,
	} {
		if _, err := Parse("", []byte(text), nil); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestDiff(t *testing.T) {
	a, b := Default(), Default()
	if live, restart := Diff(a, b); live != nil || restart != nil {
		t.Errorf("no difference: %v, %v", live, restart)
	}
	b.DataDir, b.Listen.HTTP, b.Durability.Interval, b.Profile = "/x", "", time.Second, ProfilePi
	b.Users, b.Anonymous.Off, b.Retention.Age, b.Limits.Inflight, b.Listen.Origins = []User{{Name: "a"}}, true, 0, 3, []string{"http://x"}
	live, restart := Diff(a, b)
	if want := []string{"listen.origins", "retention.age", "limits.inflight", "users", "anonymous"}; !reflect.DeepEqual(live, want) {
		t.Errorf("reloadable %v, want %v", live, want)
	}
	if want := []string{"data_dir", "listen.http", "durability", "profile"}; !reflect.DeepEqual(restart, want) {
		t.Errorf("needs restart %v, want %v", restart, want)
	}
}

func TestDefaultPaths(t *testing.T) {
	for _, c := range []struct {
		name, goos, home string
		env              map[string]string
		data, config     string
	}{
		{"desktop", "linux", "/home/a", nil, "/home/a/.local/state/postbus", "/home/a/.config/postbus/postbus.yaml"},
		{"XDG", "linux", "/home/a", map[string]string{"XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/c"}, "/s/postbus", "/c/postbus/postbus.yaml"},
		{"relative XDG is ignored", "linux", "/home/a", map[string]string{"XDG_STATE_HOME": "s", "XDG_CONFIG_HOME": "c"}, "/home/a/.local/state/postbus", "/home/a/.config/postbus/postbus.yaml"},
		{"system service", "linux", "/", map[string]string{"STATE_DIRECTORY": "/var/lib/postbus:/var/lib/more"}, "/var/lib/postbus", "/etc/postbus/postbus.yaml"},
		{"system service, both", "linux", "", map[string]string{"STATE_DIRECTORY": "/var/lib/p", "CONFIGURATION_DIRECTORY": "/etc/p"}, "/var/lib/p", "/etc/p/postbus.yaml"},
		{"system service without folders", "linux", "", map[string]string{"INVOCATION_ID": "x"}, "/var/lib/postbus", "/etc/postbus/postbus.yaml"},
		{"user service", "linux", "/home/a", map[string]string{"STATE_DIRECTORY": "/home/a/.local/state/postbus", "INVOCATION_ID": "x"}, "/home/a/.local/state/postbus", "/home/a/.config/postbus/postbus.yaml"},
		{"desktop session has an invocation id", "linux", "/home/a", map[string]string{"INVOCATION_ID": "x"}, "/home/a/.local/state/postbus", "/home/a/.config/postbus/postbus.yaml"},
		{"macOS", "darwin", "/Users/a", nil, "/Users/a/Library/Application Support/postbus/data", "/Users/a/Library/Application Support/postbus/postbus.yaml"},
		{"FreeBSD", "freebsd", "/home/a", nil, "/home/a/.local/state/postbus", "/home/a/.config/postbus/postbus.yaml"},
		{"Windows", "windows", `C:\Users\a`, map[string]string{"LocalAppData": `C:\Users\a\AppData\Local`}, `C:\Users\a\AppData\Local\postbus`, `C:\Users\a\AppData\Roaming\postbus\postbus.yaml`},
	} {
		p, err := DefaultPaths(func(k string) string { return c.env[k] }, c.goos, c.home)
		if err != nil || p.DataDir != c.data || p.ConfigFile != c.config {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
		if want := strings.TrimSuffix(c.config, "postbus.yaml") + "plugins.d"; p.PluginsDir != want {
			t.Errorf("%s: plugins in %s, want %s", c.name, p.PluginsDir, want)
		}
	}
	for _, goos := range []string{"linux", "darwin", "windows"} {
		if _, err := DefaultPaths(func(string) string { return "" }, goos, ""); !errors.Is(err, ErrNoHome) {
			t.Errorf("%s without a home: %v", goos, err)
		}
	}
}

func TestURLsOfServices(t *testing.T) {
	for location, want := range map[string][2]bool{ // secure, insecure
		"https://id.example/jwks.json?a=b": {true, true}, "https://id.example:8443/": {true, true}, "http://127.0.0.1:9000/login": {true, true}, "http://[::1]/": {true, true}, "http://localhost/": {true, true},
		"http://id.example/": {false, true}, "http://127.0.0.1.example/": {false, true}, "ftp://x/": {false, false}, "x": {false, false}, "https://": {false, false}, "https:///x": {false, false},
		"https://a:b@x/": {false, false}, "http://a@127.0.0.1/": {false, false}, "https:x": {false, false}, "https://a b/": {false, false},
	} {
		if got := [2]bool{checkServiceURL(location, false) == nil, checkServiceURL(location, true) == nil}; got != want {
			t.Errorf("%s: %v", location, got)
		}
	}
}

func TestUserNamesOfTokens(t *testing.T) {
	claims := map[string]string{"sub": "42", "realm.name": "x", "empty": "", "spaced": " x", "control": "a\x1b[2J", "long": strings.Repeat("x", 200)}
	for template, want := range map[string]string{"${claims.sub}": "42", "id:${claims.sub}@${claims.realm.name}": "id:42@x", "app": "app",
		"${claims.none}": "", "${claims.empty}": "", "${claims.spaced}": "", "${claims.control}": "", "${claims.long}": ""} {
		j := JWT{User: template}
		if got, err := j.UserName(claims); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%s: %q, %v", template, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.bad.yaml")
	for _, name := range append(files, "examples/postbus.yaml") {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "")
	}
	f.Add([]byte(""), "tcp://127.0.0.1:1,unix:///x")
	f.Fuzz(func(t *testing.T, data []byte, mqtt string) {
		start := time.Now()
		env := []string{"HOME=/home/a"}
		if mqtt != "" {
			env = append(env, "POSTBUS_LISTEN_MQTT="+mqtt)
		}
		c, err := Parse("f.yaml", data, env)
		if d := time.Since(start); d > time.Minute { // it hangs
			t.Fatalf("%d bytes took %v", len(data), d)
		}
		if err == nil {
			if len(c.Listen.MQTT) == 0 || c.Limits.Inflight < 1 {
				t.Fatalf("invalid config accepted: %+v", c)
			}
			for _, e := range c.Fleet {
				if checkFleetName("fleet", e.Name) != nil || len(e.Hub) == 0 || len(e.Share)+len(e.Take) == 0 || e.Keep <= 0 || e.KeepSize <= 0 {
					t.Fatalf("invalid fleet accepted: %+v", e)
				}
				for _, hub := range e.Hub {
					if again, err := parseHub(hub); err != nil || again != hub {
						t.Fatalf("hub %q becomes %q, %v", hub, again, err)
					}
				}
			}
			return
		}
		var errs yamlnode.Errors
		if !errors.As(err, &errs) || len(errs) == 0 {
			t.Fatalf("not a list of errors: %v", err)
		}
		for _, e := range errs {
			if e.Reason == "" || e.Line < 0 || e.Line > 0 && e.Col < 1 {
				t.Fatalf("no place or reason: %+v", e)
			}
		}
		errs.Render()
	})
}
