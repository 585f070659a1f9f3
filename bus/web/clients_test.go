package web_test

// This file is /api/v1/clients and /api/v1/bans, with a broker's connections in a map.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/bus/ban"
	"github.com/postbus/postbus/bus/web"
)

// fewClients is the part of a broker that the API uses; package cmd/postbus tests it with the real one.
type fewClients struct {
	online map[string]bus.Connection
	absent []string
	bans   *ban.List
	full   error
	kicked []string
}

func (f *fewClients) Connection(id string) (bus.Connection, bool) {
	c, ok := f.online[id]
	return c, ok
}

func (f *fewClients) AbsentAfter(after string, n int) []string {
	list := slices.DeleteFunc(slices.Clone(f.absent), func(id string) bool { return id <= after })
	return list[:min(n, len(list))]
}

func (f *fewClients) Absent(id string) bool { return slices.Contains(f.absent, id) }

func (f *fewClients) Disconnect(id string) bool {
	_, ok := f.online[id]
	if ok {
		f.kicked = append(f.kicked, id)
	}
	return ok
}

func (f *fewClients) list() *ban.List {
	if f.bans == nil {
		f.bans, _ = ban.New(nil, func([]byte) error { return f.full })
	}
	return f.bans
}

func (f *fewClients) Ban(b ban.Ban) error           { return f.list().Add(b) }
func (f *fewClients) Unban(b ban.Ban) (bool, error) { return f.list().Remove(b) }
func (f *fewClients) Bans() []ban.Ban               { return f.list().All() }

