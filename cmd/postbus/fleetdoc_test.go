package main

// This file follows docs/fleet.md: hubs with the configs in that document, and buses with its commands.

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
)

// fleetPage is docs/fleet.md.
type fleetPage string

func readFleetPage(t *testing.T) fleetPage {
	t.Helper()
	text, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	return fleetPage(text)
}

// block returns the block of a kind that contains a text. There must be one only.
func (p fleetPage) block(t *testing.T, kind, holds string) string {
	t.Helper()
	var found []string
	for i, part := range strings.Split(string(p), "\n```") {
		if body, is := strings.CutPrefix(part, kind+"\n"); i%2 == 1 && is && strings.Contains(body, holds) {
			found = append(found, body)
		}
	}
	if len(found) != 1 {
		t.Fatalf("docs/fleet.md has %d blocks of the kind %q with %q, want 1", len(found), kind, holds)
	}
	return found[0] + "\n"
}

// console returns a command of a console block, without "postbus", and what it prints.
func (p fleetPage) console(t *testing.T, command string) (args []string, output string) {
	t.Helper()
	first, output, _ := strings.Cut(p.block(t, "console", "$ postbus "+command), "\n")
	_, line, _ := strings.Cut(first, "$ postbus ")
	return strings.Fields(line), output
}

// natsServer is the hub's program.
func natsServer(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command, to build nats-server")
	}
	file, err := hubServer()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// fleetLab is a hub as the document configures it, and the machines of its users.
type fleetLab struct {
	t       *testing.T
	page    fleetPage
	dir     string
	server  string            // nats-server
	hub     string            // HOST:PORT
	keys    map[string]string // public keys in the document, and those of this lab
	configs map[string]string // of postbus, by bus
}

