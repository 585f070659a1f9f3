package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/bus/audit"
	"github.com/postbus/postbus/bus/auth"
)

// account is a request to /api/v1/users or /api/v1/groups.
type account struct {
	method, path, body string
	user               string // "ann" if it is empty; "-" for no login
	header             map[string]string
}

func (a account) do(t *testing.T, web string) (status int, body string, header http.Header) {
	t.Helper()
	r, err := http.NewRequest(a.method, web+"/api/v1/"+a.path, strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if a.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if a.user == "" {
		a.user = "ann"
	}
	if a.user != "-" {
		r.SetBasicAuth(a.user, "secret")
	}
	for k, v := range a.header {
		r.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

// accountsConfig has the administrator ann with the password "secret", and comments.
func accountsConfig(t *testing.T) string {
	t.Helper()
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`# The bus of the house.
listen: {mqtt: ["tcp://127.0.0.1:0"], http: "127.0.0.1:0"}   # not open

groups:
  # who lives here
  family: {publish: ["home/#"], subscribe: ["home/#"]}   # all of it

users:
  # Ann looks after it.
  - {name: ann, password: %q, subscribe: ["#", "$bus/#"], admin: true}   # the chief
  - name: bob   # a guest
    password: %[1]q
    # what he may do
    publish:
      - guest/#   # only this

retention: {age: 1h}   # enough
`, hash)
}

// TestAccounts: what an administrator changes is in force when the answer arrives, and in the file, where
// everything else stays.
func TestAccounts(t *testing.T) {
	dir, text := t.TempDir(), accountsConfig(t)
	addresses, log := running(t, dir, text)
	mqtt, web := addresses[0], addresses[1]
	want := text
	file := func() {
		t.Helper()
		got, err := os.ReadFile(filepath.Join(dir, "c.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if i := strings.Index(want, "HASH"); i >= 0 { // which is random
			if end := strings.IndexAny(string(got[i:]), `"`); end > 0 {
				want = strings.Replace(want, "HASH", string(got[i:i+end]), 1)
			}
		}
		if string(got) != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	do := func(method, path, body string, status int, answer string) {
		t.Helper()
		got, text, _ := account{method: method, path: path, body: body}.do(t, web)
		if got != status || answer != "" && !strings.Contains(text, answer) {
			t.Fatalf("%s %s: %d %s, want %d %s", method, path, got, text, status, answer)
		}
	}

	do("PUT", "users/pi", `{"password": "secret", "publish": ["home/#"], "subscribe": ["home/#"], "groups": ["family"]}`, 201,
		`{"name":"pi","publish":["home/#"],"subscribe":["home/#"],"deny":[],"groups":["family"],"admin":false,"passwords":[{"name":""}]}`)
	pi := `  - {name: "pi", password: "HASH", publish: ["home/#"], subscribe: ["home/#"], groups: ["family"]}` + "\n"
	want = strings.Replace(want, "      - guest/#   # only this\n", "      - guest/#   # only this\n"+pi, 1)
	file()

	ended := make(chan error, 1)
	c := member(t, mqtt, "pi", "pi-1", func(o *paho.ClientOptions) {
		o.SetConnectionLostHandler(func(_ paho.Client, err error) { ended <- err })
	})
	ann := member(t, mqtt, "ann", "ann-1", nil)
	events := make(chan string, 10)
	if tok := ann.SubscribeMultiple(map[string]byte{"home/#": 1, "garden/#": 1}, func(_ paho.Client, m paho.Message) { events <- m.Topic() }); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	// arrives publishes an event on each topic, and returns the topic of the first that ann gets.
	arrives := func(topics ...string) (first string) {
		t.Helper()
		for _, topic := range topics {
			if tok := c.Publish(topic, 1, false, "x"); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
				t.Fatal(tok.Error())
			}
		}
		select {
		case first = <-events:
		case <-time.After(time.Minute):
			t.Fatal("no event")
		}
		return first
	}
	if got := arrives("home/safe"); got != "home/safe" {
		t.Error(got)
	}
	// The group alone still allows it, so it is denied, to the connection that is there.
	do("PUT", "users/pi", `{"publish": ["home/lamp"], "subscribe": ["home/#"], "deny": ["home/safe"], "groups": ["family"]}`, 200, `"deny":["home/safe"]`)
	want = strings.Replace(want, `publish: ["home/#"], subscribe: ["home/#"], groups: ["family"]}`, `publish: ["home/lamp"], subscribe: ["home/#"], groups: ["family"], deny: ["home/safe"]}`, 1)
	file()
	if got := arrives("home/safe", "home/lamp"); got != "home/lamp" {
		t.Error(got)
	}
	do("PUT", "groups/family", `{"publish": ["garden/#"]}`, 200, `{"name":"family","publish":["garden/#"],"subscribe":[],"deny":[],"admin":false}`)
	want = strings.Replace(want, `family: {publish: ["home/#"], subscribe: ["home/#"]}   # all`, `family: {publish: ["garden/#"]}   # all`, 1)
	file()
	if got := arrives("home/x", "garden/x"); got != "garden/x" {
		t.Error(got)
	}

	// A password with a name ends with its connections, the others stay.
	do("PUT", "users/pi/passwords/tv", `{"password": "of the tv", "expires": "90d"}`, 200, `{"name":"tv","expires":"20`)
	tv := member(t, mqtt, "pi", "tv", func(o *paho.ClientOptions) { o.SetPassword("of the tv") })
	do("DELETE", "users/pi/passwords/tv", "", 204, "")
	for end := time.Now().Add(time.Minute); tv.IsConnectionOpen(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the connection of a removed password stays")
		}
	}
	do("DELETE", "users/pi/passwords/tv", "", 404, `user \"pi\" has no password called \"tv\"`)
	do("DELETE", "users/pi/password", "", 409, "could not log in without its last password")
	file()
	if !c.IsConnectionOpen() {
		t.Error("the connection of another password ended")
	}

	do("DELETE", "groups/family", "", 409, `group \"family\" has users: pi`)
	do("DELETE", "users/pi", "", 204, "")
	want = want[:strings.Index(want, `  - {name: "pi"`)] + want[strings.Index(want, "\nretention"):]
	file()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the connection of a removed user stays")
	}
	o := paho.NewClientOptions().AddBroker(mqtt).SetClientID("pi-1").SetUsername("pi").SetPassword("secret").SetConnectRetry(false)
	if tok := paho.NewClient(o).Connect(); !tok.WaitTimeout(time.Minute) || tok.Error() == nil {
		t.Error("the removed user logs in")
	}
	do("DELETE", "users/pi", "", 404, `no user is called \"pi\"`)
	do("GET", "users/pi", "", 404, `no user is called \"pi\"`)

	// A user in lines keeps them.
	do("PUT", "users/bob", `{"publish": ["guest/#", "hall/#"], "client_id": "${user}-*"}`, 200, "")
	want = strings.Replace(want, "publish:\n      - guest/#   # only this\n", "publish: [\"guest/#\", \"hall/#\"]\n    client_id: \"${user}-*\"\n", 1)
	file()

	text = log.String()
	for _, entry := range []string{`"user changed over HTTP" user=pi by=ann`, `"user removed over HTTP" user=pi by=ann`, `msg="config reloaded" why="a change over HTTP" changed=[users]`} {
		if !strings.Contains(text, entry) {
			t.Errorf("no %s in the log:\n%s", entry, text)
		}
	}
	audited, err := os.ReadFile(filepath.Join(dir, "d", audit.Name))
	if err != nil {
		t.Fatal(err)
	}
	var done []string
	for line := range strings.Lines(string(audited)) {
		var e struct{ Msg, User, Group, By, Remote string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.By != "" {
			done = append(done, e.Msg+" "+e.User+e.Group)
		}
		if e.By != "" && (e.By != "ann" || !strings.HasPrefix(e.Remote, "127.0.0.1:")) {
			t.Error(line)
		}
	}
	wantDone := "user added pi|config changed |rights changed pi|config changed |rights changed family|config changed |password changed pi|config changed |password changed pi|config changed |user removed pi|config changed |rights changed bob|config changed "
	if got := strings.Join(done, "|"); got != wantDone {
		t.Errorf("audited\n%s\nwant\n%s", got, wantDone)
	}
	if all := text + string(audited); strings.Contains(all, "argon2id") || strings.Contains(all, "of the tv") {
		t.Error("a hash or a password is in a log")
	}
}

// TestAccountsAtTheSameTime: edits over HTTP, by commands and by an editor that compares; none is lost.
func TestAccountsAtTheSameTime(t *testing.T) {
	const rounds = 12
	dir := t.TempDir()
	addresses, _ := running(t, dir, accountsConfig(t))
	web, conf := addresses[1], filepath.Join(dir, "c.yaml")
	command := func(stdin string, args ...string) {
		var errs strings.Builder
		m := Main{Stdin: strings.NewReader(stdin), Stdout: io.Discard, Stderr: &errs, Env: []string{"HOME=" + dir}}
		if code := m.Run(context.Background(), append(args, "--config", conf)); code != 0 {
			t.Errorf("%q: %d %s", args, code, &errs)
		}
	}
	var all sync.WaitGroup
	for _, by := range []string{"x", "y"} {
		all.Go(func() {
			for n := range rounds {
				if status, body, _ := (account{method: "PUT", path: fmt.Sprintf("groups/http-%s-%d", by, n), body: `{"publish": ["a"]}`}).do(t, web); status != 201 {
					t.Error(status, body)
				}
			}
		})
		all.Go(func() {
			for n := range rounds {
				command("", "group", "add", fmt.Sprintf("command-%s-%d", by, n), "--publish", "a")
			}
		})
	}
	all.Go(func() {
		for n := range rounds {
			command("secret\n", "user", "add", fmt.Sprintf("user-%d", n))
		}
	})
	all.Wait()
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	for n := range rounds {
		for _, name := range []string{"http-x-%d:", "http-y-%d:", "command-x-%d:", "command-y-%d:", `"user-%d"`} {
			if name = fmt.Sprintf(name, n); !strings.Contains(string(text), name) {
				t.Errorf("%s is lost", name)
			}
		}
	}
	// One more edit puts in force what the commands wrote, if the bus has not seen it yet.
	if status, body, _ := (account{method: "PUT", path: "groups/last"}).do(t, web); status != 415 {
		t.Error(status, body)
	}
	if status, body, _ := (account{method: "PUT", path: "groups/last", body: "{}"}).do(t, web); status != 201 {
		t.Error(status, body)
	}
	var users []map[string]any
	if status, body, _ := (account{method: "GET", path: "users"}).do(t, web); status != 200 || json.Unmarshal([]byte(body), &users) != nil || len(users) != rounds+2 {
		t.Errorf("%d, %d users", status, len(users))
	}
}

// TestAFileWithoutContent: a program that saves a file may empty or remove it first. Users stay users then, and
// nobody gets in without a password.
func TestAFileWithoutContent(t *testing.T) {
	dir := t.TempDir()
	text := accountsConfig(t)
	addresses, log := running(t, dir, text)
	conf := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(conf, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	log.waitFor(t, "the config file is missing or empty: the previous config stays in use")
	if status, body, _ := (account{method: "GET", path: "users"}).do(t, addresses[1]); status != 200 || !strings.Contains(body, `"ann"`) {
		t.Error(status, body)
	}
	if err := os.WriteFile(conf, []byte(text+"# saved\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log.waitFor(t, "config reloaded")
}
