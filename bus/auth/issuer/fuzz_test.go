package issuer

// This file has fuzz tests of what comes from outside: tokens and sets of keys.

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// FuzzVerify makes tokens of any header and claims, with a signature that is right or not. No input
// may be accepted that has no right signature, or claims that are not allowed.
func FuzzVerify(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"alg":"EdDSA","kid":"ed"}`, `{"iss":"https://id.example","aud":"postbus","exp":4102444800}`},
		{`{"alg":"none"}`, `{"iss":"https://id.example","aud":["postbus"],"exp":4102444800}`},
		{`{"alg":"HS256","kid":"ed"}`, `{"iss":"https://id.example","aud":"postbus","exp":1e9,"iat":1e300}`},
		{`{"alg":"ES256","kid":"p256","crit":["b64"],"b64":false}`, `{"iss":7,"aud":{},"exp":"x","nbf":null}`},
		{`{"alg":["RS256"],"kid":{"a":1}}`, `null`}, {`null`, `{"iss":"https://id.example","iss":"x","a":{"b":{"c":{"d":{"e":1}}}}}`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]), true)
		f.Add([]byte(seed[0]), []byte(seed[1]), false)
	}
	i := openFile(f, nil, allKeys()...)
	ed := signers()["EdDSA"]
	f.Fuzz(func(t *testing.T, head, body []byte, sign bool) {
		text := b64(head) + "." + b64(body)
		signature := []byte("no signature, and as long as one of Ed25519 is: 64 bytes, exactly")
		if sign {
			s, err := jwt.SigningMethodEdDSA.Sign(text, ed.private)
			if err != nil {
				t.Fatal(err)
			}
			signature = s
		}
		l, err := i.Verify(text + "." + b64(signature))
		var refusal *Refusal
		switch {
		case err == nil:
		case errors.As(err, &refusal), errors.Is(err, ErrOther):
			return
		default:
			t.Fatalf("an error of another kind: %v", err)
		}
		var h struct{ Alg, Kid string }
		if !sign || json.Unmarshal(head, &h) != nil || h.Alg != "EdDSA" {
			t.Fatalf("accepted: %s %s signed=%t", head, body, sign)
		}
		if !l.Until.After(time.Now()) || len(l.Claims) > maxClaims || l.Claims["iss"] != testIssuer {
			t.Fatalf("accepted with %+v", l)
		}
	})
}

// FuzzText gives Verify texts that may be no tokens at all.
func FuzzText(f *testing.F) {
	i := openFile(f, nil, allKeys()...)
	for alg, s := range signers() {
		f.Add(s.token(f, jwt.MapClaims{"iss": testIssuer, "aud": testAudience, "exp": 1000, "alg": alg}))
	}
	f.Add("eyJ..")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := i.Verify(text); err == nil {
			t.Fatalf("accepted: %q", text)
		}
	})
}

// FuzzKeys gives parseKeys any bytes. Keys that it accepts must be usable without a panic.
func FuzzKeys(f *testing.F) {
	f.Add(jwks(f, allKeys()...))
	for _, seed := range []string{`{"keys":[]}`, `{"keys":[{"kty":"oct","k":"AAAA"}]}`, `{"keys":[{"kty":"RSA","n":"AQAB","e":""}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`, `{"keys":null}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseKeys(data)
		if err != nil {
			return
		}
		if len(s.keys) == 0 || len(s.keys) > maxKeys || len(s.ignored) > 10 {
			t.Fatalf("%d keys, %d ignored", len(s.keys), len(s.ignored))
		}
		for _, k := range s.keys {
			for _, alg := range k.algs {
				if !asymmetric[alg] {
					t.Fatalf("a key for %s", alg)
				}
				if jwt.GetSigningMethod(alg).Verify("a.b", make([]byte, 64), k.key) == nil {
					t.Fatalf("an empty signature is right for %+v", k)
				}
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	i := openFile(b, nil, allKeys()...)
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			token := signers()[alg].token(b, claims(nil))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := i.Verify(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("forged", func(b *testing.B) {
		rs := signers()["RS256"]
		token := rs.token(b, claims(nil))
		token = token[:len(token)-4] + "AAAA"
		for b.Loop() {
			if _, err := i.Verify(token); err == nil {
				b.Fatal("accepted")
			}
		}
	})
	b.Run("unknown kid", func(b *testing.B) {
		rs := signers()["RS256"]
		token := (&signer{"forged", rs.method, rs.private}).token(b, claims(nil))
		for b.Loop() {
			if _, err := i.Verify(token); err == nil {
				b.Fatal("accepted")
			}
		}
	})
}
