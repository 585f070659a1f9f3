package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/bus/web"
)

// TestAccountsRefused: who may not edit, and what can't be written. The file stays as it is.
func TestAccountsRefused(t *testing.T) {
	dir := t.TempDir()
	// Bob sees the bus and publishes in one place; eve publishes everywhere, so she is an administrator.
	text := strings.NewReplacer("      - guest/#   # only this\n", "      - guest/#   # only this\n    subscribe: [\"#\", \"$bus/#\"]\n").Replace(accountsConfig(t))
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	text = strings.Replace(text, "users:\n", fmt.Sprintf("users:\n  - {name: eve, password: %q, publish: [\"#\"], subscribe: [\"#\", \"$bus/#\"]}\n", hash), 1)
	addresses, log := running(t, dir, text)
	base, conf := addresses[1], filepath.Join(dir, "c.yaml")
	host := strings.TrimPrefix(base, "http://")
	const rights = `{"publish": ["home/#"]}`
	for _, c := range []struct {
		name string
		account
		status int
		want   string
	}{
		{"no administrator reads", account{method: "GET", path: "users", user: "bob"}, 403, "only administrators who have logged in"},
		{"no administrator reads one", account{method: "GET", path: "users/ann", user: "bob"}, 403, ""},
		{"no administrator reads groups", account{method: "GET", path: "groups", user: "bob"}, 403, ""},
		{"no administrator reads a group", account{method: "GET", path: "groups/family", user: "bob"}, 403, ""},
		{"no administrator writes", account{method: "PUT", path: "users/bob", body: `{"admin": true}`, user: "bob"}, 403, "only administrators"},
		{"no administrator sets a password", account{method: "PUT", path: "users/bob/password", body: `{"password": "x"}`, user: "bob"}, 403, ""},
		{"no administrator sets one with a name", account{method: "PUT", path: "users/ann/passwords/x", body: `{"password": "x"}`, user: "bob"}, 403, ""},
		{"no administrator removes one", account{method: "DELETE", path: "users/ann/passwords/x", user: "bob"}, 403, ""},
		{"no administrator removes", account{method: "DELETE", path: "users/ann", user: "bob"}, 403, ""},
		{"no administrator writes a group", account{method: "PUT", path: "groups/family", body: `{"admin": true}`, user: "bob"}, 403, ""},
		{"no administrator removes a group", account{method: "DELETE", path: "groups/family", user: "bob"}, 403, ""},
		// A local program may publish everything without a login, which counts as administrator elsewhere.
		{"nobody reads", account{method: "GET", path: "users", user: "-"}, 401, "only administrators who have logged in"},
		{"nobody writes", account{method: "PUT", path: "users/x", body: `{"password": "x", "admin": true}`, user: "-"}, 401, "log in"},
		{"nobody removes", account{method: "DELETE", path: "users/bob", user: "-"}, 401, ""},

		{"a page of another site", account{method: "PUT", path: "users/x", body: `{"password": "x"}`, header: map[string]string{"Origin": "http://evil.example"}}, 403, "is not allowed"},
		{"one that removes", account{method: "DELETE", path: "users/bob", header: map[string]string{"Origin": "http://evil.example"}}, 403, "is not allowed"},
		{"an old browser", account{method: "DELETE", path: "users/bob", header: map[string]string{"Sec-Fetch-Site": "cross-site"}}, 403, "is not allowed"},
		{"a page on another port", account{method: "DELETE", path: "users/bob", header: map[string]string{"Origin": "http://127.0.0.1:1"}}, 403, "is not allowed"},
		{"a form", account{method: "PUT", path: "users/x", body: `{"password": "x"}`, header: map[string]string{"Content-Type": "text/plain"}}, 415, "must be JSON"},

		{"not JSON", account{method: "PUT", path: "users/x", body: `{`}, 400, "the JSON ends too early"},
		{"a mistyped key", account{method: "PUT", path: "users/x", body: `{"pubish": []}`}, 400, "pubish"},
		{"a text for a list", account{method: "PUT", path: "users/x", body: `{"publish": "a"}`}, 400, "publish is a list, not a text"},
		{"a hash", account{method: "PUT", path: "users/x", body: `{"hash": "$argon2id$"}`}, 400, "hash"},
		{"too much", account{method: "PUT", path: "users/x", body: `{"publish": ["` + strings.Repeat("a", 70<<10) + `"]}`}, 413, "more than 65536 bytes"},
		{"another name", account{method: "PUT", path: "users/x", body: `{"name": "y"}`}, 400, `the body is about \"y\", the path about \"x\"`},
		{"no password", account{method: "PUT", path: "users/x", body: rights}, 400, `could not log in: no password`},
		{"a long password", account{method: "PUT", path: "users/x", body: `{"password": "` + strings.Repeat("a", 1025) + `"}`}, 400, `more than 1024 bytes`},
		{"a colon", account{method: "PUT", path: "users/a:b", body: `{"password": "x"}`}, 400, `a name cannot contain a colon`},
		{"a space at the end", account{method: "PUT", path: "users/a%20", body: `{"password": "x"}`}, 400, `users[3].name: the user name \"a \" begins or ends with a space`},
		{"a bad filter", account{method: "PUT", path: "users/bob", body: `{"publish": ["a/#/b"]}`}, 400, `"error":"users[2].publish[0]: `},
		{"a group that is not there", account{method: "PUT", path: "users/bob", body: `{"groups": ["famly"]}`}, 400, `users[2].groups[0]: unknown group \"famly\"; did you mean \"family\"?`},
		{"certificates without their authority", account{method: "PUT", path: "users/bob", body: `{"certificates": ["CN=x"]}`}, 400, `listen.tls.client_ca is missing`},
		{"passwords with the rights", account{method: "PUT", path: "users/bob", body: `{"passwords": []}`}, 400, `passwords are not changed with the rights`},
		{"an empty password", account{method: "PUT", path: "users/bob/password", body: `{}`}, 400, `the password is empty`},
		{"an expiry without a name", account{method: "PUT", path: "users/bob/password", body: `{"password": "x", "expires": "1d"}`}, 400, `only a password with a name expires`},
		{"an expiry in the past", account{method: "PUT", path: "users/bob/passwords/x", body: `{"password": "x", "expires": "2020-01-01"}`}, 400, `expires: 2020-01-01 is in the past`},
		{"a password of nobody", account{method: "PUT", path: "users/x/passwords/x", body: `{"password": "x"}`}, 404, `no user is called \"x\"`},
		{"the only password", account{method: "DELETE", path: "users/bob/password"}, 409, `could not log in without its last password`},
		{"a group with a bad rule", account{method: "PUT", path: "groups/family", body: `{"publish": ["home/${usr}"]}`}, 400, `groups.family.publish[0]: `},
		{"no group", account{method: "DELETE", path: "groups/x"}, 404, `no group is called \"x\"`},
		{"a query", account{method: "DELETE", path: "users/bob?force=1"}, 400, `unknown key`},

		{"an administrator removes itself", account{method: "DELETE", path: "users/ann"}, 409, `you would no longer be an administrator`},
		{"an administrator ends its right", account{method: "PUT", path: "users/ann", body: `{"subscribe": ["#", "$bus/#"]}`}, 409, `you would no longer be an administrator`},
		{"an administrator no longer sees the bus", account{method: "PUT", path: "users/ann", body: `{"admin": true}`}, 409, `you would no longer be an administrator`},
		{"one by its rules", account{method: "PUT", path: "users/eve", body: `{"subscribe": ["#", "$bus/#"], "publish": ["a"]}`, user: "eve"}, 409, `you would no longer be an administrator`},

		{"a state that was changed", account{method: "PUT", path: "users/bob", body: rights, header: map[string]string{"If-Match": `"0"`}}, 412, `it was changed since you read it`},
		{"only to replace", account{method: "PUT", path: "users/x", body: `{"password": "x"}`, header: map[string]string{"If-Match": `*`}}, 412, `it does not exist`},
		{"only to make", account{method: "PUT", path: "users/bob", body: rights, header: map[string]string{"If-None-Match": `*`}}, 412, `it already exists`},
		{"only to remove what was read", account{method: "DELETE", path: "users/bob", header: map[string]string{"If-Match": `"0"`}}, 412, ``},
		{"a group that was changed", account{method: "PUT", path: "groups/family", body: rights, header: map[string]string{"If-Match": `"0"`}}, 412, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body, _ := c.do(t, base)
			if status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("%d %s, want %d %s", status, body, c.status, c.want)
			}
			if strings.Contains(body, dir) || strings.Contains(body, "argon2id") {
				t.Errorf("the answer has a path or a hash: %s", body)
			}
		})
	}
	if r, err := http.NewRequest("PUT", base+"/api/v1/users/x", strings.NewReader(`{"password": "x"}`)); err != nil {
		t.Fatal(err)
	} else {
		r.Host = "evil.example:" + strings.Split(host, ":")[1] // a name that was pointed here
		r.SetBasicAuth("ann", "secret")
		r.Header.Set("Content-Type", "application/json")
		if resp, err := http.DefaultClient.Do(r); err != nil || resp.StatusCode != 421 {
			t.Error(resp, err)
		} else {
			resp.Body.Close()
		}
	}
	if got, err := os.ReadFile(conf); err != nil || string(got) != text {
		t.Errorf("%v, the file is\n%s", err, got)
	}
	if strings.Contains(log.String(), "config reloaded") {
		t.Error("something was changed")
	}

	// What was read is the condition of a change.
	_, body, header := account{method: "GET", path: "users/bob"}.do(t, base)
	tag := header.Get("ETag")
	if status, again, _ := (account{method: "PUT", path: "users/bob", body: body, header: map[string]string{"If-Match": tag}}).do(t, base); status != 200 || again != body {
		t.Errorf("%d: sending back %s became %s", status, body, again)
	}
	if got, err := os.ReadFile(conf); err != nil || string(got) != text {
		t.Errorf("%v, sending back what was read changed the file:\n%s", err, got)
	}
	if status, body, _ := (account{method: "PUT", path: "users/bob", body: rights, header: map[string]string{"If-Match": tag}}).do(t, base); status != 200 {
		t.Error(status, body)
	}
	if status, body, _ := (account{method: "PUT", path: "users/bob", body: `{}`, header: map[string]string{"If-Match": tag}}).do(t, base); status != 412 {
		t.Error(status, body)
	}
	// An administrator may change its own password, and removes others.
	if status, body, _ := (account{method: "PUT", path: "users/eve/passwords/spare", body: `{"password": "spare"}`, user: "eve"}).do(t, base); status != 200 {
		t.Error(status, body)
	}
	if status, body, _ := (account{method: "DELETE", path: "users/eve/password", user: "eve"}).do(t, base); status != 204 {
		t.Error(status, body)
	}
	if status, body, _ := (account{method: "GET", path: "users", user: "eve"}).do(t, base); status != 401 {
		t.Error(status, body)
	}
	if status, body, _ := (account{method: "DELETE", path: "users/eve"}).do(t, base); status != 204 {
		t.Error(status, body)
	}
	// Page by page.
	status, body, header := account{method: "GET", path: "users?limit=1"}.do(t, base)
	if status != 200 || !strings.HasPrefix(body, `[{"name":"ann"`) || strings.Contains(body, "bob") || header.Get("Link") != `</api/v1/users?after=ann&limit=1>; rel="next"` {
		t.Error(status, body, header.Get("Link"))
	}
	status, body, header = account{method: "GET", path: "users?limit=1&after=ann"}.do(t, base)
	if status != 200 || !strings.HasPrefix(body, `[{"name":"bob"`) || header.Get("Link") != "" {
		t.Error(status, body, header.Get("Link"))
	}

	// The size of a config file bounds what it holds.
	large := fmt.Sprintf(`{"publish": [%q]}`, strings.Repeat("a", 60<<10))
	for n := 0; ; n++ {
		status, body, _ := account{method: "PUT", path: fmt.Sprintf("groups/large-%d", n), body: large}.do(t, base)
		if status == 201 && n < 20 {
			continue
		}
		if status != 409 || !strings.Contains(body, "the config file cannot be edited: the file has ") || strings.Contains(body, dir) {
			t.Errorf("%d: %d %.300s", n, status, body)
		}
		break
	}

	// A file with a mistake: it is not the request's, and nothing is written.
	bad := text + "profle: pi\n"
	if err := os.WriteFile(conf, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, body, _ := (account{method: "PUT", path: "groups/x", body: `{}`}).do(t, base); status != 409 || !strings.Contains(body, `the config file has errors, so users and groups cannot be edited: unknown key \"profle\"; did you mean \"profile\"?`) || strings.Contains(body, dir) {
		t.Error(status, body)
	}
	if got, err := os.ReadFile(conf); err != nil || string(got) != bad {
		t.Errorf("%v, the file is\n%s", err, got)
	}
	if err := os.Remove(conf); err != nil {
		t.Fatal(err)
	}
	if status, body, _ := (account{method: "PUT", path: "groups/x", body: `{}`}).do(t, base); status != 409 || !strings.Contains(body, `the bus has no config file`) {
		t.Error(status, body)
	}
	if _, err := os.Stat(conf); err == nil {
		t.Error("the file was made")
	}
}

