package auth

// This file tests tokens: which of them are accepted, and the errors of the others.

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// oneKey stores a key in memory.
type oneKey struct {
	key []byte
	err error
}

func (k *oneKey) Key() ([]byte, error) {
	if k.key == nil && k.err == nil {
		return nil, fs.ErrNotExist
	}
	return k.key, k.err
}

func (k *oneKey) MakeKey() ([]byte, error) {
	if k.key == nil {
		k.key = NewTokenKey()
	}
	return k.key, k.err
}

// sign makes tokens that Mint would not make.
func sign(t testing.TB, m jwt.SigningMethod, key any, c jwt.Claims) string {
	t.Helper()
	s, err := jwt.NewWithClaims(m, c).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokens(t *testing.T) {
	keys := &oneKey{}
	tokens := NewTokens(keys)
	now := time.Now()
	tokens.now = func() time.Time { return now }
	right, other := cheap(t, "right"), cheap(t, "other")
	users := []User{{Name: "pi", Password: right}, {Name: "cat", Password: right}}
	before := policy(t, Options{Users: users, Tokens: tokens})
	pi, err := before.Authenticate("pi", "right", true, false, "192.0.2.1:1")
	if err != nil {
		t.Fatal(err)
	}
	good, ends, err := tokens.Mint(pi, time.Hour)
	if err != nil || ends.Sub(now) < time.Hour || ends.Sub(now) > time.Hour+time.Second {
		t.Fatal(ends, err)
	}
	jwtClaims := func(sub, pwd string, iat, exp time.Time) jwt.MapClaims {
		return jwt.MapClaims{"sub": sub, "pwd": pwd, "iat": iat.Unix(), "exp": exp.Unix()}
	}
	print, hour := fingerprint(right), now.Add(time.Hour)
	fine := jwtClaims("pi", print, now, hour)
	parts := strings.Split(good, ".")
	reheaded := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "." + parts[2]
	forever := jwtClaims("pi", print, now, now.Add(MaxTokenLife+time.Minute))
	for _, c := range []struct {
		name        string
		user, token string
		want        error
	}{
		{"without a user name", "", good, nil},
		{"with its user's name", "pi", good, nil},
		{"made by hand, as a check of this test", "", sign(t, jwt.SigningMethodHS256, keys.key, fine), nil},
		{"with another user's name", "cat", good, ErrTokenUser},
		{"with a name that nobody has", "dog", good, ErrTokenUser},
		{"a foreign key", "", sign(t, jwt.SigningMethodHS256, NewTokenKey(), fine), ErrToken},
		{"a foreign key and a name: perhaps a password", "pi", sign(t, jwt.SigningMethodHS256, NewTokenKey(), fine), ErrRefused},
		{"alg none", "", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, fine), ErrToken},
		{"alg none over a good signature", "", reheaded, ErrToken},
		{"HS384", "", sign(t, jwt.SigningMethodHS384, keys.key, fine), ErrToken},
		{"HS512", "", sign(t, jwt.SigningMethodHS512, keys.key, fine), ErrToken},
		{"no signature", "", parts[0] + "." + parts[1] + ".", ErrToken},
		{"another body", "", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"cat","exp":9999999999}`)) + "." + parts[2], ErrToken},
		{"expired", "", sign(t, jwt.SigningMethodHS256, keys.key, jwtClaims("pi", print, now.Add(-time.Hour), now.Add(-time.Minute))), ErrTokenExpired},
		{"just expired: no leeway", "", sign(t, jwt.SigningMethodHS256, keys.key, jwtClaims("pi", print, now.Add(-time.Hour), now)), ErrTokenExpired},
		{"from a clock a little ahead", "", sign(t, jwt.SigningMethodHS256, keys.key, jwtClaims("pi", print, now.Add(3*time.Second), hour)), nil},
		{"from the future", "", sign(t, jwt.SigningMethodHS256, keys.key, jwtClaims("pi", print, now.Add(time.Minute), hour)), ErrTokenClock},
		{"longer than there are", "", sign(t, jwt.SigningMethodHS256, keys.key, forever), ErrToken},
		{"no end", "", sign(t, jwt.SigningMethodHS256, keys.key, jwt.MapClaims{"sub": "pi", "pwd": print, "iat": now.Unix()}), ErrToken},
		{"no beginning", "", sign(t, jwt.SigningMethodHS256, keys.key, jwt.MapClaims{"sub": "pi", "pwd": print, "exp": hour.Unix()}), ErrToken},
		{"another password's", "", sign(t, jwt.SigningMethodHS256, keys.key, jwtClaims("pi", fingerprint(other), now, hour)), ErrTokenRevoked},
		{"no password's", "", sign(t, jwt.SigningMethodHS256, keys.key, jwtClaims("pi", "", now, hour)), ErrTokenRevoked},
		{"nobody's", "", sign(t, jwt.SigningMethodHS256, keys.key, jwtClaims("", print, now, hour)), ErrTokenRevoked},
		{"an unknown user's", "", sign(t, jwt.SigningMethodHS256, keys.key, jwtClaims("dog", print, now, hour)), ErrTokenRevoked},
		{"garbage", "", "eyJ..", ErrToken},
		{"garbage in three parts", "", "eyJhbGciOiJIUzI1NiJ9.AAAA.AAAA", ErrToken},
		{"something behind", "", good + "x", ErrToken},
		{"a line break", "", good + "\n", ErrRefused},
		{"huge", "", good + strings.Repeat("x", maxToken), ErrRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := before.Authenticate(c.user, c.token, true, false, "192.0.2.1:1")
			if !errors.Is(err, c.want) || (err == nil) != (id != nil) {
				t.Fatalf("%v, %v; want %v", id, err, c.want)
			}
			if err != nil {
				if c.token != "eyJ.." && strings.Contains(err.Error(), c.token) {
					t.Errorf("the error shows the token: %v", err)
				}
				return
			}
			if user, until := id.Login(); user != "pi" || until.Unix() != hour.Add(time.Second-1).Truncate(time.Second).Unix() && until.Unix() != hour.Unix() || id.Anonymous {
				t.Errorf("it is %q until %s", user, until)
			}
		})
	}
	if _, until := pi.Login(); !until.IsZero() {
		t.Error("a password ends", until)
	}
	for name, c := range map[string]struct {
		users []User
		want  error
	}{
		"the password was changed": {[]User{{Name: "pi", Password: other}}, ErrTokenRevoked},
		"the user was removed":     {[]User{{Name: "cat", Password: right}}, ErrTokenRevoked},
		"the rights were changed":  {[]User{{Name: "pi", Password: right, Rules: Rules{Publish: []string{"a"}}}}, nil},
	} {
		id, err := policy(t, Options{Users: c.users, Tokens: tokens}).Authenticate("", good, true, false, "192.0.2.1:1")
		if !errors.Is(err, c.want) || err == nil && !id.MayPublish("a") {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	now = ends
	if _, err := before.Authenticate("", good, true, false, "192.0.2.1:1"); !errors.Is(err, ErrTokenExpired) {
		t.Errorf("at its end: %v", err)
	}
}

// TestTokenLives: a client gets no token above the maximum, nor one that outlives its own.
func TestTokenLives(t *testing.T) {
	tokens := NewTokens(&oneKey{})
	p := policy(t, Options{Users: []User{{Name: "pi", Password: cheap(t, "right")}}, Anonymous: &Rules{}, Tokens: tokens})
	pi, _ := p.LookupPassword("pi", "")
	nobody, _ := p.Lookup("")
	short, ends, err := tokens.Mint(pi, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	guest, err := p.Authenticate("", short, true, false, "192.0.2.1:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id   *Identity
		life time.Duration
		want error
	}{
		{pi, time.Second, nil}, {pi, MaxTokenLife, nil}, {pi, 0, nil}, {guest, 30 * time.Second, nil}, {guest, 0, nil},
		{pi, MaxTokenLife + 1, ErrTokenLife}, {pi, time.Millisecond, ErrTokenLife}, {pi, -time.Hour, ErrTokenLife}, {pi, 1<<63 - 1, ErrTokenLife},
		{guest, 2 * time.Minute, ErrTokenLife}, {nobody, time.Minute, ErrAnonymous},
	} {
		token, until, err := tokens.Mint(c.id, c.life)
		if !errors.Is(err, c.want) || (token == "") != (err != nil) {
			t.Errorf("%q for %s: %q, %v; want %v", c.id.Name, c.life, token, err, c.want)
		}
		if err == nil && c.id == guest && until.After(ends) {
			t.Errorf("a token made one that lives until %s, and itself until %s", until, ends)
		}
		if err == nil {
			if _, err := p.Authenticate("", token, true, false, "192.0.2.1:1"); err != nil {
				t.Errorf("for %s: %v", c.life, err)
			}
		}
	}
}

func TestTokenKeys(t *testing.T) {
	keys := &oneKey{}
	tokens := NewTokens(keys)
	p := policy(t, Options{Users: []User{{Name: "pi", Password: cheap(t, "right")}}, Tokens: tokens})
	pi, _ := p.LookupPassword("pi", "")
	token, _, err := NewTokens(&oneKey{}).Mint(pi, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Authenticate("", token, true, true, "192.0.2.1:1"); !errors.Is(err, ErrToken) {
		t.Errorf("where no key was ever made: %v", err)
	}
	keys.err = errors.New("disk on fire")
	if _, err := p.Authenticate("", token, true, true, "192.0.2.1:1"); !errors.Is(err, ErrTokenKey) {
		t.Errorf("a key that can't be read: %v", err)
	}
	if _, _, err := tokens.Mint(pi, time.Hour); !errors.Is(err, ErrTokenKey) {
		t.Errorf("a key that can't be made: %v", err)
	}
	if _, err := p.Authenticate("pi", "right", true, true, "192.0.2.1:1"); err != nil {
		t.Errorf("passwords need no key: %v", err)
	}
	without := policy(t, Options{Users: []User{{Name: "pi", Password: cheap(t, "right")}}})
	if _, err := without.Authenticate("", token, true, true, "192.0.2.1:1"); !errors.Is(err, ErrRefused) {
		t.Errorf("where there are no tokens: %v", err)
	}
}

// A password that looks like a token is a password.
func TestPasswordLikeAToken(t *testing.T) {
	const password = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwaSJ9.c2ln"
	p := policy(t, Options{Users: []User{{Name: "pi", Password: cheap(t, password)}}, Tokens: NewTokens(&oneKey{key: NewTokenKey()})})
	if _, err := p.Authenticate("pi", password, true, false, "192.0.2.1:1"); err != nil {
		t.Error(err)
	}
	if _, err := p.Authenticate("", password, true, false, "192.0.2.1:1"); !errors.Is(err, ErrToken) {
		t.Error(err)
	}
}

// FuzzToken: only tokens that this bus signed are accepted, and every error is one of this
// package's.
func FuzzToken(f *testing.F) {
	tokens := NewTokens(&oneKey{})
	p := policy(f, Options{Users: []User{{Name: "pi", Password: cheap(f, "right")}}, Tokens: tokens})
	pi, _ := p.LookupPassword("pi", "")
	good, _, err := tokens.Mint(pi, MaxTokenLife)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{good, "", "eyJ..", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJwaSJ9.", "eyJhbGciOiJIUzI1NiIsImNyaXQiOlsiYiJdfQ.e30.AA"} {
		f.Add("", s)
		f.Add("pi", s)
	}
	body := good[:strings.LastIndex(good, ".")]
	var from atomic.Uint32
	f.Fuzz(func(t *testing.T, user, token string) {
		// What is no token is a wrong password, after which an address waits: each comes from another.
		n := from.Add(1)
		id, err := p.Authenticate(user, token, true, true, fmt.Sprintf("10.%d.%d.%d:1", byte(n>>16), byte(n>>8), byte(n)))
		if err == nil && token != "right" && !strings.HasPrefix(token, body) {
			t.Fatalf("%q let %q in", token, id.Name)
		}
		for _, known := range []error{ErrRefused, ErrToken, ErrTokenExpired, ErrTokenUser, ErrTokenRevoked} {
			if errors.Is(err, known) {
				return
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}

func ExampleTokens() {
	hash, _ := Hash("secret")
	tokens := NewTokens(&oneKey{})
	p, _ := NewPolicy(NewVerifier(0), Options{Users: []User{{Name: "pi", Password: hash}}, Tokens: tokens})
	id, _ := p.Authenticate("pi", "secret", true, false, "192.0.2.1:1")
	token, _, _ := tokens.Mint(id, time.Hour)
	id, err := p.Authenticate("", token, true, false, "192.0.2.1:1")
	fmt.Println(id.Name, err)
	// Output: pi <nil>
}
