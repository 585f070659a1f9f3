package auth

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/internal/turns"
)

// many is a user with several passwords.
func many(t *testing.T, name string, until time.Time) User {
	return User{Name: name, Password: cheap(t, "main"), Passwords: []NamedPassword{
		{Name: "laptop", Hash: cheap(t, "lap"), Expires: until}, {Name: "phone", Hash: cheap(t, "phone")}}}
}

// TestSeveralPasswords: each password logs in, until it expires or is removed, and takes its
// connections and its tokens with it.
func TestSeveralPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().Add(time.Hour)
		v, tokens := NewVerifier(1), NewTokens(&oneKey{})
		make := func(users ...User) *Policy {
			p, err := NewPolicy(v, Options{Users: users, Tokens: tokens})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		login := func(p *Policy, password string) *Identity {
			t.Helper()
			id, err := p.Authenticate("pi", password, true, true, "192.0.2.1:1")
			if err != nil {
				t.Fatal(password, err)
			}
			return id
		}
		p := make(many(t, "pi", until), User{Name: "certificate only"})
		main, lap, phone := login(p, "main"), login(p, "lap"), login(p, "phone")
		for range 2 { // checked, and remembered
			if _, ends := login(p, "lap").Login(); !ends.Equal(until) {
				t.Errorf("the login ends at %s", ends)
			}
			if _, ends := login(p, "phone").Login(); !ends.IsZero() {
				t.Errorf("the login ends at %s", ends)
			}
		}
		if _, err := p.Authenticate("certificate only", "", true, true, ""); !errors.Is(err, ErrRefused) {
			t.Error("a user without a password logs in with none", err)
		}
		token := func(id *Identity, life time.Duration) string {
			s, _, err := tokens.Mint(id, life)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		lapToken, phoneToken := token(lap, 30*time.Minute), token(phone, 2*time.Hour)
		if _, _, err := tokens.Mint(lap, 2*time.Hour); !errors.Is(err, ErrTokenLife) {
			t.Error("a token outlives its password", err)
		}
		if id, _ := p.Lookup("certificate only"); id != nil {
			if _, _, err := tokens.Mint(id, 0); !errors.Is(err, ErrTokenLogin) {
				t.Error(err)
			}
		}

		// A reload removes the phone's password.
		fewer := many(t, "pi", until)
		fewer.Passwords = fewer.Passwords[:1]
		q := make(fewer)
		for name, c := range map[string]struct {
			old  *Identity
			want error
		}{"main": {main, nil}, "laptop": {lap, nil}, "phone": {phone, ErrPasswordChanged}, "the phone's token": {login(p, phoneToken), ErrPasswordChanged}} {
			if id, err := q.Renew(c.old, "c", true); !errors.Is(err, c.want) || (id == nil) != (err != nil) {
				t.Errorf("%s after the reload: %v", name, err)
			}
		}
		if _, err := q.Authenticate("pi", "phone", true, true, "192.0.2.1:1"); !errors.Is(err, ErrRefused) {
			t.Error("a removed password", err)
		}
		if _, err := q.Authenticate("", phoneToken, true, true, ""); !errors.Is(err, ErrTokenRevoked) {
			t.Error("a removed password's token", err)
		}
		login(q, lapToken)

		// One that lets the laptop's password expire earlier ends its logins then.
		r := make(many(t, "pi", time.Now().Add(time.Minute)))
		if id, err := r.Renew(login(q, lapToken), "c", true); err != nil || !id.until.Equal(time.Now().Add(time.Minute)) {
			t.Error("a token outlives its password after a reload", err)
		}
		// One that lets it never expire leaves the token's end.
		never := make(many(t, "pi", time.Time{}))
		if id, err := never.Renew(login(q, lapToken), "c", true); err != nil || !id.until.Equal(time.Now().Add(30*time.Minute)) {
			t.Error("a token does not end any more", id, err)
		}
		if id, err := never.Renew(lap, "c", true); err != nil || !id.until.IsZero() {
			t.Error("a login still ends", err)
		}

		time.Sleep(time.Hour)
		for range 2 {
			_, err := p.Authenticate("pi", "lap", true, true, "192.0.2.1:1")
			var e *ExpiredError
			if !errors.As(err, &e) || !errors.Is(err, ErrRefused) || err.Error() != ErrRefused.Error() || e.User != "pi" || e.Password != "laptop" || !e.At.Equal(until) {
				t.Errorf("an expired password: %v", err)
			}
		}
		if _, err := p.Renew(lap, "c", true); !errors.Is(err, ErrPasswordChanged) {
			t.Error("an expired login is renewed", err)
		}
		if _, ok := p.LookupPassword("pi", "laptop"); ok {
			t.Error("an expired password is found")
		}
		if id, ok := p.LookupPassword("pi", "phone"); !ok || id.print != phone.print {
			t.Error("no password of that name")
		}
		login(p, "phone")
	})
}