// TestAccountsWithoutUsers: without users a program of this machine is an administrator, but it can't
// make accounts for itself, and neither can a page in a browser of this machine.
func TestAccountsWithoutUsers(t *testing.T) {
	dir := t.TempDir()
	addresses, _ := running(t, dir, `listen: {mqtt: ["tcp://127.0.0.1:0"], http: "127.0.0.1:0"}`+"\n")
	for _, user := range []string{"-", "ann"} { // without users a name needs no password
		for _, a := range []account{
			{method: "GET", path: "users"}, {method: "GET", path: "groups"}, {method: "DELETE", path: "groups/x"},
			{method: "PUT", path: "users/x", body: `{"password": "x", "admin": true, "publish": ["#"], "subscribe": ["#", "$bus/#"]}`},
			{method: "PUT", path: "users/x", body: `{"password": "x"}`, header: map[string]string{"Origin": "http://evil.example"}},
		} {
			a.user = user
			want := 401
			if a.header != nil {
				want = 403
			}
			if status, body, _ := a.do(t, addresses[1]); status != want {
				t.Errorf("%s %s as %s: %d %s", a.method, a.path, user, status, body)
			}
		}
	}
}

// TestAccountsWithAnyAnonymous: an explicit anonymous may publish everywhere, from any machine.
func TestAccountsWithAnyAnonymous(t *testing.T) {
	dir := t.TempDir()
	addresses, _ := running(t, dir, accountsConfig(t)+"anonymous: {publish: [\"#\"], subscribe: [\"#\", \"$bus/#\"]}\n")
	if status, body, _ := (account{method: "PUT", path: "users/x", body: `{"password": "x"}`, user: "-"}).do(t, addresses[1]); status != 401 {
		t.Error(status, body)
	}
}

