package issuer

// This file has tests of keys: where they come from, and what is used while they can't be had.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/internal/logtest"
	"github.com/postbus/postbus/bus/quiet"
)

func newLog() (*logtest.Buffer, *slog.Logger) {
	l := &logtest.Buffer{}
	return l, slog.New(slog.NewTextHandler(l, nil))
}

// provider is an issuer's JWKS on virtual time.
type provider struct {
	mu    sync.Mutex
	data  []byte
	err   error
	takes time.Duration
	asked int
}

func (r *provider) set(data []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data, r.err = data, err
}

func (r *provider) times() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func (r *provider) get(ctx context.Context) ([]byte, error) {
	r.mu.Lock()
	r.asked++
	takes := r.takes
	r.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.data, r.err
}

// fromProvider is an Issuers whose keys come from r.
func fromProvider(r *provider, log *slog.Logger) (*Issuers, *source) {
	s := newSource("https://id.example/jwks.json", log, &quiet.Log{})
	s.get = r.get
	s.start(true)
	return &Issuers{entries: []Entry{{testIssuer, testAudience, s.location}}, sources: []*source{s}, log: log, quiet: &quiet.Log{}}, s
}

func TestAnUnknownKeyIsFetchedOnceAMinute(t *testing.T) {
	old, next := signers()["ES256"], signers()["EdDSA"]
	synctest.Test(t, func(t *testing.T) {
		r := &provider{data: jwks(t, old.jwk()), takes: time.Second}
		i, s := fromProvider(r, slog.New(slog.DiscardHandler))
		defer s.close()
		if _, err := i.Verify(old.token(t, claims(nil))); err != nil { // it waits for the first fetch
			t.Fatal(err)
		}
		forged := func() {
			for n := range 1000 {
				if _, err := i.Verify((&signer{fmt.Sprint("forged", n), next.method, next.private}).token(t, claims(nil))); err == nil {
					t.Fatal("a forged token was accepted")
				}
			}
		}
		before := time.Now()
		forged()
		if r.times() != 1 || time.Since(before) > 0 {
			t.Errorf("within the minute: %d requests, waited %s", r.times(), time.Since(before))
		}
		time.Sleep(fetchAgain)
		synctest.Wait()
		if r.times() != 2 {
			t.Errorf("a minute later: %d requests, want 2", r.times())
		}
		r.set(jwks(t, old.jwk(), next.jwk()), nil)
		time.Sleep(2 * fetchAgain)
		var logins sync.WaitGroup // of the new key: all wait for one request
		for range 20 {
			logins.Go(func() {
				if _, err := i.Verify(next.token(t, claims(nil))); err != nil {
					t.Error(err)
				}
			})
		}
		logins.Wait()
		if r.times() != 3 {
			t.Errorf("%d requests, want 3", r.times())
		}
		time.Sleep(fetchEvery + time.Minute)
		if r.times() != 4 {
			t.Errorf("an hour later: %d requests, want 4", r.times())
		}
		r.set(jwks(t, next.jwk()), nil)
		time.Sleep(fetchEvery)
		synctest.Wait()
		if _, err := i.Verify(old.token(t, claims(map[string]any{"exp": time.Now().Add(time.Hour).Unix()}))); err == nil {
			t.Error("a key that the issuer has withdrawn is still accepted")
		}
	})
}

func TestKeysThatCanNotBeFetched(t *testing.T) {
	es := signers()["ES256"]
	synctest.Test(t, func(t *testing.T) {
		book, log := newLog()
		r := &provider{err: errors.New("no route to host"), takes: time.Second}
		i, s := fromProvider(r, log)
		defer s.close()
		token := es.token(t, claims(map[string]any{"exp": time.Now().Add(100 * time.Hour).Unix()}))
		_, err := i.Verify(token)
		if !errors.Is(err, ErrKeys) || !strings.Contains(err.Error(), "the keys of issuer https://id.example could not be fetched") {
			t.Errorf("%v", err)
		}
		for range 100 {
			before := time.Now()
			if _, err := i.Verify(token); !errors.Is(err, ErrKeys) || time.Since(before) > 0 {
				t.Fatalf("%v after %s", err, time.Since(before))
			}
		}
		time.Sleep(10*time.Minute + time.Second)
		if n := r.times(); n > 11 || n < 10 {
			t.Errorf("%d requests in ten minutes", n)
		}
		if n := strings.Count(book.String(), "could not be fetched"); n > 11 || n < 9 {
			t.Errorf("%d lines in ten minutes:\n%s", n, book)
		}
		r.set(jwks(t, es.jwk()), nil)
		time.Sleep(2 * fetchAgain)
		if _, err := i.Verify(token); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"", "{}", `{"keys":[]}`, `<html>`, `{"keys":[{"kty":"oct","k":"AAAA"}]}`} { // the old ones stay
			r.set([]byte(bad), nil)
			time.Sleep(2 * fetchEvery)
			if _, err := i.Verify(token); err != nil {
				t.Errorf("after %q: %v", bad, err)
			}
		}
	})
}

