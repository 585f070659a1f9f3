package ban_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/ban"
)

func TestBans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stored []byte
		var broken error
		save := func(b []byte) error {
			if broken == nil {
				stored = b
			}
			return broken
		}
		l, err := ban.New(nil, save)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := l.Find("", "", ""); ok {
			t.Error("an empty list bans")
		}
		for _, b := range []ban.Ban{{Client: "pump"}, {User: "eve", Until: time.Now().Add(time.Hour)}, {Address: "::ffff:192.0.2.7"}, {Address: "2001:db8::1"}} {
			if err := l.Add(b); err != nil {
				t.Fatal(err)
			}
		}
		check := func(when string, l *ban.List, eve bool) {
			t.Helper()
			for _, c := range []struct {
				client, user, address string
				banned                bool
			}{
				{"pump", "", "192.0.2.1:1", true}, {"", "eve", "", eve}, {"x", "", "192.0.2.7:99", true}, {"x", "pi", "[2001:db8::1]:1", true},
				{"eve", "pump", "192.0.2.1:1", false}, {"", "", "@", false}, {"192.0.2.7", "192.0.2.7", "/run/x.sock", false}, {"", "", "[::ffff:192.0.2.7]:5", true},
			} {
				if b, banned := l.Find(c.client, c.user, c.address); banned != c.banned {
					t.Errorf("%s: %+v: banned %v by %v", when, c, banned, b)
				}
			}
		}
		check("at first", l, true)
		if l, err = ban.New(stored, save); err != nil {
			t.Fatal(err)
		}
		check("read again", l, true)
		if all := fmt.Sprint(l.All()); all != `[the client identifier "pump" is banned the user "eve" is banned until 2000-01-01T01:00:00Z the address 192.0.2.7 is banned the address 2001:db8::1 is banned]` {
			t.Error(all)
		}
		time.Sleep(time.Hour)
		check("an hour later", l, false)
		if n := len(l.All()); n != 3 {
			t.Errorf("%d bans after one is over", n)
		}

		broken = errors.New("no space left on device")
		var failed *ban.SaveError
		if err := l.Add(ban.Ban{Client: "x"}); !errors.As(err, &failed) {
			t.Error(err)
		}
		if existed, err := l.Remove(ban.Ban{Client: "pump"}); !errors.As(err, &failed) {
			t.Error(existed, err)
		}
		check("after changes that could not be stored", l, false)
		broken = nil
		if existed, err := l.Remove(ban.Ban{Client: "pump"}); !existed || err != nil {
			t.Error(existed, err)
		}
		if existed, err := l.Remove(ban.Ban{Client: "pump"}); existed || err != nil {
			t.Error(existed, err)
		}
		if strings.Contains(string(stored), "eve") || strings.Contains(string(stored), "pump") {
			t.Errorf("what is over is stored: %s", stored)
		}
	})
}

func TestBansAreBounded(t *testing.T) {
	writes := 0
	l, err := ban.New([]byte(many()), func([]byte) error { writes++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Add(ban.Ban{Client: "one more"}); !errors.Is(err, ban.ErrFull) || writes != 0 {
		t.Error(err, writes)
	}
	if err := l.Add(ban.Ban{Client: "c7", By: "root"}); err != nil {
		t.Error(err)
	}
}

func many() string {
	var b strings.Builder
	for i := range ban.Max {
		fmt.Fprintf(&b, `,{"client":"c%d"}`, i)
	}
	return "[" + b.String()[1:] + "]"
}

func TestBadBans(t *testing.T) {
	l, err := ban.New(nil, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for want, b := range map[string]ban.Ban{
		"exactly one of":             {},
		"exactly one of client":      {Client: "a", User: "b"},
		"127.0.0.1 is this machine":  {Address: "127.0.0.1"},
		"127.1.2.3 is this machine":  {Address: "127.1.2.3"},
		"::1 is this machine":        {Address: "::1"},
		"::ffff:127.0.0.1 is this":   {Address: "::ffff:127.0.0.1"},
		"0.0.0.0 is this machine":    {Address: "0.0.0.0"},
		`"pi.local" is not an IP`:    {Address: "pi.local"},
		`"192.0.2.1:80" is not an`:   {Address: "192.0.2.1:80"},
		"at most 1024 bytes":         {Client: strings.Repeat("x", 1025)},
		"at most 1024 bytes of UTF-": {User: "\xff"},
	} {
		if err := l.Add(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", b, err, want)
		}
	}
	for _, data := range []string{"{", `[{"client":"a","user":"b"}]`, `{"client":"a"}`, `[{"address":"127.0.0.1"}]`} {
		if _, err := ban.New([]byte(data), nil); err == nil {
			t.Errorf("%s is accepted", data)
		}
	}
}
