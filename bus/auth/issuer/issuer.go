// Package issuer checks the JSON Web Tokens of other issuers: of an application's own server, or of
// an identity provider.
//
// It promises:
//
//   - A token is accepted only if a key of its issuer signed it, with the key's own algorithm: RS256 to
//     PS512, ES256 to ES512 or EdDSA. Shared secrets (HMAC) and unsigned tokens ("none") never count.
//   - Issuer and audience must be those of an entry, exactly. A token ends: exp is required, and has
//     no leeway, because a connection ends with it.
//   - Keys come from a JWKS, a file or a URL. A set that can't be read or fetched replaces nothing:
//     the last good one stays in use, also after a restart.
//   - A set is fetched at most once a minute, so a flood of forged tokens causes no more requests to the
//     issuer.
//
// It knows neither the bus nor the config, and not what an identity may do: package cmd/postbus
// translates.
package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/postbus/postbus/bus/quiet"
)

const (
	// MaxToken is the maximum size of a token in bytes.
	MaxToken = 16 << 10
	// Leeway is how much the clocks of an issuer and of the bus may differ, for the times from which
	// a token is valid.
	Leeway = time.Minute
)

// ErrOther means that a password is no token of another issuer: it is a password, or a token of the
// bus itself.
var ErrOther = errors.New("not a token of another issuer")

// Refusal is the error of a token that is not accepted. Its text is for the client and for the log:
// it has no part of the token but names and times.
type Refusal struct{ text string }

// Error implements error.
func (r *Refusal) Error() string { return r.text }

