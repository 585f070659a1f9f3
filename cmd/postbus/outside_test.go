package main

// This file has tests of logins of users whom the config does not have, with the real program.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pahov5 "github.com/eclipse/paho.golang/paho"

	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/bus/auth/hook"
)

func TestLoginsByJWT(t *testing.T) {
	id := newIssuer(t)
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := fmt.Sprintf(`listen: {mqtt: ["tcp://127.0.0.1:0"], http: "127.0.0.1:0"}
anonymous: off
groups:
  app: {subscribe: ["news/${claims.realm.name}"]}
users:
  - {name: pi, password: %q, publish: ["#"], subscribe: ["#", "$bus/lost"]}
jwt:
  - {issuer: "https://id.example", audience: postbus, keys: "%s/jwks.json", groups: [app], publish: ["user/${claims.sub}/#"], subscribe: ["user/${claims.sub}/#"], deny: ["user/+/secret"]}
`, hash, id.web.URL)
	addresses, log := running(t, dir, text)
	mqtt, web := addresses[0], addresses[1]
	token := id.token(t, "anna", time.Hour, map[string]any{"realm": map[string]any{"name": "x"}})

	for _, where := range []string{mqtt, web} {
		for _, user := range []string{"", "anna"} {
			c := loginGuest(t, where, "c", user, token, nil)
			if !c.mayPublish(t, "user/anna/x") || c.mayPublish(t, "user/bob/x") || c.mayPublish(t, "user/anna/secret") {
				t.Errorf("%s as %q: wrong rights", where, user)
			}
			if a, _ := c.Subscribe(t.Context(), &pahov5.Subscribe{Subscriptions: []pahov5.SubscribeOptions{{Topic: "news/x"}, {Topic: "news/y"}}}); a == nil || a.Reasons[0] >= 0x80 || a.Reasons[1] != 0x87 {
				t.Errorf("%s: SUBACK %+v", where, a)
			}
			c.conn.Close()
		}
	}
	refusedGuest(t, mqtt, "bob", token, "another user")
	refusedGuest(t, mqtt, "", id.token(t, "pi", time.Hour, nil), "which is a user of the config")
	refusedGuest(t, mqtt, "", id.token(t, "a\x1bb", time.Hour, nil), "control character")
	refusedGuest(t, mqtt, "", id.token(t, "anna", -time.Second, nil), "0x86 the token has expired at")
	refusedGuest(t, mqtt, "anna", id.token(t, "anna", time.Hour, map[string]any{"aud": "other"}), "none of its audiences")
	refusedGuest(t, mqtt, "", id.token(t, "anna", time.Hour, map[string]any{"iat": time.Now().Add(time.Hour).Unix()}), "the clock of the issuer or of the bus is wrong")
	refusedGuest(t, mqtt, "", newIssuer(t).token(t, "anna", time.Hour, nil), "signature")
	refusedGuest(t, mqtt, "anna", "secret", "0x86 the user name or the password is wrong")
	log.waitFor(t, "a clock is wrong")
	if strings.Contains(log.String(), token[:40]) {
		t.Error("a token is in the log")
	}

	event := `{"topic": "user/anna/x", "payload": "1"}`
	basic := func(r *http.Request) { r.SetBasicAuth("anna", token) }
	for name, set := range map[string]func(*http.Request){"Bearer": withBearer(token), "Basic": basic} {
		if status, body := call(t, "POST", web+"/api/v1/publish", set, event); status != 200 {
			t.Errorf("%s: %d %s", name, status, body)
		}
		if status, _ := call(t, "POST", web+"/api/v1/publish", set, strings.Replace(event, "anna", "bob", 1)); status != 403 {
			t.Errorf("%s to another's topic: %d", name, status)
		}
	}
	if status, body := call(t, "POST", web+"/api/v1/publish", withBearer(id.token(t, "anna", -time.Second, nil)), event); status != 401 || !strings.Contains(body, "expired") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := call(t, "POST", web+"/api/v1/token", withBearer(token), "{}"); status != 400 || !strings.Contains(body, "gets no token") {
		t.Errorf("a token of the bus: %d %s", status, body)
	}
	long := id.token(t, "anna", time.Hour, map[string]any{"x": strings.Repeat("x", 11700)}) // 15.5 KiB, and 21 with Basic
	if status, body := call(t, "POST", web+"/api/v1/publish", func(r *http.Request) { r.SetBasicAuth("", long) }, event); status != 200 {
		t.Errorf("a long token: %d %s", status, body)
	}

	short := loginGuest(t, mqtt, "short", "", id.token(t, "carl", 2*time.Second, nil), nil)
	short.waitEnd(t, 0x87, "expired")

	root := loginGuest(t, mqtt, "root", "pi", "secret", nil)
	wills := make(chan string, 10)
	root.AddOnPublishReceived(func(p pahov5.PublishReceived) (bool, error) {
		wills <- p.Packet.Topic + " " + string(p.Packet.Payload)
		return true, nil
	})
	if _, err := root.Subscribe(t.Context(), &pahov5.Subscribe{Subscriptions: []pahov5.SubscribeOptions{{Topic: "user/+/gone", QoS: 1}, {Topic: "$bus/lost", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	waitWill := func(want string) {
		t.Helper()
		select {
		case got := <-wills:
			if !strings.Contains(got, want) {
				t.Errorf("got %s, want %s", got, want)
			}
		case <-time.After(time.Minute):
			t.Errorf("no %s", want)
		}
	}
	will := func(topic string) func(*pahov5.Connect) {
		return func(c *pahov5.Connect) {
			c.WillMessage = &pahov5.WillMessage{Topic: topic, QoS: 1, Payload: []byte("x")}
		}
	}
	loginGuest(t, mqtt, "dying", "", token, will("user/anna/gone")).conn.Close()
	waitWill("user/anna/gone x")
	if _, err := dialGuest(t, mqtt, "dying", "", token, will("user/bob/gone")); err == nil || !strings.HasPrefix(err.Error(), "0x87") {
		t.Errorf("another's last will: %v", err)
	}

	// A reload judges connected clients by the new rules; an issuer that is removed ends them.
	anna := loginGuest(t, mqtt, "anna", "", token, nil)
	narrow := loginGuest(t, mqtt, "narrow", "", token, will("user/anna/gone"))
	conf := filepath.Join(dir, "c.yaml")
	save := func(text, until string) {
		t.Helper()
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		log.waitFor(t, until)
	}
	next := strings.Replace(text, `publish: ["user/`, `publish: ["new/`, 1)
	save(next, "config reloaded")
	if !anna.mayPublish(t, "new/anna/x") || anna.mayPublish(t, "user/anna/x") {
		t.Error("the old rules are in use")
	}
	narrow.conn.Close()
	waitWill("last will not allowed")
	next = strings.Replace(next, "audience: postbus", `audience: postbus, user: "x-${claims.sub}"`, 1)
	save(next, "config reloaded")
	anna.waitEnd(t, 0x87, "no longer connect") // its session is of a user with another name
	last := loginGuest(t, mqtt, "last", "x-anna", token, will("new/anna/gone"))
	save(strings.Replace(next, "audience: postbus", "audience: elsewhere", 1), "config reloaded")
	last.waitEnd(t, 0x87, "no longer connect")
	waitWill("last will not allowed")
	refusedGuest(t, mqtt, "", token, "none of its audiences")
}

// TestWillsAfterARestart: a last will of a user from outside is due in the next life of the bus, and is
// judged by the rules of that time.
func TestWillsAfterARestart(t *testing.T) {
	id := newIssuer(t)
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jwks.json"), id.keys, 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`listen: {mqtt: ["tcp://127.0.0.1:0"], http: "off"}
users: [{name: pi, password: %q, subscribe: ["#", "$bus/lost"]}]
jwt: [{issuer: "https://id.example", audience: postbus, keys: jwks.json, publish: ["user/${claims.sub}/#"]}]
`, hash)
	t.Run("first life", func(t *testing.T) {
		addresses, _ := running(t, dir, text)
		for _, user := range []string{"anna", "bob"} {
			expiry, delay := uint32(1000), uint32(3)
			c := loginGuest(t, addresses[0], user, "", id.token(t, user, time.Hour, nil), func(c *pahov5.Connect) {
				c.Properties = &pahov5.ConnectProperties{SessionExpiryInterval: &expiry}
				c.WillMessage = &pahov5.WillMessage{Topic: "user/" + user + "/gone", QoS: 1, Payload: []byte("x")}
				c.WillProperties = &pahov5.WillProperties{WillDelayInterval: &delay}
			})
			c.conn.Close()
		}
	})
	os.Remove(filepath.Join(dir, "addr"))
	t.Run("second life", func(t *testing.T) {
		addresses, _ := running(t, dir, strings.Replace(text, `publish: ["user/`, `deny: ["user/bob/#"], publish: ["user/`, 1))
		pi := loginGuest(t, addresses[0], "pi", "pi", "secret", nil)
		events := make(chan string, 10)
		pi.AddOnPublishReceived(func(p pahov5.PublishReceived) (bool, error) {
			events <- p.Packet.Topic + " " + string(p.Packet.Payload)
			return true, nil
		})
		if _, err := pi.Subscribe(t.Context(), &pahov5.Subscribe{Subscriptions: []pahov5.SubscribeOptions{{Topic: "user/#", QoS: 1}, {Topic: "$bus/lost", QoS: 1}}}); err != nil {
			t.Fatal(err)
		}
		published, lost := 0, 0
		for published+lost < 2 {
			select {
			case e := <-events:
				switch {
				case strings.HasPrefix(e, "user/anna/gone "):
					published++
				case strings.Contains(e, "last will not allowed") && strings.Contains(e, "bob"):
					lost++
				default:
					t.Fatal(e)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%d wills published, %d lost, want one of each", published, lost)
			}
		}
	})
}

// TestAnIssuerThatIsAway: the bus starts without it, and uses the keys that it had.
func TestAnIssuerThatIsAway(t *testing.T) {
	id := newIssuer(t)
	id.away.Store(true)
	dir := t.TempDir()
	text := fmt.Sprintf(`listen: {mqtt: ["tcp://127.0.0.1:0"], http: "127.0.0.1:0"}
jwt: [{issuer: "https://id.example", audience: postbus, keys: "%s/jwks.json", publish: ["#"]}]
`, id.web.URL)
	token := id.token(t, "anna", time.Hour, nil)
	t.Run("never reached", func(t *testing.T) {
		addresses, log := running(t, dir, text)
		refusedGuest(t, addresses[0], "", token, "0x88 the keys of issuer https://id.example could not be fetched")
		if status, body := call(t, "GET", addresses[1]+"/api/v1/topics", withBearer(token), ""); status != 503 || !strings.Contains(body, "could not be fetched") {
			t.Errorf("%d %s", status, body)
		}
		loginGuest(t, addresses[0], "local", "", "", nil) // everything else works
		refusedGuest(t, addresses[0], "anna", "guess", "0x86")
		log.waitFor(t, "502")
	})
	id.away.Store(false)
	os.Remove(filepath.Join(dir, "addr"))
	t.Run("reached", func(t *testing.T) {
		addresses, _ := running(t, dir, text)
		loginGuest(t, addresses[0], "anna", "", token, nil)
		files, err := filepath.Glob(filepath.Join(dir, "d", keySetsDir, "*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		if info, err := os.Stat(files[0]); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Error(info, err)
		}
	})
	id.away.Store(true)
	os.Remove(filepath.Join(dir, "addr"))
	t.Run("known", func(t *testing.T) {
		addresses, log := running(t, dir, text)
		loginGuest(t, addresses[0], "anna", "", token, nil)
		log.waitFor(t, "could not be fetched")
	})
}

func TestAFileOfKeysThatIsNotUsable(t *testing.T) {
	id := newIssuer(t)
	dir := t.TempDir()
	keys, conf := filepath.Join(dir, "jwks.json"), filepath.Join(dir, "c.yaml")
	text := `listen: {mqtt: ["tcp://127.0.0.1:0"], http: "off"}
jwt:
  - {issuer: "https://id.example", audience: postbus, keys: jwks.json, publish: ["#"]}
`
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"", "no such file"}, {"{", "not a JWKS"}, {`{"keys": [{"kty": "oct", "k": "AAAA"}]}`, "oct"}} {
		content, want := c[0], c[1]
		if content != "" {
			if err := os.WriteFile(keys, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		} else if runtime.GOOS == "windows" {
			continue // it has other words
		}
		for _, command := range [][]string{{"check"}, {"run", "--log-level", "error"}} {
			var out bytes.Buffer
			m := Main{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &out, Env: []string{"HOME=" + dir}}
			code := m.Run(t.Context(), append(command, "--config", conf, "--data-dir", filepath.Join(dir, "d")))
			if got := out.String(); code != 1 || !strings.Contains(got, "c.yaml:3:61: jwt[0].keys: ") || !strings.Contains(got, want) || !strings.Contains(got, "hint: want a file with a JWKS") {
				t.Errorf("%v: exit code %d\n%s", command, code, got)
			}
		}
	}
	if err := os.WriteFile(keys, id.keys, 0o600); err != nil {
		t.Fatal(err)
	}
	addresses, log := running(t, dir, text)
	token := id.token(t, "anna", time.Hour, nil)
	loginGuest(t, addresses[0], "a", "", token, nil)
	if err := os.WriteFile(keys, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte(text+"# saved\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log.waitFor(t, "config not reloaded: the previous one stays in use")
	if !strings.Contains(log.String(), "c.yaml:3:61: jwt[0].keys: ") {
		t.Errorf("no position in\n%s", log)
	}
	loginGuest(t, addresses[0], "b", "", token, nil)
}

func TestLoginsByHook(t *testing.T) {
	var asked, away atomic.Int32
	last := make(chan hook.Request, 100)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var q hook.Request
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || r.Header.Get("Authorization") != "Bearer shared" {
			t.Error(err, r.Header)
		}
		last <- q
		answer := map[string]any{"allow": q.Password == "right", "reason": "account locked"}
		switch {
		case away.Load() > 0:
			w.WriteHeader(http.StatusBadGateway)
			return
		case q.Password != "right":
		case q.User == "renamed":
			answer["user"] = "pi"
		case q.User == "stranger":
			answer["groups"] = []string{"nobody"}
		case q.User == "typo":
			answer["publish"] = []string{"a#"}
		case q.User == "short":
			answer["until"] = time.Now().Add(2 * time.Second)
		default:
			answer["groups"], answer["publish"] = []string{"app"}, []string{"user/${user}/#"}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer service.Close()
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := fmt.Sprintf(`listen: {mqtt: ["tcp://127.0.0.1:0"], http: "127.0.0.1:0"}
groups:
  app: {publish: ["app/${client}"]}
users:
  - {name: pi, password: %q, publish: ["#"]}
auth_hook: {url: "%s/login", secret: shared, timeout: 10s}
`, hash, service.URL)
	addresses, log := running(t, dir, text)
	mqtt, web := addresses[0], addresses[1]
	c := loginGuest(t, mqtt, "c1", "anna", "right", nil)
	if !c.mayPublish(t, "user/anna/x") || !c.mayPublish(t, "app/c1") || c.mayPublish(t, "app/c2") || c.mayPublish(t, "user/bob/x") {
		t.Error("wrong rights")
	}
	if q := <-last; q.User != "anna" || q.Password != "right" || q.Client != "c1" || q.Protocol != "mqtt" || !strings.HasPrefix(q.Address, "127.0.0.1:") {
		t.Errorf("the service was asked %+v", q)
	}
	for range 10 {
		if status, body := call(t, "POST", web+"/api/v1/publish", func(r *http.Request) { r.SetBasicAuth("anna", "right") }, `{"topic": "user/anna/x", "payload": "1"}`); status != 200 {
			t.Errorf("%d %s", status, body)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("%d requests, want 1", asked.Load())
	}
	refusedGuest(t, mqtt, "anna", "wrong", "0x86 the user name or the password is wrong: account locked")
	refusedGuest(t, mqtt, "renamed", "right", "is a user of the config")
	refusedGuest(t, mqtt, "stranger", "right", "unknown group")
	refusedGuest(t, mqtt, "typo", "right", "not usable")
	loginGuest(t, mqtt, "short", "short", "right", nil).waitEnd(t, 0x87, "expired")
	before := asked.Load()
	loginGuest(t, mqtt, "pi", "pi", "secret", nil) // the config's users and tokens are not asked about
	loginGuest(t, mqtt, "local", "", "", nil)
	refusedGuest(t, mqtt, "pi", "right", "0x86")
	refusedGuest(t, mqtt, "anna", "", "0x86")
	refusedGuest(t, mqtt, "anna", newIssuer(t).token(t, "anna", time.Hour, nil), "0x86")
	if asked.Load() != before {
		t.Errorf("the service was asked about %+v", <-last)
	}

	away.Add(1)
	refusedGuest(t, mqtt, "bob", "right", "0x88 the service that checks logins gave no answer, try again")
	if status, body := call(t, "GET", web+"/api/v1/topics", func(r *http.Request) { r.SetBasicAuth("bob", "right") }, ""); status != 503 || !strings.Contains(body, "try again") {
		t.Errorf("%d %s", status, body)
	}
	loginGuest(t, mqtt, "c2", "anna", "right", nil)
	log.waitFor(t, "502")
	for _, secret := range []string{"right", "shared"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}

	// A reload gives connected clients their groups' new rules; without the hook they are disconnected.
	next := strings.Replace(text, "app/${client}", "new/${client}", 1)
	if err := os.WriteFile(filepath.Join(dir, "c.yaml"), []byte(next), 0o600); err != nil {
		t.Fatal(err)
	}
	log.waitFor(t, "config reloaded")
	if !c.mayPublish(t, "new/c1") || c.mayPublish(t, "app/c1") {
		t.Error("the old rules are in use")
	}
	next, _, _ = strings.Cut(next, "auth_hook:")
	if err := os.WriteFile(filepath.Join(dir, "c.yaml"), []byte(next), 0o600); err != nil {
		t.Fatal(err)
	}
	c.waitEnd(t, 0x87, "no longer connect")
}