// TestLoginsThatWaitAreBounded: a flood while the issuer does not answer holds few goroutines.
func TestLoginsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, s := fromProvider(&provider{takes: time.Hour}, slog.New(slog.DiscardHandler))
		defer s.close()
		token := signers()["ES256"].token(t, claims(nil))
		var flood sync.WaitGroup
		for range 10 * maxWaiting {
			flood.Go(func() { i.Verify(token) })
		}
		synctest.Wait()
		if s.waiting != maxWaiting {
			t.Errorf("%d wait, want %d", s.waiting, maxWaiting)
		}
		before := time.Now()
		if _, err := i.Verify(token); !errors.Is(err, ErrKeys) || time.Since(before) > 0 {
			t.Errorf("%v after %s", err, time.Since(before))
		}
		flood.Wait()
		if s.waiting != 0 {
			t.Errorf("%d still wait", s.waiting)
		}
	})
}

func TestACloseEndsLoginsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, s := fromProvider(&provider{takes: time.Hour}, slog.New(slog.DiscardHandler))
		done := make(chan error)
		go func() {
			_, err := i.Verify(signers()["ES256"].token(t, claims(nil)))
			done <- err
		}()
		synctest.Wait()
		s.close()
		if err := <-done; !errors.Is(err, ErrKeys) {
			t.Error(err)
		}
		time.Sleep(2 * fetchAgain)
		if _, err := i.Verify(signers()["ES256"].token(t, claims(nil))); !errors.Is(err, ErrKeys) {
			t.Error(err)
		}
	})
}

func TestIgnoredKeysAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book, log := newLog()
		r := &provider{data: jwks(t, signers()["ES256"].jwk(), map[string]any{"kty": "oct", "kid": "s", "k": "c2VjcmV0"}, map[string]any{"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"})}
		_, s := fromProvider(r, log)
		defer s.close()
		time.Sleep(10 * fetchEvery)
		if n := strings.Count(book.String(), "ignored="); n != 1 || strings.Count(book.String(), "oct") != 1 || strings.Count(book.String(), "c2VjcmV0") > 0 {
			t.Errorf("%d lines:\n%s", n, book)
		}
	})
}

