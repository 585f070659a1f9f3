package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

const fleetLine = `fleet: [{name: home, hub: ["tls://a"], creds: "secret:x", take: [{filter: "home/#"}]}]`

func TestFleetDefaults(t *testing.T) {
	c := parse(t, fleetLine)
	want := FleetEntry{Name: "home", Hub: []string{"tls://a:4222"}, Creds: Secret{Name: "x"}, Take: []Take{{Filter: "home/#"}}, Keep: 24 * time.Hour, KeepSize: 1 << 30}
	if got := withoutFleetPlaces(c.Fleet); !reflect.DeepEqual(got, []FleetEntry{want}) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if c.Warnings() != nil {
		t.Error(c.Warnings().Render())
	}
	for text, want := range map[string]Since{"now": {}, "all": {All: true}, "90s": {Age: 90 * time.Second}} {
		if got := parse(t, strings.Replace(fleetLine, "name: home", "name: home, since: "+text, 1)).Fleet[0].Since; got != want {
			t.Errorf("since: %s is %+v", text, got)
		}
	}
}

// TestFleetExample enables the commented entry of the shipped example.
func TestFleetExample(t *testing.T) {
	data, err := os.ReadFile("examples/postbus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	entry := regexp.MustCompile(`(?m)^#   - name: home  (.*\n#    .*)+`).FindString(string(data))
	c, err := Parse("examples/postbus.yaml", []byte("fleet:\n"+regexp.MustCompile(`(?m)^#`).ReplaceAllString(entry, "")), nil)
	if err != nil {
		t.Fatal(render(err))
	}
	want := FleetEntry{Name: "home", Bus: "attic", Hub: []string{"tls://hub.example.org:4222"}, Creds: Secret{Name: "fleet"}, CA: "examples/hub.pem",
		Share: []Share{{Filter: "home/attic/#"}, {Filter: "cmd/#", Lane: 2}}, Take: []Take{{Filter: "home/#"}, {Filter: "cmd/attic/#", From: "desk"}}, Keep: 24 * time.Hour, KeepSize: 1 << 30}
	if got := withoutFleetPlaces(c.Fleet); !reflect.DeepEqual(got, []FleetEntry{want}) || c.Warnings() != nil {
		t.Errorf("got  %+v\nwant %+v, %v", got, want, c.Warnings())
	}
	for _, key := range fleetKeys {
		if !strings.Contains(entry, key) {
			t.Errorf("the example doesn't show fleet: %s", key)
		}
	}
}

func TestFleetSecrets(t *testing.T) {
	text := `fleet: [{name: a, hub: ["tls://a"], take: [{filter: a}], %s}]`
	for keys, want := range map[string][2]Secret{
		"creds: secret:fleet.creds": {{Name: "fleet.creds"}, {}},
		"nkey: secret:x":            {{}, {Name: "x"}},
		"nkey: fleet.nk":            {{}, {File: "conf/fleet.nk"}},
		"creds: /run/creds":         {{File: "/run/creds"}, {}},
		"creds: ~/c":                {{File: "/home/pi/c"}, {}},
	} {
		c, err := Parse("conf/postbus.yaml", []byte(fmt.Sprintf(text, keys)), []string{"HOME=/home/pi"})
		if err != nil {
			t.Errorf("%s: %s", keys, render(err))
			continue
		}
		if got := [2]Secret{c.Fleet[0].Creds, c.Fleet[0].NKey}; got != want || got[0].IsZero() == got[1].IsZero() {
			t.Errorf("%s: %+v", keys, got)
		}
	}
}

// TestFleetWarnings compares what is allowed, but probably not meant, with its position.
func TestFleetWarnings(t *testing.T) {
	entry := func(name, hub, more string) string {
		return fmt.Sprintf("  - {name: %s, hub: [%q], creds: \"secret:x\", %s}\n", name, hub, more)
	}
	many := func(n int) string { // as many filters as an entry can have
		var b strings.Builder
		for i := range maxFleetFilters {
			fmt.Fprintf(&b, "{filter: a%d}, ", n*maxFleetFilters+i)
		}
		return b.String()
	}
	for _, c := range []struct{ name, text, want string }{
		{"encrypted", entry("a", "wss://hub.example.org", "take: [{filter: a}]"), ""},
		{"this machine", "  - {name: a, hub: [\"nats://localhost\", \"nats://127.0.0.1:4222\", \"nats://[::1]:4222\"], take: [{filter: a}]}\n", ""},
		{"plain", entry("a", "nats://10.0.0.1", "take: [{filter: a}]"),
			"x.yaml:2:21: fleet[0].hub[0]: nats://10.0.0.1:4222 is not encrypted: others on the network can read and change events"},
		{"the second server is plain", "  - {name: a, hub: [\"ws://localhost\", \"ws://10.0.0.1\", \"ws://10.0.0.2\"], nkey: x, take: [{filter: a}]}\n",
			"x.yaml:2:39: fleet[0].hub[1]: ws://10.0.0.1:80 is not encrypted: others on the network can read and change events"},
		{"no login", "  - {name: a, hub: [\"tls://a\"], take: [{filter: a}]}\n",
			"x.yaml:2:21: fleet[0].hub[0]: neither creds nor nkey: whoever reaches the hub can publish events in the name of this bus"},
		{"two fleets", entry("a", "tls://a", `share: [{filter: "x"}, {filter: "home/#"}, {filter: "home2/#"}]`) + entry("b", "tls://a", `share: [{filter: "y"}, {filter: "+/attic"}, {filter: "home/desk"}]`),
			`x.yaml:3:84: fleet[1].share[1].filter: "+/attic" overlaps with "home/#" of the fleet "a" at 2:84: a bus that is in both fleets gets these events twice`},
		{"two fleets with other lanes", entry("a", "tls://a", `share: [{filter: "x"}]`) + entry("b", "tls://a", `share: [{filter: "x", lane: 1}]`),
			`x.yaml:3:69: fleet[1].share[0].filter: "x" overlaps with "x" of the fleet "a" at 2:69: a bus that is in both fleets gets these events twice`},
		{"two fleets with the same share", entry("a", "tls://a", `share: [{filter: "x"}]`) + entry("b", "tls://b", `share: [{filter: "x"}]`), ""},
		{"two fleets with nothing in common", entry("a", "tls://a", `share: [{filter: "x/+"}]`) + entry("b", "tls://b", `share: [{filter: "y/+"}, {filter: "x/a/b"}]`), ""},
		{"one takes what the other shares", entry("a", "tls://a", `share: [{filter: "x"}]`) + entry("b", "tls://b", `take: [{filter: "x"}]`), ""},
		{"two hubs of one fleet", entry("a", "tls://a", `share: [{filter: "x"}]`) + entry("a", "tls://b", `share: [{filter: "x"}], take: [{filter: "y"}]`), ""},
		{"too many to compare", entry("a", "tls://a", "share: ["+many(0)+"]") + entry("b", "tls://a", "share: ["+many(1)+"]") + entry("c", "tls://a", "share: ["+many(2)+"]") + entry("d", "tls://a", "share: ["+many(3)+"]") + entry("e", "tls://a", "share: [{filter: a0}]"),
			"x.yaml:6:59: fleet[4].share: more than 1024 filters in all: those of different fleets are not compared with each other"},
		{"in the order of the file", entry("a", "nats://a", `share: [{filter: "x"}]`) + entry("b", "nats://b", `share: [{filter: "+"}]`) + entry("c", "nats://c", `share: [{filter: "z"}]`),
			"x.yaml:2:21\nx.yaml:3:21\nx.yaml:3:70\nx.yaml:4:21\nx.yaml:4:70"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse("x.yaml", []byte("fleet:\n"+c.text), nil)
			if err != nil {
				t.Fatal(render(err))
			}
			var lines []string
			for _, w := range got.Warnings() {
				line := w.Error()
				if strings.Contains(c.want, "\n") {
					line, _, _ = strings.Cut(line, ": ")
				}
				lines = append(lines, line)
				if w.Hint == "" {
					t.Errorf("no hint: %s", line)
				}
			}
			if text := strings.Join(lines, "\n"); text != c.want {
				t.Errorf("got\n%s\nwant\n%s", text, c.want)
			}
		})
	}
}

