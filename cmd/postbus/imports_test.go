package main

// This file has the rules of which package may import which. A rule is about the imports of a
// package itself, except where a whole library must be excluded.

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/postbus/postbus/"

// rule lists what packages may import in addition to the standard library. A pattern is a path, or
// a path with "/..." for itself and all below; paths without a domain are in this module.
type rule struct {
	packages string
	may      []string
	never    []string // not even through others; of this module, not in a test either
	why      string
}

// rules are ordered: the first that matches a package decides.
var rules = []rule{
	{"cmd/postbus/bench", []string{"github.com/gorilla/websocket", "github.com/spf13/cobra", "golang.org/x/sys/..."}, []string{"bus/...", "config/..."}, "bench measures any broker, from outside"},
	{"cmd/...", []string{"..."}, nil, "cmd is the only wiring"},
	{"bus/topic", nil, []string{"github.com/mochi-mqtt/..."}, "the grammar of topics is the standard library's, so that all can use it"},
	{"bus/internal/sched", nil, []string{"github.com/mochi-mqtt/..."}, "locks are the standard library's"},
	{"bus/ban", nil, []string{"github.com/mochi-mqtt/..."}, "bans are the standard library's, so that all can use them"},
	{"bus/internal/logtest", nil, nil, "a test's log is the standard library's"},
	{"bus/internal/seeds", nil, nil, "a runner of seeds is the standard library's"},
	{"bus/internal/remote", nil, nil, "addresses are the standard library's"},
	{"bus/quiet", nil, nil, "logs are the standard library's"},
	{"bus/audit", []string{"bus/quiet"}, []string{"github.com/mochi-mqtt/...", "bus"}, "an entry is text: the audit log knows no bus"},
	{"bus/admission", []string{"bus/internal/fair", "bus/internal/remote", "bus/quiet"}, nil, "admission knows no login, whatever protocol it comes by"},
	{"bus/internal/turns", nil, nil, "turns are the standard library's"},
	{"bus/internal/fair", nil, nil, "a semaphore is the standard library's"},
	{"bus", []string{"bus/internal/fair", "bus/internal/sched", "bus/journal", "bus/topic"}, []string{"github.com/mochi-mqtt/..."}, "the bus is the standard library, the grammar of topics and its journal"},
	{"bus/journal", []string{"bus/internal/sched", "golang.org/x/sys/..."}, []string{"github.com/mochi-mqtt/..."}, "the journal knows files only"},
	{"bus/bustest", []string{"bus/journal"}, nil, "bustest is the journal's file system"},
	{"bus/auth", []string{"bus/internal/remote", "bus/internal/turns", "bus/topic", "golang.org/x/crypto/...", "github.com/golang-jwt/jwt/v5"}, []string{"github.com/mochi-mqtt/...", "bus"}, "auth knows neither the bus nor the config"},
	{"bus/auth/issuer", []string{"bus/internal/remote", "bus/quiet", "github.com/golang-jwt/jwt/v5", "github.com/MicahParks/jwkset"}, []string{"github.com/mochi-mqtt/...", "bus", "bus/auth", "config/..."}, "issuers know tokens and keys only"},
	{"bus/auth/hook", []string{"bus/quiet", "bus/internal/remote", "bus/internal/turns"}, []string{"github.com/mochi-mqtt/...", "bus", "bus/auth", "config/..."}, "the hook knows its service only"},
	{"bus/broker/frame", []string{"bus/topic"}, []string{"github.com/mochi-mqtt/...", "bus"}, "frame is MQTT's bytes only"},
	{"bus/broker", []string{"bus", "bus/admission", "bus/audit", "bus/ban", "bus/journal", "bus/broker/frame", "bus/quiet", "bus/internal/fair", "bus/internal/remote", "bus/topic", "github.com/mochi-mqtt/..."}, nil, "adapters do not import each other"},
	{"bus/web", []string{"bus", "bus/admission", "bus/audit", "bus/ban", "bus/quiet", "bus/internal/remote", "bus/journal", "bus/topic", "github.com/gorilla/websocket", "github.com/prometheus/client_golang/..."}, []string{"github.com/mochi-mqtt/..."}, "adapters do not import each other"},
	{"bus/fleet/stream", []string{"bus/quiet", "github.com/nats-io/nats.go", "github.com/nats-io/nkeys"}, []string{"github.com/mochi-mqtt/...", "bus", "config/..."}, "the transport knows the hub, and nothing of events"},
	{"bus/fleet", []string{"bus", "bus/fleet/stream", "bus/journal", "bus/quiet", "bus/topic"}, []string{"github.com/mochi-mqtt/...", "bus/broker", "bus/web", "config/..."}, "the fleet knows the bus and its transport, and no other adapter"},
	{"bus/...", []string{"bus", "bus/journal", "bus/topic"}, nil, "adapters do not import each other"},
	{"config/suggest", nil, []string{"github.com/mochi-mqtt/..."}, "suggestions are the standard library's, so that all can use them"},
	{"config/atomicfile", nil, []string{"github.com/mochi-mqtt/..."}, "replacing a file is the standard library's"},
	{"config/userfile", []string{"bus/topic", "config", "config/atomicfile", "config/yamlnode", "go.yaml.in/yaml/v3", "golang.org/x/sys/..."}, []string{"bus/..."}, "the editor is the config, its parser and a lock"},
	{"config/...", []string{"config/...", "bus/topic", "go.yaml.in/yaml/v3", "github.com/fsnotify/fsnotify"}, []string{"bus/..."}, "config is the standard library, its parser and the grammar of topics"},
	{"plugins", []string{"plugins/expr", "plugins/internal/clock", "plugins/internal/window", "plugins/kind", "plugins/payload", "config/dirwatch", "config/suggest", "config/yamlnode", "bus", "bus/topic", "!module"}, []string{"github.com/mochi-mqtt/..."}, "the engine knows kinds by their contract"},
	{"plugins/kind", nil, nil, "the contract of a kind is the standard library's, so that a kind can be tested alone"},
	{"plugins/kind/kindtest", []string{"plugins/kind", "golang.org/x/sys/..."}, []string{"github.com/mochi-mqtt/...", "bus/...", "config/..."}, "a fake of the contract knows the contract only"},
	{"plugins/payload", nil, nil, "what bytes say is the standard library's"},
	{"plugins/payload/decode", []string{"plugins/payload", "github.com/fxamacker/cbor/v2", "github.com/tinylib/msgp/msgp"}, nil, "encodings are payload's text and JSON, and their libraries"},
	{"plugins/expr", []string{"!module", "config/suggest", "config/yamlnode", "plugins/internal/sun", "plugins/payload"}, []string{"github.com/mochi-mqtt/...", "bus/...", "plugins/kind/..."}, "expressions know no bus"},
	{"plugins/internal/...", []string{"!module", "plugins/internal/...", "plugins/kind", "plugins/payload"}, []string{"github.com/mochi-mqtt/...", "plugins", "bus/...", "config/..."}, "helpers of kinds know no bus"},
	{"plugins/...", []string{"!module", "bus/topic", "plugins/internal/...", "plugins/kind", "plugins/payload", "plugins/payload/decode"}, []string{"github.com/mochi-mqtt/...", "plugins", "bus/...", "config/..."}, "a kind knows its contract, and no other kind"},
	{"devices/internal/...", []string{"!module", "devices/internal/...", "plugins/kind"}, []string{"github.com/mochi-mqtt/...", "plugins", "bus/...", "config/..."}, "helpers of drivers know no bus"},
	{"devices/...", []string{"!module", "config/suggest", "devices/internal/...", "plugins/kind", "plugins/payload", "plugins/payload/decode"}, []string{"github.com/mochi-mqtt/...", "plugins", "bus/...", "config/..."}, "a driver knows its contract, and no other kind"},
	{"docs/...", []string{"..."}, nil, "examples may use everything"},
}