// TestPasswordsTakeTheSameTime: a refusal costs the same for every user, whatever the number of its
// passwords is, and also when the password is right and has expired.
func TestPasswordsTakeTheSameTime(t *testing.T) {
	past := time.Now().Add(-time.Hour)
	p, costs := counted(t, Options{Users: []User{many(t, "pi", past), {Name: "ann", Password: cheap(t, "x")}, {Name: "none"}}})
	for _, c := range []struct {
		user, password string
		hashes         int
	}{
		{"pi", "wrong", 3}, {"ann", "wrong", 3}, {"none", "wrong", 3}, {"nobody", "wrong", 3},
		{"pi", "lap", 3}, {"pi", "lap", 3}, // it is not remembered
		{"pi", "main", 1}, {"pi", "main", 0}, {"pi", "phone", 3}, {"pi", "phone", 0}, {"ann", "x", 1},
	} {
		before := len(costs())
		_, err := p.Authenticate(c.user, c.password, true, true, "192.0.2.1:1")
		all := costs()
		if got := all[before:]; len(got) != c.hashes || strings.Join(all, "") != strings.Repeat(all[0], len(all)) {
			t.Errorf("%s, %s (%v): %q", c.user, c.password, err, got)
		}
	}
}

// TestAnExpiredPasswordIsDelayed: guesses and an expired password wait alike.
func TestAnExpiredPasswordIsDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took [2]time.Duration
		for i, password := range []string{"lap", "wrong"} {
			p := policy(t, Options{Users: []User{many(t, "pi", time.Now().Add(-time.Hour))}})
			start := time.Now()
			for range 5 {
				if _, err := p.Authenticate("pi", password, true, true, "192.0.2.1:1"); !errors.Is(err, ErrRefused) {
					t.Fatal(err)
				}
			}
			took[i] = time.Since(start)
		}
		if took[0] != took[1] || took[0] < 4*turns.FirstDelay {
			t.Errorf("it took %v", took)
		}
	})
}

func TestPasswordMistakes(t *testing.T) {
	hash := cheap(t, "x")
	var nine []NamedPassword
	for i := range MaxPasswords + 1 {
		nine = append(nine, NamedPassword{Name: fmt.Sprint(i), Hash: cheap(t, fmt.Sprint(i))})
	}
	for want, u := range map[string]User{
		`password "a": the same name or hash twice`: {Password: hash, Passwords: []NamedPassword{{Name: "a", Hash: hash}}},
		`password "b": the same name or hash twice`: {Passwords: []NamedPassword{{Name: "b", Hash: hash}, {Name: "b", Hash: cheap(t, "y")}}},
		`password "c": not a usable`:                {Passwords: []NamedPassword{{Name: "c", Hash: "secret"}}},
		"9 passwords, at most 8":                    {Passwords: nine},
	} {
		u.Name = "pi"
		if _, err := NewPolicy(NewVerifier(1), Options{Users: []User{u}}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestARememberedPasswordExpires: from then on it takes the time of a wrong one.
func TestARememberedPasswordExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, costs := counted(t, Options{Users: []User{many(t, "pi", time.Now().Add(time.Hour))}})
		for i, want := range []int{2, 2, 5, 8} {
			if i == 2 {
				time.Sleep(time.Hour)
			}
			p.Authenticate("pi", "lap", true, true, "192.0.2.1:1")
			if n := len(costs()); n != want {
				t.Errorf("login %d: %d hashes in all, want %d", i, n, want)
			}
		}
	})
}
