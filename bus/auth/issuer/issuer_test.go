package issuer

// This file tests which tokens are accepted, and the errors of the others.

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	testIssuer   = "https://id.example"
	testAudience = "postbus"
)

// signer is a key pair of an issuer.
type signer struct {
	kid     string
	method  jwt.SigningMethod
	private crypto.Signer
}

var signers = sync.OnceValue(func() map[string]*signer {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	return map[string]*signer{
		"RS256": {"rsa", jwt.SigningMethodRS256, rsaKey}, "PS512": {"rsa", jwt.SigningMethodPS512, rsaKey},
		"ES256": {"p256", jwt.SigningMethodES256, p256}, "ES384": {"p384", jwt.SigningMethodES384, p384}, "ES512": {"p521", jwt.SigningMethodES512, p521},
		"EdDSA": {"ed", jwt.SigningMethodEdDSA, ed},
	}
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwk is the public key as in a JWKS.
func (s *signer) jwk() map[string]any {
	k := map[string]any{"kid": s.kid}
	switch p := s.private.Public().(type) {
	case *rsa.PublicKey:
		k["kty"], k["n"], k["e"] = "RSA", b64(p.N.Bytes()), b64(big.NewInt(int64(p.E)).Bytes())
	case *ecdsa.PublicKey:
		point, _ := p.Bytes()
		half := len(point) / 2
		k["kty"], k["crv"], k["x"], k["y"] = "EC", p.Curve.Params().Name, b64(point[1:1+half]), b64(point[1+half:])
	case ed25519.PublicKey:
		k["kty"], k["crv"], k["x"] = "OKP", "Ed25519", b64(p)
	}
	return k
}

func (s *signer) token(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(s.method, claims)
	if s.kid != "" {
		tok.Header["kid"] = s.kid
	}
	text, err := tok.SignedString(s.private)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// claims are valid ones, with changes; a nil value removes a claim.
func claims(change map[string]any) jwt.MapClaims {
	c := jwt.MapClaims{"iss": testIssuer, "aud": testAudience, "sub": "anna", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range change {
		if c[name] = v; v == nil {
			delete(c, name)
		}
	}
	return c
}

// jwks is a set of keys as JSON.
func jwks(t testing.TB, keys ...map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func allKeys() (keys []map[string]any) {
	for _, alg := range []string{"RS256", "ES256", "ES384", "ES512", "EdDSA"} {
		keys = append(keys, signers()[alg].jwk())
	}
	return keys
}

func newSources(t testing.TB, dir string, log *slog.Logger) *Sources {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := NewSources(SourcesOptions{Dir: dir, Logger: log, Write: func(file string, data []byte) error { return os.WriteFile(file, data, 0o600) }})
	t.Cleanup(s.Close)
	return s
}

// openFile returns the issuers of one entry with a JWKS file.
func openFile(t testing.TB, log *slog.Logger, keys ...map[string]any) *Issuers {
	t.Helper()
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, jwks(t, keys...), 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := newSources(t, t.TempDir(), log).Open([]Entry{{testIssuer, testAudience, file}})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestTokensOfEveryAlgorithm(t *testing.T) {
	i := openFile(t, nil, allKeys()...)
	for alg, s := range signers() {
		exp := time.Now().Add(time.Hour).Truncate(time.Second)
		l, err := i.Verify(s.token(t, claims(map[string]any{"exp": exp.Unix(), "aud": []string{"web", testAudience}})))
		if err != nil || l.Claims["sub"] != "anna" || !l.Until.Equal(exp) {
			t.Errorf("%s: %+v, %v", alg, l, err)
		}
	}
}

func TestRefusedTokens(t *testing.T) {
	rs, es, ed := signers()["RS256"], signers()["ES256"], signers()["EdDSA"]
	i := openFile(t, nil, append(allKeys(), map[string]any{"kty": "oct", "kid": "secret", "k": b64([]byte("0123456789abcdef0123456789abcdef"))})...)
	now := time.Now()
	strange := func(s *signer) *signer { // another key with the same kid
		_, key, _ := ed25519.GenerateKey(rand.Reader)
		return &signer{s.kid, jwt.SigningMethodEdDSA, key}
	}
	hmac := func(kid string, secret []byte) string {
		tok := jwt.NewWithClaims(jwt.SigningMethodHS256, claims(nil))
		tok.Header["kid"] = kid
		text, err := tok.SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	none := jwt.NewWithClaims(jwt.SigningMethodNone, claims(nil))
	none.Header["kid"] = "rsa"
	unsigned, _ := none.SignedString(jwt.UnsafeAllowNoneSignatureType)
	critical := jwt.NewWithClaims(ed.method, claims(nil))
	critical.Header["kid"], critical.Header["crit"] = "ed", []string{"b64"}
	withCrit, _ := critical.SignedString(ed.private)
	odd := jwt.NewWithClaims(jwt.SigningMethodHS256, claims(nil))
	odd.Header["alg"] = "HS1"
	oddText, _ := odd.SignedString([]byte("x"))
	good := ed.token(t, claims(nil))
	head, tail, _ := strings.Cut(good, ".")
	_, signature, _ := strings.Cut(tail, ".")
	forged, _ := json.Marshal(claims(map[string]any{"sub": "root"}))
	for name, c := range map[string]struct{ token, want string }{
		"none":                       {unsigned, "algorithm"},
		"HMAC with the public key":   {hmac("ed", ed.private.Public().(ed25519.PublicKey)), "algorithm"},
		"HMAC with a key of the set": {hmac("secret", []byte("0123456789abcdef0123456789abcdef")), "algorithm"},
		"unknown algorithm":          {oddText, "algorithm"},
		"crit":                       {withCrit, "crit"},
		"another key":                {strange(ed).token(t, claims(nil)), "signature"},
		"algorithm of another key":   {(&signer{"p256", jwt.SigningMethodEdDSA, ed.private}).token(t, claims(nil)), "is not for the algorithm"},
		"changed claims":             {head + "." + b64(forged) + "." + signature, "signature"},
		"no signature":               {head + "." + tail[:strings.IndexByte(tail, '.')] + ".", "signature"},
		"unknown kid":                {(&signer{"new", ed.method, ed.private}).token(t, claims(nil)), "no such key"},
		"issuer":                     {rs.token(t, claims(map[string]any{"iss": testIssuer + "/"})), "not one of the configured"},
		"no issuer":                  {rs.token(t, claims(map[string]any{"iss": nil})), "does not name its issuer"},
		"no audience":                {rs.token(t, claims(map[string]any{"aud": nil})), "audiences"},
		"audience":                   {rs.token(t, claims(map[string]any{"aud": []any{"web", 7}})), "audiences"},
		"audience's prefix":          {rs.token(t, claims(map[string]any{"aud": testAudience + "2"})), "audiences"},
		"no exp":                     {es.token(t, claims(map[string]any{"exp": nil})), "exp is required"},
		"expired":                    {es.token(t, claims(map[string]any{"exp": now.Unix() - 1})), "expired at"},
		"exp is text":                {es.token(t, claims(map[string]any{"exp": "4102444800"})), "exp is not a time"},
		"exp is too large":           {es.token(t, claims(map[string]any{"exp": 1e300})), "exp is not a time"},
		"exp is negative":            {es.token(t, claims(map[string]any{"exp": -1})), "exp is not a time"},
		"iat":                        {es.token(t, claims(map[string]any{"iat": now.Add(2 * time.Hour).Unix(), "exp": now.Add(3 * time.Hour).Unix()})), "the clock of the issuer or of the bus is wrong"},
		"iat has both times":         {es.token(t, claims(map[string]any{"iat": int64(4102444800), "exp": int64(4102448400)})), "2100-01-01T00:00:00Z, and here it is " + now.UTC().Format("2006-01-02T")},
		"nbf":                        {es.token(t, claims(map[string]any{"nbf": now.Add(2 * time.Minute).Unix()})), "not valid before"},
		"too long":                   {es.token(t, claims(map[string]any{"x": strings.Repeat("x", MaxToken)})), "bytes"},
	} {
		_, err := i.Verify(c.token)
		var refusal *Refusal
		if !errors.As(err, &refusal) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for name, token := range map[string]string{
		"iat within the leeway": es.token(t, claims(map[string]any{"iat": now.Add(Leeway - time.Second).Unix()})),
		"nbf within the leeway": es.token(t, claims(map[string]any{"nbf": now.Add(Leeway - time.Second).Unix()})),
		"no iat":                es.token(t, claims(map[string]any{"iat": nil})),
		"fractions":             es.token(t, claims(map[string]any{"iat": float64(now.Unix()) + 0.5})),
	} {
		if _, err := i.Verify(token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	own, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, claims(map[string]any{"iss": nil})).SignedString([]byte("x"))
	for _, text := range []string{"", "secret", "eyJ", "eyJ.eyJ.x", "eyJhbGciOiJub25lIn0.bnVsbA.", own} {
		if _, err := i.Verify(text); !errors.Is(err, ErrOther) {
			t.Errorf("%q: %v, want ErrOther", text, err)
		}
	}
}

func TestTokensWithoutKid(t *testing.T) {
	es := signers()["ES256"]
	bare := &signer{"", es.method, es.private}
	if _, err := openFile(t, nil, allKeys()...).Verify(bare.token(t, claims(nil))); err != nil {
		t.Errorf("one key fits, and yet: %v", err)
	}
	twice := append(allKeys(), es.jwk())
	if _, err := openFile(t, nil, twice...).Verify(bare.token(t, claims(nil))); err == nil || !strings.Contains(err.Error(), "which of several") {
		t.Error(err)
	}
}

func TestEntriesOfOneIssuer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, jwks(t, allKeys()...), 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := newSources(t, t.TempDir(), nil).Open([]Entry{{"https://other", "b", file}, {testIssuer, "a", file}, {testIssuer, "b", file}})
	if err != nil {
		t.Fatal(err)
	}
	if l, err := i.Verify(signers()["EdDSA"].token(t, claims(map[string]any{"aud": "b"}))); err != nil || l.Entry != 2 {
		t.Errorf("%+v %v", l, err)
	}
}

func TestClaimsAsVariables(t *testing.T) {
	i := openFile(t, nil, allKeys()...)
	l, err := i.Verify(signers()["EdDSA"].token(t, claims(map[string]any{
		"n": int64(12345678901234567), "half": 0.5, "yes": true, "nothing": nil, "list": []string{"a"}, "realm": map[string]any{"name": "x", "deep": map[string]any{"er": 1}},
		"https://x/y": "url", "a.b": "dot", "long": strings.Repeat("x", 257), "": "empty",
	})))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"n": "12345678901234567", "half": "0.5", "yes": "true", "realm.name": "x", "realm.deep.er": "1", "sub": "anna"} {
		if got := l.Claims[name]; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"nothing", "list", "https://x/y", "a.b", "long", "", "realm"} {
		if v, ok := l.Claims[name]; ok {
			t.Errorf("%s: %q, want none", name, v)
		}
	}
}