// sole lists libraries that one package alone may import, whatever the rules allow.
var sole = []struct {
	library, by, why string
	tests            bool // any test may import it; otherwise tests may not, either
}{
	{"github.com/nats-io/nats-server/...", "", "a hub is a program of its own, and in this module for tests", true},
	{"github.com/nats-io/nats.go/...", "bus/fleet/stream", "it is the only one that speaks to a hub", false},
	{"github.com/nats-io/nkeys", "bus/fleet/stream", "it is the only one that speaks to a hub", false},
}

// listed is go list's description of a package.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
	Standard     bool
}

func TestWhoImportsWhom(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command")
	}
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,TestImports,XTestImports,Deps,Standard", module+"...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	standard := map[string]bool{}
	var ours []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		standard[p.ImportPath] = p.Standard
		if strings.HasPrefix(p.ImportPath, module) {
			ours = append(ours, p)
		}
	}
	if len(ours) < 8 {
		t.Fatalf("go list found only %d packages", len(ours))
	}
	for _, p := range ours {
		r := ruleFor(t, p.ImportPath)
		for _, i := range p.Imports {
			if !standard[i] && i != "C" && !r.allows(i) {
				t.Errorf("%s must not import %s: %s", short(p.ImportPath), short(i), r.why)
			}
		}
		for n, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			for _, l := range sole {
				if fits(l.library, i) && short(p.ImportPath) != l.by && (!l.tests || n < len(p.Imports)) {
					t.Errorf("%s must not import %s, only %s may: %s", short(p.ImportPath), i, l.by, l.why)
				}
			}
		}
		for _, d := range p.Deps {
			if r.forbids(d) {
				t.Errorf("%s must not depend on %s: %s", short(p.ImportPath), short(d), r.why)
			}
		}
		for _, i := range slices.Concat(p.TestImports, p.XTestImports) { // a test may compare with another library
			if strings.HasPrefix(i, module) && r.forbids(i) {
				t.Errorf("a test of %s must not import %s: %s", short(p.ImportPath), short(i), r.why)
			}
		}
	}
}

func ruleFor(t *testing.T, path string) rule {
	for _, r := range rules {
		if fits(r.packages, path) {
			return r
		}
	}
	t.Errorf("no rule is for %s: add one", short(path))
	return rule{may: []string{"..."}}
}

// allows reports whether the rule allows the import of path. "!module" is everything outside this
// module.
func (r *rule) allows(path string) bool {
	return slices.ContainsFunc(r.may, func(pattern string) bool {
		return pattern == "!module" && !strings.HasPrefix(path, module) || fits(pattern, path)
	})
}

// forbids reports whether no import of a package, direct or indirect, may be path. The paths in may
// are exceptions.
func (r *rule) forbids(path string) bool {
	return !slices.Contains(r.may, short(path)) && slices.ContainsFunc(r.never, func(pattern string) bool { return fits(pattern, path) })
}

func fits(pattern, path string) bool {
	if pattern == "..." {
		return true
	}
	pattern, tree := strings.CutSuffix(pattern, "/...")
	if first, _, _ := strings.Cut(pattern, "/"); !strings.Contains(first, ".") {
		pattern = module + pattern
	}
	return path == pattern || tree && strings.HasPrefix(path, pattern+"/")
}

func short(path string) string { return strings.TrimPrefix(path, module) }