func TestClients(t *testing.T) {
	f := &fewClients{online: map[string]bus.Connection{}, absent: []string{"b", "lamp/1"}}
	b, base := start(t, web.Options{Local: true, Authenticate: policy(t, nil), Clients: f})
	for _, id := range []string{"a", "c", "of pi"} {
		user := ""
		if id == "of pi" {
			user = "pi"
		}
		s, _, err := b.Attach(context.Background(), bus.SessionOptions{Name: id, User: user, Expiry: 100})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Subscribe(context.Background(), []bus.Filter{{Filter: "x/#"}}); err != nil {
			t.Fatal(err)
		}
		s.Detach(true, 100)
		if id == "of pi" || id == "c" {
			f.online[id] = bus.Connection{Presence: bus.Presence{Online: true, Address: "192.0.2.1:1", Version: "5", Transport: "ws", Persistent: true}, KeepAlive: 60e9, EventsIn: 3, BytesOut: 7}
		}
	}
	if _, err := b.Subscribe(context.Background(), "plugin", "x/#"); err != nil {
		t.Fatal(err)
	}
	topic, _ := bus.ClientTopic("lamp/1")
	p, err := b.Report(topic, []byte(`{"online":true,"since":"2026-01-02T03:04:05Z","address":"192.0.2.9:9","version":"3.1.1","transport":"tcp","user":"eve","persistent":false,"reason":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if _, err := b.Retained("none"); err != nil { // waits for the fold
		t.Fatal(err)
	}
	if err := f.Ban(ban.Ban{User: "banned before"}); err != nil {
		t.Fatal(err)
	}

	const root, pi, eve = "root:secret", "pi:secret", "eve:secret"
	for _, c := range []struct {
		name string
		request
		status int
		body   string // expected in the answer
	}{
		{"nobody", request{method: "GET", path: "/api/v1/clients"}, 401, ""},
		{"who may not see the bus", request{method: "GET", path: "/api/v1/clients", user: eve}, 403, "$bus/#"},
		{"one client", request{method: "GET", path: "/api/v1/clients/of%20pi", user: pi}, 200, `{"id":"of pi","online":true,"since":"0001-01-01T00:00:00Z","address":"192.0.2.1:1","version":"5","transport":"ws","user":"pi","persistent":true,"keep_alive_seconds":60,"subscriptions":1,"filters":["x/#"],"in_flight":0,"lag":0,"lag_seconds":0,"events_in":3,"events_out":0,"bytes_in":0,"bytes_out":7}`},
		{"one that is gone", request{method: "GET", path: "/api/v1/clients/lamp%2F1", user: pi}, 200, `{"id":"lamp/1","online":false,"since":"2026-01-02T03:04:05Z","address":"192.0.2.9:9","version":"3.1.1","transport":"tcp","user":"eve","persistent":false,"reason":"x",`},
		{"no such client", request{method: "GET", path: "/api/v1/clients/nope", user: pi}, 404, `no client is called \"nope\"`},
		{"a plugin is no client", request{method: "GET", path: "/api/v1/clients/@plugin", user: pi}, 404, ""},

		{"kick one's own", request{method: "POST", path: "/api/v1/clients/of%20pi/kick", user: pi}, 204, ""},
		{"kick another's", request{method: "POST", path: "/api/v1/clients/c/kick", user: pi}, 403, "belongs to another user"},
		{"kick as an administrator", request{method: "POST", path: "/api/v1/clients/c/kick", user: root}, 204, ""},
		{"kick one that is not there", request{method: "POST", path: "/api/v1/clients/a/kick", user: root}, 409, "not connected"},
		{"kick as somebody who may not see the bus", request{method: "POST", path: "/api/v1/clients/c/kick", user: eve}, 403, ""},
		{"kick from another site", request{method: "POST", path: "/api/v1/clients/c/kick", user: root, header: map[string]string{"Origin": "http://evil.example"}}, 403, ""},

		{"ban as somebody else", request{method: "POST", path: "/api/v1/clients/c/ban", user: pi}, 403, "administrators"},
		{"see bans as somebody else", request{method: "GET", path: "/api/v1/bans", user: pi}, 403, "administrators"},
		{"ban", request{method: "POST", path: "/api/v1/clients/a%2Fb/ban", user: root}, 200, `{"client":"a/b","made":"20`},
		{"ban for an hour", request{method: "POST", path: "/api/v1/clients/c/ban", body: `{"for":"1h"}`, user: root}, 200, `"until":"20`},
		{"ban for no time", request{method: "POST", path: "/api/v1/clients/c/ban", body: `{"for":"soon"}`, user: root}, 400, `no time such as 30m`},
		{"ban for nothing", request{method: "POST", path: "/api/v1/clients/c/ban", body: `{"for":"0s"}`, user: root}, 400, ``},
		{"a mistyped key", request{method: "POST", path: "/api/v1/clients/c/ban", body: `{"fro":"1h"}`, user: root}, 400, `fro`},
		{"ban a user", request{method: "POST", path: "/api/v1/bans", body: `{"user":"eve","for":"7d"}`, user: root}, 200, `{"user":"eve","until":"20`},
		{"ban an address", request{method: "POST", path: "/api/v1/bans", body: `{"address":"192.0.2.7"}`, user: root}, 200, `"by":"root"`},
		{"ban this machine", request{method: "POST", path: "/api/v1/bans", body: `{"address":"127.0.0.1"}`, user: root}, 400, `127.0.0.1 is this machine`},
		{"ban this machine, IPv6", request{method: "POST", path: "/api/v1/bans", body: `{"address":"::1"}`, user: root}, 400, `::1 is this machine`},
		{"ban two", request{method: "POST", path: "/api/v1/bans", body: `{"address":"192.0.2.7","user":"eve"}`, user: root}, 400, `exactly one`},
		{"ban nobody", request{method: "POST", path: "/api/v1/bans", body: `{}`, user: root}, 400, `exactly one`},
		{"the bans", request{method: "GET", path: "/api/v1/bans", user: root}, 200, `{"client":"a/b",`},
		{"unban", request{method: "DELETE", path: "/api/v1/clients/a%2Fb/ban", user: root}, 204, ""},
		{"unban again", request{method: "DELETE", path: "/api/v1/clients/a%2Fb/ban", user: root}, 404, "no such ban"},
		{"unban as somebody else", request{method: "DELETE", path: "/api/v1/clients/c/ban", user: pi}, 403, ""},
		{"unban a user", request{method: "DELETE", path: "/api/v1/bans?user=eve", user: root}, 204, ""},
		{"unban two", request{method: "DELETE", path: "/api/v1/bans?user=eve&client=c", user: root}, 400, "exactly one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, _, body := c.do(t, base)
			if status != c.status || !strings.Contains(body, c.body) {
				t.Errorf("%d %s, want %d %s", status, body, c.status, c.body)
			}
		})
	}
	if got := fmt.Sprint(f.kicked); got != "[of pi c]" {
		t.Error(got)
	}
	f.full = errors.New("no space left on device")
	if status, _, body := (request{method: "POST", path: "/api/v1/clients/z/ban", user: root}).do(t, base); status != 503 || !strings.Contains(body, "no space left") {
		t.Error(status, body)
	}

	// All clients, page by page.
	var ids []string
	for path := "/api/v1/clients?limit=2"; path != ""; {
		status, header, body := request{method: "GET", path: path, user: pi}.do(t, base)
		var page []struct{ ID string }
		if err := json.Unmarshal([]byte(body), &page); err != nil || status != 200 || len(page) > 2 {
			t.Fatal(status, body, err)
		}
		for _, c := range page {
			ids = append(ids, c.ID)
		}
		path = ""
		if m := regexp.MustCompile(`^<(.*)>; rel="next"$`).FindStringSubmatch(header.Get("Link")); m != nil {
			path = m[1]
		}
	}
	if got := strings.Join(ids, ","); got != "a,b,c,lamp/1,of pi" {
		t.Error(got)
	}
}

// TestAnonymousIsNoAdministrator: not even with a config that lets anonymous clients do everything.
func TestAnonymousIsNoAdministrator(t *testing.T) {
	_, base := start(t, web.Options{Local: true, Clients: &fewClients{}, Authenticate: policy(t, &auth.Rules{Publish: []string{"#"}, Subscribe: []string{"#", "$bus/#"}})})
	for user, want := range map[string]int{"": 401, "root:secret": 200, "chief:secret": 200, "pi:secret": 403} {
		if status, _, body := (request{method: "GET", path: "/api/v1/bans", user: user}).do(t, base); status != want {
			t.Errorf("%q: %d %s", user, status, body)
		}
	}
}

// adminIdentity says by itself who is an administrator.
type adminIdentity struct{ admin bool }

func (adminIdentity) MayPublish(string) bool   { return false }
func (adminIdentity) MaySubscribe(string) bool { return true }
func (adminIdentity) MayRead(string) bool      { return true }
func (a adminIdentity) Admin() bool            { return a.admin }

func TestAnAdministratorBySaying(t *testing.T) {
	for admin, want := range map[bool]int{true: 200, false: 401} {
		_, base := start(t, web.Options{Local: true, Clients: &fewClients{}, Authenticate: func(web.Credentials) (web.Identity, error) {
			return adminIdentity{admin}, nil
		}})
		if status, _, body := (request{method: "GET", path: "/api/v1/bans"}).do(t, base); status != want {
			t.Error(admin, status, body)
		}
	}
}