// TestAccountsByAnAdministratorFromOutside: an administrator whom a hook allows edits, too, and can't end
// its own right.
func TestAccountsByAnAdministratorFromOutside(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"allow": true, "groups": ["chiefs"]}`)
	}))
	defer service.Close()
	dir := t.TempDir()
	addresses, _ := running(t, dir, fmt.Sprintf(`listen: {mqtt: ["tcp://127.0.0.1:0"], http: "127.0.0.1:0"}
groups: {chiefs: {admin: true, subscribe: ["$bus/#"]}}
auth_hook: {url: %q}
`, service.URL))
	for _, c := range []struct {
		account
		status int
		want   string
	}{
		{account{method: "PUT", path: "users/x", body: `{"password": "x"}`}, 201, `{"name":"x"`},
		{account{method: "PUT", path: "groups/chiefs", body: `{"subscribe": ["$bus/#"]}`}, 409, "you would no longer be an administrator"},
		{account{method: "DELETE", path: "groups/chiefs"}, 409, "you would no longer be an administrator"},
		{account{method: "PUT", path: "users/chief", body: `{"password": "x"}`, user: "chief"}, 409, "you would no longer be an administrator"}, // its name would be another's
		{account{method: "PUT", path: "groups/chiefs", body: `{"subscribe": ["#", "$bus/#"], "admin": true}`}, 200, ""},
		{account{method: "DELETE", path: "users/x"}, 204, ""},
	} {
		if c.user == "" {
			c.user = "boss"
		}
		if status, body, _ := c.do(t, addresses[1]); status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, status, body, c.status, c.want)
		}
	}
}

// TestAccountsNotWritable: a bus that may not replace its config file, as a service whose config belongs
// to root, changes nothing.
func TestAccountsNotWritable(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs names that are too long, and links")
	}
	dir, text := t.TempDir(), accountsConfig(t)
	// Rights do not restrict root, so no other file can be made beside this one because of its name.
	real := filepath.Join(dir, strings.Repeat("n", 250))
	if err := os.WriteFile(real, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, filepath.Join(dir, "c.yaml")); err != nil {
		t.Fatal(err)
	}
	addresses, log := running(t, dir, text)
	status, body, _ := account{method: "PUT", path: "groups/x", body: `{}`}.do(t, addresses[1])
	if status != 503 || !strings.Contains(body, `the config file cannot be written: file name too long`) || !strings.Contains(body, "docs/security.md") || strings.Contains(body, dir) {
		t.Error(status, body)
	}
	if got, err := os.ReadFile(real); err != nil || string(got) != text {
		t.Errorf("%v, the file is\n%s", err, got)
	}
	if status, body, _ := (account{method: "GET", path: "groups"}).do(t, addresses[1]); status != 200 || strings.Contains(body, `"x"`) {
		t.Error(status, body)
	}
	log.waitFor(t, "writing the config file failed: nothing has changed")
}

// TestAccountsBehindALink: an edit replaces the file, not the link to it.
func TestAccountsBehindALink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs links")
	}
	dir := t.TempDir()
	real := filepath.Join(dir, "real.yaml")
	if err := os.WriteFile(real, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, filepath.Join(dir, "c.yaml")); err != nil {
		t.Fatal(err)
	}
	addresses, _ := running(t, dir, accountsConfig(t))
	if status, body, _ := (account{method: "PUT", path: "groups/x", body: `{}`}).do(t, addresses[1]); status != 201 {
		t.Error(status, body)
	}
	link, err := os.Lstat(filepath.Join(dir, "c.yaml"))
	if err != nil || link.Mode()&os.ModeSymlink == 0 {
		t.Error(link.Mode(), err)
	}
	if st, err := os.Stat(real); err != nil || st.Mode().Perm() != 0o640 {
		t.Error(st.Mode(), err)
	}
	if got, err := os.ReadFile(real); err != nil || !strings.Contains(string(got), "x: {}") {
		t.Errorf("%v, the file is\n%s", err, got)
	}
}

// TestAWrittenFileIsInForce: the watcher of the file has nothing to do after an edit over HTTP, and
// everything after the same content was replaced in between.
func TestAWrittenFileIsInForce(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "c.yaml")
	text := accountsConfig(t)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	var log syncBuffer
	m := &Main{Stdin: strings.NewReader(""), Stdout: &log, Stderr: &log, Env: []string{"HOME=" + dir}}
	s := &settings{file: conf}
	l, err := m.load(s)
	if err != nil {
		t.Fatal(err)
	}
	l.DataDir = filepath.Join(dir, "d")
	b, err := open(context.Background(), l, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := b.close(ctx); err != nil {
			t.Error(err)
		}
	}()
	r := &reloader{m: m, settings: s, server: b, started: l.Config, current: l.Config, file: l.file}
	if err := b.accounts.PutGroup(web.Edit{}, web.Group{Name: "g"}); err == nil || !strings.Contains(err.Error(), "starting") {
		t.Error(err)
	}
	b.accounts.reloader.Store(r)
	ann, err := b.access.policy.Load().Authenticate("ann", "secret", true, true, "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	reloads := func() int { return strings.Count(log.String(), "config reloaded") }
	if err := b.accounts.PutGroup(web.Edit{By: ann, User: "ann", Match: func(any) error { return nil }}, web.Group{Name: "g", Admin: true}); err != nil || reloads() != 1 {
		t.Fatal(err, reloads())
	}
	edited, err := os.ReadFile(conf)
	if err != nil || sha256.Sum256(edited) != r.wrote {
		t.Fatal(err)
	}
	if r.saved("the file was saved"); reloads() != 1 {
		t.Error("the watcher reloaded a config that was already in force")
	}
	write(text)
	if r.saved("the file was saved"); reloads() != 2 || len(r.current.Groups) != 1 {
		t.Error(reloads(), r.current.Groups)
	}
	write(string(edited)) // an undo of the undo
	if r.saved("the file was saved"); reloads() != 3 || len(r.current.Groups) != 2 {
		t.Error(reloads(), r.current.Groups)
	}
}