// local makes a text of the document one of this lab.
func (l *fleetLab) local(text string) string {
	_, port, _ := net.SplitHostPort(l.hub)
	pairs := []string{"hub.local:4222", "localhost:" + port, "/etc/nats/hub.pem", l.dir + "/hub.pem", "/etc/nats/hub.key", l.dir + "/hub.key",
		"/var/lib/nats", l.dir + "/js", `"0.0.0.0:4222"`, `"` + l.hub + `"`, `http: "127.0.0.1:8222"`, `http: "127.0.0.1:0"`}
	for theirs, ours := range l.keys {
		pairs = append(pairs, theirs, ours)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func (l *fleetLab) write(name, text string) string {
	l.t.Helper()
	file := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return file
}

// postbus runs a command with the config of a bus.
func (l *fleetLab) postbus(bus string, args ...string) (stdout, stderr string, code int) {
	l.t.Helper()
	var out, errs bytes.Buffer
	m := Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Env: []string{"HOME=" + l.dir}}
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	code = m.Run(ctx, append(args, "--config", l.configs[bus]))
	return out.String(), errs.String(), code
}

// follow runs a command of the document, with its key for --creds, and demands the output that is printed there.
func (l *fleetLab) follow(bus, command string, numbers bool) {
	l.t.Helper()
	args, want := l.page.console(l.t, command)
	for i, a := range args {
		if strings.HasSuffix(a, ".nk") {
			args[i] = filepath.Join(l.dir, a)
		}
	}
	out, errs, code := l.postbus(bus, args...)
	want = l.local(want)
	if numbers { // they are others each time
		digits := regexp.MustCompile(`\d+`)
		out, want = digits.ReplaceAllString(out, "N"), digits.ReplaceAllString(want, "N")
	}
	if code != 0 || out != want {
		l.t.Errorf("postbus %s: exit code %d, %s\n%s\nwant, as in docs/fleet.md:\n%s", strings.Join(args, " "), code, errs, out, want)
	}
}

// newFleetLab makes the keys and the configs, and starts the hub. access is the end of its config: who may do what.
func newFleetLab(t *testing.T, server string, access func(l *fleetLab) string) *fleetLab {
	l := &fleetLab{t: t, page: readFleetPage(t), dir: t.TempDir(), server: server, hub: programtest.FreePort(t), keys: map[string]string{}, configs: map[string]string{}}
	cert, key := certificate(t, l.dir, "localhost")
	for from, to := range map[string]string{cert: "hub.pem", key: "hub.key"} {
		if err := os.Rename(from, filepath.Join(l.dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	yaml := l.page.block(t, "yaml", "bus: attic")
	for _, bus := range []string{"attic", "desk"} {
		text := "listen: {mqtt: [\"tcp://127.0.0.1:0\"], http: \"127.0.0.1:0\"}\n" + changed(t, l.local(yaml), "hub-ca.pem", l.dir+"/hub.pem")
		l.configs[bus] = l.write(bus+"/c.yaml", strings.ReplaceAll(text, "attic", bus))
	}
	doc := regexp.MustCompile(`nkey: (U[A-Z2-7]{55}) # (.*)`)
	for _, m := range doc.FindAllStringSubmatch(l.page.block(t, "", "# desk"), -1) {
		bus, file := m[2], m[2]+".nk"
		if strings.HasPrefix(bus, "for postbus fleet init") {
			bus, file = "admin", "admin.nk"
		}
		out, errs, code := l.postbus("attic", "fleet", "add", bus, "--out", filepath.Join(l.dir, file))
		made := doc.FindStringSubmatch(out)
		if code != 0 || made == nil {
			t.Fatalf("postbus fleet add %s: exit code %d, %s%s", bus, code, out, errs)
		}
		l.keys[m[1]] = made[1]
		if bus == "attic" {
			_, want := l.page.console(t, "fleet add attic")
			if want = strings.Replace(l.local(want), "attic.nk", filepath.Join(l.dir, file), 1); out != want {
				t.Errorf("postbus fleet add attic:\n%s\nwant, as in docs/fleet.md:\n%s", out, want)
			}
		}
		if bus != "admin" {
			seed, err := os.ReadFile(filepath.Join(l.dir, file))
			if err != nil {
				t.Fatal(err)
			}
			l.write(bus+"/secrets/fleet", string(seed))
		}
	}
	conf, _, _ := strings.Cut(l.page.block(t, "", "server_name: hub"), "authorization {")
	file := l.write("hub.conf", l.local(conf)+access(l))
	if out, err := exec.Command(server, "-t", "-c", file).CombinedOutput(); err != nil {
		t.Fatalf("nats-server -t: %v\n%s", err, out)
	}
	spawn(t, l.hub, server, "-c", file)
	return l
}

// exchange makes the stream, connects two buses, and demands that an event of each reaches the other.
func (l *fleetLab) exchange() {
	l.follow("attic", "fleet init", false)
	l.follow("attic", "fleet check", false)
	urls := map[string][]string{}
	for bus, file := range l.configs {
		text, err := os.ReadFile(file)
		if err != nil {
			l.t.Fatal(err)
		}
		urls[bus], _ = running(l.t, filepath.Dir(file), string(text))
	}
	// A bus reads its own hello when it has chosen where it begins: it takes what is published from now on.
	for bus := range urls {
		l.wait(bus, urls, func(status string) bool {
			return strings.Contains(status, `"state":"online"`) && !strings.Contains(status, `"received":0`)
		}, "--json")
	}
	for bus := range urls {
		if _, errs, code := l.postbus(bus, "pub", "--url", urls[bus][0], "-t", "home/"+bus+"/temp", "-m", "21.5", "-r"); code != 0 {
			l.t.Fatalf("exit code %d: %s", code, errs)
		}
	}
	for bus, other := range map[string]string{"attic": "desk", "desk": "attic"} {
		l.wait(bus, urls, func(status string) bool { return strings.Contains(status, "\n  "+other+" ") })
		if out, errs, code := l.postbus(bus, "sub", "--url", urls[bus][0], "-t", "home/"+other+"/temp", "-n", "1"); code != 0 || out != "21.5\n" {
			l.t.Errorf("%s got %q of %s: %s", bus, out, other, errs)
		}
	}
	l.wait("desk", urls, func(status string) bool { return strings.Contains(status, ": online, 0 to send, 0 to read") })
	_, want := l.page.console(l.t, "fleet status")
	got, _, _ := l.postbus("desk", "fleet", "status", "--url", urls["desk"][1])
	shape := regexp.MustCompile(`\d+`)
	if got, want := shape.ReplaceAllString(got, "N"), shape.ReplaceAllString(l.local(want), "N"); got != want {
		l.t.Errorf("postbus fleet status:\n%s\nwant, as in docs/fleet.md:\n%s", got, want)
	}
}

// wait asks for the status of a bus until it is as it should be.
func (l *fleetLab) wait(bus string, urls map[string][]string, done func(status string) bool, flags ...string) {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		out, errs, _ := l.postbus(bus, append([]string{"fleet", "status", "--url", urls[bus][1]}, flags...)...)
		if done(out) {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("the status of %s is:\n%s%s", bus, out, errs)
		}
	}
}

func TestFleetDocument(t *testing.T) {
	server := natsServer(t)
	t.Run("a house", func(t *testing.T) {
		l := newFleetLab(t, server, func(l *fleetLab) string {
			l.write("fleet-home.conf", l.local(l.page.block(t, "", "# desk")))
			return "authorization {\n  include \"fleet-home.conf\"\n}\n"
		})
		l.exchange()
		l.follow("desk", "fleet forget attic", true)
		// What the table of messages says.
		for _, c := range []struct{ want, args string }{
			{"max_bytes is 3221225472, not 2147483648", "fleet init --max-size 2GiB --creds " + l.dir + "/admin.nk"},
			{"the hub forbids this: nats: permissions violation: Permissions Violation for Publish to \"$JS.API.STREAM.PURGE.PBF_home\"", "fleet forget attic"},
			{"the hub forbids this: nats: permissions violation: Permissions Violation for Subscription to \"_INBOX.home.attic.", "fleet check --creds " + l.dir + "/desk.nk"},
		} {
			args := strings.Fields(c.args)
			config := "attic"
			if strings.HasSuffix(c.args, "desk.nk") { // attic with the key of desk
				l.configs["twin"] = l.write("twin/c.yaml", string(mustRead(t, l.configs["attic"])))
				l.write("twin/secrets/fleet", string(mustRead(t, l.dir+"/desk.nk")))
				config, args = "twin", args[:2]
			}
			if _, errs, code := l.postbus(config, args...); code == 0 || !strings.Contains(errs, c.want) {
				t.Errorf("postbus %s: exit code %d\n%s\nlacks %s", c.args, code, errs, c.want)
			}
		}
	})
	t.Run("an account for each bus", func(t *testing.T) {
		l := newFleetLab(t, server, func(l *fleetLab) string {
			text := l.page.block(t, "", "accounts {")
			i := strings.Index(text, "  attic {")
			attic := strings.TrimSuffix(text[i:], "}\n")
			doc := regexp.MustCompile(`nkey: (U[A-Z2-7]{55}) # (attic|desk)\n`)
			desk := strings.ReplaceAll(attic, "attic", "desk")
			keys := map[string]string{}
			for _, m := range doc.FindAllStringSubmatch(l.page.block(t, "", "# desk"), -1) {
				keys[m[2]] = m[1]
			}
			desk = changed(t, desk, keys["attic"], keys["desk"])
			l.write("accounts.conf", l.local(text[:i]+attic+desk+"}\n"))
			return "include \"accounts.conf\"\n"
		})
		l.exchange()
	})
	t.Run("three servers", func(t *testing.T) {
		l := &fleetLab{t: t, page: readFleetPage(t), dir: t.TempDir(), hub: "127.0.0.1:4222"}
		cert, key := certificate(t, l.dir, "n1.example.org")
		conf := l.page.block(t, "", "server_name: n1") + l.page.block(t, "", "websocket {")
		conf = changed(t, conf, "/etc/nats/n1.pem", cert, "/etc/nats/n1.key", key, "/etc/nats/ca.pem", cert)
		l.write("fleet-shops.conf", l.local(l.page.block(t, "", "# desk")))
		if out, err := exec.Command(server, "-t", "-c", l.write("n1.conf", conf)).CombinedOutput(); err != nil {
			t.Errorf("nats-server -t: %v\n%s", err, out)
		}
		// The file of the shops is a config of postbus.
		l.configs = map[string]string{"shop": l.write("c.yaml", l.page.block(t, "yaml", "name: shops"))}
		if out, errs, code := l.postbus("shop", "check"); code != 0 {
			t.Errorf("postbus check: exit code %d\n%s%s", code, out, errs)
		}
	})
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