func refuse(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// ErrKeys is wrapped when a token can't be checked now, because the keys of its issuer are not known.
// The client should try again.
var ErrKeys = errors.New("could not be fetched")

// Entry is an issuer whose tokens are accepted.
type Entry struct {
	Issuer   string // the claim iss
	Audience string // one of the claim aud
	Keys     string // a file, or a URL, which should be https except on loopback
}

// Login is a token that was accepted.
type Login struct {
	Entry  int               // the index of its entry
	Claims map[string]string // see flatten
	Until  time.Time         // when the token expires
}

// Issuers checks the tokens of some entries. It never changes, and is safe for concurrent use.
type Issuers struct {
	entries []Entry
	sources []*source // of the entries' keys
	log     *slog.Logger
	quiet   *quiet.Log
}

// parser is golang-jwt's, for the parts of a token. Verify checks what they say.
var parser = jwt.NewParser(jwt.WithJSONNumber(), jwt.WithStrictDecoding())

// Verify checks a token. Its errors are ErrOther, a *Refusal, or one that wraps ErrKeys. It may wait
// some seconds for the keys, and only when they are being fetched.
func (i *Issuers) Verify(token string) (Login, error) {
	if !strings.HasPrefix(token, "eyJ") {
		return Login{}, ErrOther
	}
	if len(token) > MaxToken { // no password is that long
		return Login{}, refuse("the token has %d bytes, more than %d", len(token), MaxToken)
	}
	t, claims, ok := read(token)
	if !ok {
		return Login{}, ErrOther
	}
	iss, ok := claims["iss"].(string)
	if alg, _ := t.Header["alg"].(string); !ok && asymmetric[alg] {
		return Login{}, refuse("the token does not name its issuer (iss)")
	} else if !ok {
		return Login{}, ErrOther // the bus's own tokens have no issuer
	}
	n, err := i.find(iss, claims["aud"])
	if err != nil {
		return Login{}, err
	}
	// Before the signature: most tokens that are refused have expired, and this is cheaper.
	now := time.Now()
	until, err := expiry(claims, now)
	if err != nil {
		return Login{}, err
	}
	if err := i.verifySignature(n, t); err != nil {
		return Login{}, err
	}
	if err := i.begun(iss, claims, now); err != nil {
		return Login{}, err
	}
	return Login{Entry: n, Claims: flatten(claims), Until: until}, nil
}

// read returns the parts of a token, without any check of what they say. ok is false for a text that
// is no token.
func read(token string) (t *jwt.Token, claims jwt.MapClaims, ok bool) {
	claims = jwt.MapClaims{}
	t, _, err := parser.ParseUnverified(token, claims)
	if err != nil && !errors.Is(err, jwt.ErrTokenUnverifiable) { // an unknown algorithm is refused later
		return nil, nil, false
	}
	return t, claims, true
}

// find returns the entry for an issuer and an audience.
func (i *Issuers) find(iss string, aud any) (int, error) {
	known := false
	for n, e := range i.entries {
		if e.Issuer != iss {
			continue
		}
		known = true
		switch aud := aud.(type) {
		case string:
			if aud == e.Audience {
				return n, nil
			}
		case []any:
			for _, a := range aud {
				if a == e.Audience {
					return n, nil
				}
			}
		}
	}
	if known {
		return 0, refuse("the token is not for this bus: none of its audiences (aud) is the configured one")
	}
	return 0, refuse("the token's issuer %s is not one of the configured ones", shortened(iss))
}

func (i *Issuers) verifySignature(n int, t *jwt.Token) error {
	alg, _ := t.Header["alg"].(string)
	if !asymmetric[alg] || t.Method == nil {
		return refuse("the token's algorithm %s is not accepted: it must be one with a public key, such as RS256, ES256 or EdDSA", shortened(alg))
	}
	if _, critical := t.Header["crit"]; critical {
		return refuse("the token demands an extension (crit), and none is supported")
	}
	kid, _ := t.Header["kid"].(string)
	key, err := i.sources[n].key(kid, alg)
	switch {
	case errors.Is(err, ErrKeys):
		return fmt.Errorf("the keys of issuer %s %w", i.entries[n].Issuer, err)
	case err != nil:
		return refuse("the token of issuer %s: %v", i.entries[n].Issuer, err)
	}
	signed := t.Raw[:strings.LastIndexByte(t.Raw, '.')]
	if t.Method.Verify(signed, t.Signature, key) != nil {
		return refuse("the token's signature is not one of issuer %s", i.entries[n].Issuer)
	}
	return nil
}

// asymmetric are the accepted algorithms.
var asymmetric = map[string]bool{"RS256": true, "RS384": true, "RS512": true, "PS256": true, "PS384": true, "PS512": true,
	"ES256": true, "ES384": true, "ES512": true, "EdDSA": true}

// expiry returns when a token expires, if that is later than now.
func expiry(claims jwt.MapClaims, now time.Time) (time.Time, error) {
	exp, ok, err := date(claims, "exp")
	switch {
	case err != nil:
		return exp, err
	case !ok:
		return exp, refuse("the token never expires: the claim exp is required")
	case !now.Before(exp):
		return exp, refuse("the token has expired at %s: connect again with a new one", utc(exp))
	}
	return exp, nil
}

// begun checks the times from which a token is valid. A token that was issued in the future means
// that a clock is wrong: both times help to see which. That has a line in the log of its own, because
// it concerns all users.
func (i *Issuers) begun(iss string, claims jwt.MapClaims, now time.Time) error {
	latest := now.Add(Leeway)
	iat, ok, err := date(claims, "iat")
	switch {
	case err != nil:
		return err
	case ok && iat.After(latest):
		i.quiet.Warn(i.log, iss, "tokens are refused because a clock is wrong, of the issuer or of this machine", "issuer", iss, "issued", utc(iat), "now", utc(now))
		return refuse("the token was issued in the future, at %s, and here it is %s: the clock of the issuer or of the bus is wrong", utc(iat), utc(now))
	}
	nbf, ok, err := date(claims, "nbf")
	switch {
	case err != nil:
		return err
	case ok && nbf.After(latest):
		return refuse("the token is not valid before %s, and here it is %s", utc(nbf), utc(now))
	}
	return nil
}

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// maxDate is the end of the year 9999: RFC 3339 can't write later times.
const maxDate = 253402300799

// date returns a claim that is a number of seconds since 1970.
func date(claims jwt.MapClaims, name string) (t time.Time, ok bool, err error) {
	v, ok := claims[name]
	if !ok {
		return t, false, nil
	}
	n, isNumber := v.(json.Number)
	f, err := n.Float64()
	if !isNumber || err != nil || !(f >= 0 && f <= maxDate) {
		return t, false, refuse("the token's claim %s is not a time", name)
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(part*1e9)), true, nil
}

// shortened is a text of a stranger for an error.
func shortened(s string) string {
	const most = 100
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
