// This file reads a JWKS [RFC 7517].

package issuer

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/MicahParks/jwkset"
)

const (
	// MaxKeySet is the maximum size of a JWKS in bytes.
	MaxKeySet = 1 << 20
	maxKeys   = 100
	minRSA    = 2048 // bits; [RFC 7518] 3.3 demands them
	maxRSA    = 8192 // a check of a longer one takes too long
)

// keySet is the keys of a JWKS that can check a signature.
type keySet struct {
	keys    []publicKey
	ignored []string // what was left out, and why: at most ten
}

type publicKey struct {
	kid  string
	algs []string // for which it may be used
	key  any      // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// rawKey is a JWK, as far as it matters. Certificates are not looked at: the set itself is trusted.
type rawKey struct {
	Kty    string   `json:"kty"`
	Use    string   `json:"use"`
	KeyOps []string `json:"key_ops"`
	Alg    string   `json:"alg"`
	Kid    string   `json:"kid"`
	Crv    string   `json:"crv"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
}

// parseKeys reads a JWKS. Keys that can't check a signature are ignored, as the RFC demands: a set
// may have others, for encryption. A set in which none is left is an error.
func parseKeys(data []byte) (*keySet, error) {
	if len(data) > MaxKeySet {
		return nil, fmt.Errorf("the JWKS has more than %d bytes", MaxKeySet)
	}
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("not a JWKS: %w", plainJSON(err))
	}
	switch {
	case raw.Keys == nil:
		return nil, errors.New(`not a JWKS: it has no "keys"`)
	case len(raw.Keys) > maxKeys:
		return nil, fmt.Errorf("the JWKS has %d keys, more than %d", len(raw.Keys), maxKeys)
	}
	s := &keySet{}
	for n, text := range raw.Keys {
		k, err := parseKey(text)
		if err == nil {
			s.keys = append(s.keys, k)
		} else if len(s.ignored) < 10 {
			s.ignored = append(s.ignored, fmt.Sprintf("keys[%d]: %v", n, err))
		}
	}
	if len(s.keys) == 0 {
		reason := "it is empty"
		if len(s.ignored) > 0 {
			reason = strings.Join(s.ignored, "; ")
		}
		return nil, fmt.Errorf("the JWKS has no key that can check a signature: %s", reason)
	}
	return s, nil
}

// plainJSON returns a JSON error without the words of the decoder's types.
func plainJSON(err error) error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return fmt.Errorf("a %s where it can't be, at byte %d", t.Value, t.Offset)
	}
	var s *json.SyntaxError
	if errors.As(err, &s) {
		return fmt.Errorf("%w, at byte %d", s, s.Offset)
	}
	return err
}

func parseKey(text json.RawMessage) (publicKey, error) {
	var r rawKey
	if err := json.Unmarshal(text, &r); err != nil {
		return publicKey{}, plainJSON(err)
	}
	switch {
	case r.Kty == "oct":
		return publicKey{}, errors.New("a symmetric key (oct) is a secret, and never used")
	case r.Use != "" && r.Use != "sig":
		return publicKey{}, fmt.Errorf("its use is %s, not signatures", shortened(r.Use))
	case r.KeyOps != nil && !slices.Contains(r.KeyOps, "verify"):
		return publicKey{}, errors.New("its key_ops have no verify")
	case len(r.Kid) > 1024:
		return publicKey{}, errors.New("its kid has more than 1024 bytes")
	}
	// The numbers only: with the others the library would also check certificates.
	jwk, err := jwkset.NewJWKFromMarshal(jwkset.JWKMarshal{KTY: jwkset.KTY(r.Kty), CRV: jwkset.CRV(r.Crv), N: r.N, E: r.E, X: r.X, Y: r.Y},
		jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipAll: true})
	if err != nil {
		return publicKey{}, fmt.Errorf("the %s key can't be read: %s", shortened(r.Kty), clip(err.Error()))
	}
	k := publicKey{kid: r.Kid, key: jwk.Key()}
	if k.algs, err = algorithms(k.key); err != nil {
		return publicKey{}, err
	}
	if r.Alg != "" {
		if !slices.Contains(k.algs, r.Alg) {
			return publicKey{}, fmt.Errorf("its alg %s is not one of this kind of key", shortened(r.Alg))
		}
		k.algs = []string{r.Alg}
	}
	return k, nil
}

// algorithms returns the algorithms of a key's kind, and checks its strength.
func algorithms(key any) ([]string, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
			return nil, fmt.Errorf("an RSA key of %d bits: %d to %d are accepted", bits, minRSA, maxRSA)
		}
		if key.E < 3 || key.E%2 == 0 || key.N.Bit(0) == 0 {
			return nil, errors.New("not an RSA key")
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		if _, err := key.ECDH(); err != nil { // the point must be on its curve
			return nil, errors.New("not a point of its curve")
		}
		switch key.Curve.Params().BitSize {
		case 256:
			return []string{"ES256"}, nil
		case 384:
			return []string{"ES384"}, nil
		case 521:
			return []string{"ES512"}, nil
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, errors.New("this kind of key can't check a signature")
}

// find returns the key for a token. A token without a kid is accepted if there is one key only that
// it can be.
func (s *keySet) find(kid, alg string) (any, error) {
	var found any
	named, n := false, 0
	for _, k := range s.keys {
		if kid != "" && k.kid != kid {
			continue
		}
		named = true
		if slices.Contains(k.algs, alg) {
			found = k.key
			n++
		}
	}
	switch {
	case n == 1:
		return found, nil
	case n > 1:
		return nil, errors.New("it does not say by which of several keys it was signed (kid)")
	case kid != "" && named:
		return nil, fmt.Errorf("its key is not for the algorithm %s", alg)
	case kid == "":
		return nil, fmt.Errorf("the issuer has no key for the algorithm %s", alg)
	}
	return nil, errUnknownKey
}

// errUnknownKey is the one error after which the keys are worth fetching again.
var errUnknownKey = errors.New("the issuer has no such key (kid) yet; its keys are fetched once a minute at most")

func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