func TestFleetFromTheEnvironment(t *testing.T) {
	text := "fleet:\n" +
		"  - {name: a, bus: desk, hub: [\"tls://a\"], creds: x, take: [{filter: a}]}\n" +
		"  - {name: b, hub: [\"tls://a\"], creds: x, take: [{filter: a}]}\n"
	c := parse(t, text, "POSTBUS_FLEET_BUS=attic")
	if c.Fleet[0].Bus != "attic" || c.Fleet[1].Bus != "attic" {
		t.Errorf("%+v", c.Fleet)
	}
	if err := c.Fleet[1].KeyError("bus", errors.New("bad"), ""); err.Error() != "environment: POSTBUS_FLEET_BUS: bad" {
		t.Error(err)
	}
	if c := parse(t, "", "POSTBUS_FLEET_BUS=attic"); c.Fleet != nil {
		t.Errorf("a name without a fleet: %+v", c.Fleet)
	}
	// One name for both entries of a fleet is what the file needs, too.
	same := strings.Replace(text, "name: b", "name: a", 1)
	same = strings.Replace(same, "tls://a", "tls://b", 1)
	if _, err := Parse("", []byte(same), nil); err == nil {
		t.Error("two names of one bus in a fleet")
	}
	parse(t, same, "POSTBUS_FLEET_BUS=attic")
	// In a file the path of the variable is no key.
	if _, err := Parse("", []byte("fleet: {bus: attic}"), nil); err == nil {
		t.Error("fleet as a mapping")
	}
}