func TestKeySets(t *testing.T) {
	es, rs := signers()["ES256"].jwk(), signers()["RS256"].jwk()
	with := func(k map[string]any, name string, value any) map[string]any {
		c := map[string]any{name: value}
		for n, v := range k {
			if n != name {
				c[n] = v
			}
		}
		return c
	}
	many := make([]map[string]any, maxKeys+1)
	for n := range many {
		many[n] = es
	}
	for name, c := range map[string]struct {
		data []byte
		want string // the error; "": none
	}{
		"good":            {jwks(t, es, rs), ""},
		"own alg":         {jwks(t, with(rs, "alg", "PS256")), ""},
		"verify":          {jwks(t, with(rs, "key_ops", []string{"verify"})), ""},
		"x5c":             {jwks(t, with(rs, "x5c", []string{"not looked at"})), ""},
		"unknown member":  {jwks(t, with(rs, "x", 1)), "a number where it can't be"},
		"large":           {bytes.Repeat([]byte(" "), MaxKeySet+1), "more than 1048576 bytes"},
		"many":            {jwks(t, many...), "101 keys"},
		"no JSON":         {[]byte("<html>"), "not a JWKS"},
		"array":           {[]byte("[]"), "not a JWKS"},
		"another object":  {[]byte(`{"issuer": "x"}`), `no "keys"`},
		"empty":           {[]byte(`{"keys": []}`), "it is empty"},
		"oct":             {[]byte(`{"keys": [{"kty":"oct","k":"c2VjcmV0"}]}`), "oct"},
		"enc":             {jwks(t, with(rs, "use", "enc")), "not signatures"},
		"sign":            {jwks(t, with(rs, "key_ops", []string{"sign"})), "no verify"},
		"HMAC alg":        {jwks(t, with(rs, "alg", "HS256")), "not one of this kind"},
		"none alg":        {jwks(t, with(rs, "alg", "none")), "not one of this kind"},
		"alg of EC":       {jwks(t, with(rs, "alg", "ES256")), "not one of this kind"},
		"short RSA":       {jwks(t, with(rs, "n", b64(bytes.Repeat([]byte{0xff}, 128)))), "1024 bits"},
		"long RSA":        {jwks(t, with(rs, "n", b64(bytes.Repeat([]byte{0xff}, 2048)))), "16384 bits"},
		"even exponent":   {jwks(t, with(rs, "e", b64([]byte{2}))), "not an RSA key"},
		"not on curve":    {jwks(t, with(es, "x", b64(make([]byte, 32)))), "can't be read"},
		"another curve":   {jwks(t, with(es, "crv", "P-384")), "can't be read"},
		"unknown curve":   {jwks(t, with(es, "crv", "secp256k1")), "can't be read"},
		"X25519":          {jwks(t, map[string]any{"kty": "OKP", "crv": "X25519", "x": b64(bytes.Repeat([]byte{9}, 32))}), "can't check"},
		"keys of strings": {[]byte(`{"keys": ["a"]}`), "a string where it can't be"},
	} {
		_, err := parseKeys(c.data)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestKeysOverHTTP(t *testing.T) {
	es := signers()["ES256"]
	var broken, asked atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch {
		case broken.Load() > 0:
			http.Error(w, "away", http.StatusServiceUnavailable)
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "/jwks.json", http.StatusFound)
		case r.URL.Path == "/large":
			_, _ = w.Write(bytes.Repeat([]byte(" "), 3*MaxKeySet))
		default:
			_, _ = w.Write(jwks(t, es.jwk()))
		}
	}))
	defer web.Close()
	dir := filepath.Join(t.TempDir(), "jwks")
	verify := func(s *Sources, path string) error {
		i, err := s.Open([]Entry{{testIssuer, testAudience, web.URL + path}})
		if err == nil {
			_, err = i.Verify(es.token(t, claims(nil)))
		}
		return err
	}
	first := newSources(t, dir, nil)
	if err := verify(first, "/jwks.json"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/moved?key=hidden": "a redirect to http is refused", "/large": "more than 1048576 bytes"} {
		book, log := newLog()
		if err := verify(newSources(t, t.TempDir(), log), path); !errors.Is(err, ErrKeys) || strings.Count(book.String(), want) == 0 || strings.Count(book.String(), "hidden") > 0 {
			t.Errorf("%s: %v\n%s", path, err, book)
		}
	}
	if err := verify(first, "/jwks.json"); err != nil || asked.Load() != 3 {
		t.Errorf("opened again: %v, %d requests", err, asked.Load())
	}
	first.Close()

	files, _ := os.ReadDir(dir)
	if len(files) != 1 {
		t.Fatal(files)
	}
	if info, _ := files[0].Info(); runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the copy has the mode %s", info.Mode())
	}
	broken.Add(1)
	if err := verify(newSources(t, dir, nil), "/jwks.json"); err != nil {
		t.Errorf("after a restart, while the issuer is away: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, files[0].Name()), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verify(newSources(t, dir, nil), "/jwks.json"); !errors.Is(err, ErrKeys) {
		t.Errorf("with a damaged copy, while the issuer is away: %v", err)
	}
}

func TestKeysInFiles(t *testing.T) {
	es, ed := signers()["ES256"], signers()["EdDSA"]
	file := filepath.Join(t.TempDir(), "jwks.json")
	entries := []Entry{{testIssuer, testAudience, file}}
	s := newSources(t, t.TempDir(), nil)
	var k *KeysError
	if _, err := s.Open(entries); !errors.As(err, &k) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := s.Open([]Entry{{testIssuer, testAudience, t.TempDir()}}); !errors.As(err, &k) {
		t.Errorf("a folder: %v", err)
	}
	if err := os.WriteFile(file, jwks(t, es.jwk()), 0o600); err != nil {
		t.Fatal(err)
	}
	old, err := s.Open(entries)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(entries); !errors.As(err, &k) || k.Entry != 0 || Check(entries) == nil {
		t.Errorf("a damaged file: %v", err)
	}
	if _, err := old.Verify(es.token(t, claims(nil))); err != nil {
		t.Errorf("the old keys are not in use any more: %v", err)
	}
	if err := os.WriteFile(file, jwks(t, es.jwk(), ed.jwk()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Verify(ed.token(t, claims(nil))); err != nil { // without a reload
		t.Errorf("a key that was added to the file: %v", err)
	}
}
