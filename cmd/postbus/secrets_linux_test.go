package main

// This file plants secrets and looks for them everywhere that somebody other than their owner can read.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/bus/auth"
)

// TestPlantedSecrets uses secrets of every kind, rightly and wrongly, and looks for them in the logs, on
// $bus and $SYS, in the answers of the API, in what the commands print, in the process list, and in the
// files of the data folder. A core dump would hold them, so there is none.
func TestPlantedSecrets(t *testing.T) {
	const (
		password = "PLANTED-password"
		wrong    = "PLANTED-wrong-password"
		hook     = "PLANTED-hook-secret"
		hooked   = "PLANTED-password-of-the-hook"
		hmac     = "PLANTED-key-of-a-webhook"
		api      = "PLANTED-token-of-an-api"
		inline   = "PLANTED-inline-secret"
		remote   = "PLANTED-password-of-a-remote"
		set      = "PLANTED-password-set-over-HTTP"
	)
	planted := []string{password, wrong, hook, hooked, hmac, api, inline, remote, set}

	asked := make(chan string, 100)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select {
		case asked <- string(body):
		default:
		}
		if strings.Contains(string(body), hooked) {
			fmt.Fprint(w, `{"allow": true, "subscribe": ["x"]}`)
			return
		}
		http.Error(w, "no: "+string(body), http.StatusForbidden) // it tells what it was sent
	}))
	defer service.Close()

	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hash, err := auth.Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	write("c.yaml", fmt.Sprintf("users: [{name: ann, admin: true, password: %q, publish: [\"#\"], subscribe: [\"#\", \"$bus/#\", \"$SYS/#\"]}, {name: viewer, password: %q, subscribe: [\"#\", \"$bus/#\"]}]\nauth_hook: {url: %q, secret: %q}\n", hash, hash, service.URL, hook))
	write("secrets/hmac", hmac)
	write("secrets/api", api)
	write("secrets/remote", remote)
	write("p/hooked.yaml", "source: {webhook: {path: /hooks/x, hmac_sha256: {header: X-Sign, key: \"secret:hmac\"}}}\npublish: [{topic: x, payload: \"${event.text}\"}]\n")
	write("p/caller.yaml", fmt.Sprintf("source: {mqtt: {topics: [call]}}\nactions: [{http: {url: %q, headers: {Authorization: \"secret:api\"}, text: \"${event.text}\"}}]\n", service.URL))
	write("p/bridge.yaml", "source: {bridge: {url: \"mqtt://127.0.0.1:1\", user: u, password: \"secret:remote\", in: [{filter: \"in/#\"}]}}\n")
	write("p/wrong.yaml", fmt.Sprintf("source: {mqtt: {topics: [call]}}\nactions: [{http: {url: \"http://x\", headers: {Authorization: %q}, nonsense: 1, text: x}}]\n", inline))
	write("p/broken.yaml", fmt.Sprintf("source: {bridge: {url: \"mqtt://127.0.0.1:1\", password: %q, in: [\n", inline))

	cmd, addresses := bare(t, []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "GOTRACEBACK=crash"},
		"--config", filepath.Join(dir, "c.yaml"), "--data-dir", filepath.Join(dir, "d"), "--plugins-dir", filepath.Join(dir, "p"), "--http", "127.0.0.1:0", "--log-level", "debug")
	found := &syncBuffer{} // everything that is looked at
	cmd.Stdout, cmd.Stderr = found, found
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	at := addresses()
	mqtt, web := at[0], at[1]

	see := func(what string, text []byte) { fmt.Fprintf(found, "\n--- %s\n%s\n", what, text) }
	get := func(path, user, pass string) {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, web+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(user, pass)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		see("GET "+path, body)
	}
	program := func(pass string, args ...string) {
		t.Helper()
		path, err := exec.LookPath("postbus")
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command(path, args...)
		c.Env = []string{"HOME=" + dir, "POSTBUS_PASSWORD=" + pass}
		out, _ := c.CombinedOutput() // some of them fail
		see(strings.Join(args, " "), out)
	}

	// What the bus says of itself, and the traces of the plugins.
	o := paho.NewClientOptions().AddBroker(mqtt).SetClientID("watcher").SetUsername("ann").SetPassword(password)
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { see(m.Topic(), m.Payload()) })
	watcher := paho.NewClient(o)
	if token := watcher.Connect(); !token.WaitTimeout(time.Minute) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer watcher.Disconnect(0)
	for _, filter := range []string{"$bus/#", "$bus/plugins/caller/trace", "$SYS/#"} {
		if token := watcher.Subscribe(filter, 1, nil); !token.WaitTimeout(time.Minute) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	for end := time.Now().Add(time.Minute); !strings.Contains(found.String(), "--- $bus/plugins/caller/trace"); { // a trace begins a moment after the subscription
		program(password, "pub", "--url", mqtt, "--user", "ann", "-t", "call", "-m", "x")
		if time.Now().After(end) {
			t.Fatal("there is no trace")
		}
	}
	program(wrong, "pub", "--url", mqtt, "--user", "ann", "-t", "call", "-m", "x")
	program(hooked, "sub", "--url", mqtt, "--user", "somebody", "-t", "y")
	program(wrong, "sub", "--url", mqtt, "--user", "somebody", "-t", "y")
	for len(asked) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if resp, err := http.Post(web+"/hooks/x", "text/plain", strings.NewReader("x")); err == nil { // without a signature
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		see("POST /hooks/x", body)
	}
	for _, sub := range [][]string{{"plugin", "list"}, {"sessions"}, {"client", "list"}, {"plugin", "explain", "x"}} {
		program(password, append(sub, "--url", web, "--user", "ann")...)
	}
	for _, sub := range [][]string{{"check"}, {"check", "--who", "ann"}, {"user", "list"}, {"group", "list"}} {
		program(password, append(sub, "--config", filepath.Join(dir, "c.yaml"), "--data-dir", filepath.Join(dir, "d"))...)
	}
	// Passwords that an administrator sets over HTTP, and requests that fail.
	put := func(path, body string, want int) {
		t.Helper()
		r, err := http.NewRequest(http.MethodPut, web+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("ann", password)
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, _ := io.ReadAll(resp.Body)
		if see("PUT "+path, answer); resp.StatusCode != want {
			t.Errorf("PUT %s: %d %s", path, resp.StatusCode, answer)
		}
	}
	put("/api/v1/users/bob", fmt.Sprintf(`{"password": %q, "publish": ["x"]}`, set), 201)
	put("/api/v1/users/bob/password", fmt.Sprintf(`{"password": %q}`, set), 200)
	put("/api/v1/users/bob/passwords/tv", fmt.Sprintf(`{"password": %q, "expires": "1h"}`, set), 200)
	put("/api/v1/users/bob/passwords/tv", fmt.Sprintf(`{"pasword": %q}`, set), 400)
	put("/api/v1/users/bob/passwords/tv", fmt.Sprintf(`{"password": [%q]}`, set), 400)
	put("/api/v1/users/bob/passwords/tv", fmt.Sprintf(`{"password": %q`, set), 400)
	put("/api/v1/users/eve", fmt.Sprintf(`{"password": %q, "publish": ["x/#/y"]}`, set), 400)
	put("/api/v1/users/eve", fmt.Sprintf(`{"password": %q, "groups": ["x"]}`, set), 400)
	var api3 struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	spec, err := os.ReadFile("../../bus/web/openapi.json")
	if err == nil {
		err = json.Unmarshal(spec, &api3)
	}
	if err != nil || len(api3.Paths) < 10 {
		t.Fatalf("%d paths, %v", len(api3.Paths), err)
	}
	for path, methods := range api3.Paths {
		if _, ok := methods["get"]; !ok || strings.Contains(path, "events") { // which doesn't end
			continue
		}
		for _, id := range []string{"caller", "wrong", "watcher", "bob"} {
			p := strings.NewReplacer("{id}", id, "{name}", id, "{plugin}", id).Replace(path)
			user := "ann"
			if strings.HasPrefix(path, "/api/v1/plugins/") { // an administrator may see lines of the files
				user = "viewer"
			}
			get(p, user, password)
		}
	}
	get("/api/v1/bus", "ann", wrong)
	state := func(id, want string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !strings.Contains(found.String(), want); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: no %q in what was found", id, want)
			}
		}
	}
	state("caller", "403")
	state("wrong", "$bus/plugins/wrong/state")
	state("bridge", "$bus/plugins/bridge/state")
	for _, name := range []string{"cmdline", "environ", "limits"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, name))
		if err != nil {
			t.Fatal(err)
		}
		see(name, bytes.ReplaceAll(text, []byte{0}, []byte(" ")))
		if f := strings.Fields(string(text)); name == "limits" && !strings.Contains(strings.Join(f, " "), "Max core file size 0 ") {
			t.Error("a crash would write a core dump")
		}
	}
	stopOrderly(t, cmd)
	err = filepath.WalkDir(filepath.Join(dir, "d"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		see(path, text)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	text := found.String()
	for _, secret := range planted {
		for line := range strings.Lines(text) {
			if strings.Contains(line, secret) {
				t.Errorf("%s is in:\n%.300s", secret, line)
			}
		}
	}
	if i := strings.Index(text, "$argon2id$"); i >= 0 {
		t.Errorf("a hash is in:\n%.300s", text[max(0, i-200):])
	}
	for _, must := range []string{"--- GET /api/v1/bus\n{", "--- $bus/clients/watcher", "--- plugin list", "login refused", `{"name":"bob"`, `"user changed over HTTP" user=bob`} { // it was looked at
		if !strings.Contains(text, must) {
			t.Errorf("no %q in what was found", must)
		}
	}
}