func TestFleetKeyError(t *testing.T) {
	c, err := Parse("x.yaml", []byte(fleetLine), nil)
	if err != nil {
		t.Fatal(render(err))
	}
	for key, want := range map[string]string{
		"creds": "x.yaml:1:47: fleet[0].creds: bad\n    " + strings.Replace(fleetLine, `"secret:x"`, "**********", 1) + "\n" + strings.Repeat(" ", 4+46) + "^\n    hint: better",
		"bus":   "x.yaml:1:9: fleet[0]: bad\n    " + strings.Replace(fleetLine, `"secret:x"`, "**********", 1) + "\n" + strings.Repeat(" ", 4+8) + "^\n    hint: better",
	} {
		if got := c.Fleet[0].KeyError(key, errors.New("bad"), "better").Render(); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", key, got, want)
		}
	}
	if got := (&FleetEntry{}).KeyError("creds", errors.New("bad"), "").Error(); got != "fleet: bad" {
		t.Error(got)
	}
}

// TestFleetDiff: all of fleet can change while the bus runs, and where it is written does not matter.
func TestFleetDiff(t *testing.T) {
	a, b := parse(t, fleetLine), parse(t, "\n\n"+fleetLine)
	if live, restart := Diff(a, b); live != nil || restart != nil {
		t.Errorf("another line: %v, %v", live, restart)
	}
	for _, change := range []func(*FleetEntry){
		func(e *FleetEntry) { e.Name = "b" }, func(e *FleetEntry) { e.Bus = "b" }, func(e *FleetEntry) { e.Hub = []string{"tls://b:1"} },
		func(e *FleetEntry) { e.Creds.File = "b" }, func(e *FleetEntry) { e.Share = []Share{{Filter: "b"}} }, func(e *FleetEntry) { e.Take[0].From = "b" },
		func(e *FleetEntry) { e.Since.All = true }, func(e *FleetEntry) { e.Keep++ }, func(e *FleetEntry) { e.Rate++ },
	} {
		b := parse(t, fleetLine)
		change(&b.Fleet[0])
		if live, restart := Diff(a, b); !reflect.DeepEqual(live, []string{"fleet"}) || restart != nil {
			t.Errorf("%+v: %v, %v", b.Fleet, live, restart)
		}
	}
}

func TestBusName(t *testing.T) {
	for host, want := range map[string]string{
		"attic": "attic", "attic.local": "attic", "Pi-5_b.example.org": "Pi-5_b", "Büro PC": "B-ro-PC", "a > * b": "a-b",
		"": "", ".": "", "...": "", "-": "", "ü": "", "localhost": "", "localhost.localdomain": "", "LOCALHOST": "",
		strings.Repeat("a", 63) + "-b": strings.Repeat("a", 63), strings.Repeat("ab", 100): strings.Repeat("ab", 32),
	} {
		got := BusName(host)
		if got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
		if got != "" && checkFleetName("bus", got) != nil {
			t.Errorf("%q: %q is not valid", host, got)
		}
	}
}

func TestHubURLs(t *testing.T) {
	for s, want := range map[string]string{
		"nats://a": "nats://a:4222", "tls://a.example:1/": "tls://a.example:1", "ws://10.0.0.1": "ws://10.0.0.1:80", "wss://a": "wss://a:443",
		"tls://[::1]": "tls://[::1]:4222", "tls://[fd00::1]:9": "tls://[fd00::1]:9",
		"tls://a:": "", "tls://[::1": "", "tls://a b": "", "tls://a?x=1": "", "tls://a#x": "", "tls://a/b": "", "TLS://a": "",
		"tls:a": "", "tls://a:0": "", "tls://a:04": "", "tls://a,tls://b": "", "tls://a\x00": "", "": "", "tls://@a": "",
	} {
		got, err := parseHub(s)
		if got != want || (err == nil) != (want != "") || err != nil && hintOf(err) == "" {
			t.Errorf("%q: %q, %v (hint %q)", s, got, err, hintOf(err))
		}
	}
}

// TestLargeFleetIsFast: as many filters as are compared, which differ in the last level only.
func TestLargeFleetIsFast(t *testing.T) {
	var b strings.Builder
	b.WriteString("fleet:\n")
	for i := range maxCompared / maxFleetFilters {
		fmt.Fprintf(&b, "  - name: f%d\n    hub: [\"tls://a\"]\n    creds: x\n    share:\n", i)
		for j := range maxFleetFilters {
			fmt.Fprintf(&b, "      - filter: %s%x%x\n", strings.Repeat("a/", 100), i, j)
		}
	}
	start := time.Now()
	c := parse(t, b.String())
	t.Logf("%d bytes: %v, %d warnings", b.Len(), time.Since(start), len(c.Warnings()))
	if d := time.Since(start); d > time.Minute { // it hangs
		t.Errorf("%d bytes took %v", b.Len(), d)
	}
}
