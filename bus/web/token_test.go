package web_test

// This file tests tokens over HTTP: which clients get one, and where it is accepted.

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/bus/internal/logtest"
	"github.com/postbus/postbus/bus/web"
)

type memoryKey []byte

func (k memoryKey) Key() ([]byte, error)     { return k, nil }
func (k memoryKey) MakeKey() ([]byte, error) { return k, nil }

func TestTokens(t *testing.T) {
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	tokens := auth.NewTokens(memoryKey(auth.NewTokenKey()))
	p, err := auth.NewPolicy(auth.NewVerifier(0), auth.Options{Tokens: tokens, Anonymous: &auth.Rules{Publish: []string{"open/#"}}, Users: []auth.User{
		{Name: "pi", Password: hash, Rules: auth.Rules{Publish: []string{"home/#"}, Subscribe: []string{"home/#", "$bus/#"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	var log logtest.Buffer
	b, base := start(t, web.Options{Local: true, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Authenticate: func(c web.Credentials) (web.Identity, error) {
			id, err := p.Authenticate(c.User, c.Password, c.HasPassword, c.Local, c.Address)
			if err != nil {
				return nil, err
			}
			return id, nil
		},
		Mint: func(id web.Identity, life string) (string, time.Time, error) {
			if life == "a disk on fire" {
				return "", time.Time{}, errors.New("not now")
			}
			var d time.Duration
			if life != "" {
				var err error
				if d, err = time.ParseDuration(life); err != nil {
					return "", time.Time{}, fmt.Errorf("%w: %v", web.ErrTokenLife, err)
				}
			}
			token, ends, err := tokens.Mint(id.(*auth.Identity), d)
			if errors.Is(err, auth.ErrTokenLife) {
				err = fmt.Errorf("%w: %v", web.ErrTokenLife, err)
			}
			return token, ends, err
		}})
	mint := func(body, user, bearer string) (status int, token string, expires time.Time, text string) {
		t.Helper()
		r := request{method: "POST", path: "/api/v1/token", body: body, user: user}
		if bearer != "" {
			r.header = map[string]string{"Authorization": "Bearer " + bearer}
		}
		status, _, text = r.do(t, base)
		var got struct {
			Token, User string
			Expires     time.Time
		}
		if status == 200 {
			if err := json.Unmarshal([]byte(text), &got); err != nil || got.User != "pi" {
				t.Errorf("%s: %v", text, err)
			}
		}
		return status, got.Token, got.Expires, text
	}
	_, token, ends, _ := mint(`{"for": "1h"}`, "pi:secret", "")
	if left := time.Until(ends); left < 59*time.Minute || left > 61*time.Minute {
		t.Errorf("it ends in %s", left)
	}
	_, short, _, _ := mint(`{"for": "1s"}`, "pi:secret", "")
	forged := token[:len(token)-8] + "AAAAAAAA"
	for _, c := range []struct {
		name, body, user, bearer string
		status                   int
		wantText                 string
	}{
		{"without a word about how long", `{}`, "pi:secret", "", 200, `"token":"eyJ`},
		{"a token makes a shorter one", `{"for": "1m"}`, "", token, 200, `"token":"eyJ`},
		{"a token makes one that ends with it", `{}`, "", token, 200, ends.Format(time.RFC3339)},
		{"a token makes no longer one", `{"for": "2h"}`, "", token, 400, "cannot outlive"},
		{"anonymous", `{"for": "1h"}`, "", "", 401, "this client is anonymous"},
		{"a wrong password", `{"for": "1h"}`, "pi:guess", "", 401, "wrong"},
		{"too long", `{"for": "1000h"}`, "pi:secret", "", 400, "30 days"},
		{"no duration", `{"for": "soon"}`, "pi:secret", "", 400, "duration"},
		{"a number", `{"for": 3600}`, "pi:secret", "", 400, "for"},
		{"an unknown key", `{"four": "1h"}`, "pi:secret", "", 400, "four"},
		{"for somebody else", `{"user": "root"}`, "pi:secret", "", 400, "user"},
		{"two values", `{}{}`, "pi:secret", "", 400, "more than one"},
		{"a key that cannot be made", `{"for": "a disk on fire"}`, "pi:secret", "", 503, "not now"},
		{"a forged token", `{}`, "", forged, 401, "not issued by this bus"},
		{"a bearer of a password", `{}`, "", "secret", 401, "wrong"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, _, _, text := mint(c.body, c.user, c.bearer); status != c.status || !strings.Contains(text, c.wantText) {
				t.Errorf("got %d %s, want %d with %q", status, text, c.status, c.wantText)
			}
		})
	}
	const event = `{"topic": "home/x", "payload": "1"}`
	use := func(name, user, header, body string, status int, wantText string) {
		t.Helper()
		r := request{method: "POST", path: "/api/v1/publish", body: body, user: user}
		if header != "" {
			r.header = map[string]string{"Authorization": header}
		}
		got, h, text := r.do(t, base)
		if got != status || !strings.Contains(text, wantText) {
			t.Errorf("%s: %d %s, want %d with %q", name, got, text, status, wantText)
		}
		if want := strings.HasPrefix(header, "Bearer"); got == 401 && strings.HasPrefix(h.Get("WWW-Authenticate"), "Bearer") != want {
			t.Errorf("%s: challenged by %q", name, h.Get("WWW-Authenticate"))
		}
	}
	use("as a bearer token", "", "Bearer "+token, event, 200, `"seq"`)
	use("in other letters", "", "bearer  "+token, event, 200, `"seq"`)
	use("as a password", "pi:"+token, "", event, 200, `"seq"`)
	use("as a password without a name", ":"+token, "", event, 200, `"seq"`)
	use("as another user's password", "root:"+token, "", event, 401, "another user")
	use("with the user's rights", "", "Bearer "+token, `{"topic": "garden/x"}`, 403, "not allowed")
	use("not with anonymous's", "", "Bearer "+token, `{"topic": "open/x"}`, 403, "not allowed")
	use("forged", "", "Bearer "+forged, event, 401, "not issued by this bus")
	use("empty", "", "Bearer ", event, 401, "wrong")
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := p.Authenticate("", short, true, true, "192.0.2.1:1"); err != nil {
			break
		}
	}
	use("expired", "", "Bearer "+short, event, 401, "has expired")
	sources := map[string]bool{}
	if err := b.History(t.Context(), "home/#", bus.Since{Seq: 1}, func(e bus.Event) bool {
		sources[e.Source] = true
		return true
	}); err != nil || len(sources) != 1 || !sources["http:pi"] {
		t.Errorf("published by %v %v", sources, err)
	}
	if text := log.String(); !strings.Contains(text, "HTTP request refused") || strings.Contains(text, "eyJ") || strings.Contains(text, "secret") {
		t.Errorf("the log has a token, a password or nothing:\n%s", text)
	}
}
