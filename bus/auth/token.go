// This file: tokens, which stand for a user's password for a bounded time. A token is a JSON Web Token
// (RFC 7519) that a key of this bus signed:
//
//	{"sub": user, "iat": made, "exp": ends, "pwd": fingerprint of the user's password hash}
//
// Nothing is stored of one: it counts while it is not expired and the user still has that very hash.

package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// TokenKeySize is the size in bytes of the key that signs tokens.
	TokenKeySize = 32
	// DefaultTokenLife is how long a token counts if nobody says.
	DefaultTokenLife = time.Hour
	// MaxTokenLife is the longest that a token may count.
	MaxTokenLife = 30 * 24 * time.Hour

	minTokenLife = time.Second
	maxToken     = 4096            // bytes
	tokenLeeway  = 5 * time.Second // for a clock that was set back a little since; an end is an end
)

// The errors of tokens. Whoever gets one of them, but for ErrToken, has a token that this bus signed.
var (
	ErrToken        = errors.New("the token is not one of this bus")
	ErrTokenExpired = errors.New("the token has expired: connect again with a new one")
	ErrTokenUser    = errors.New("the token is another user's: give that user name, or none")
	ErrTokenRevoked = errors.New("the token's user is gone or has another password since: a new token is needed")
	ErrTokenClock   = errors.New("the token is from the future: the clock of the bus was set back")
	// ErrTokenKey is wrapped when the key cannot be had. What it wraps is for a log, not for clients.
	ErrTokenKey = errors.New("tokens can't be checked or made now: the log of the bus says why")
	// ErrTokenLife is wrapped by Mint for a life that is too short or too long.
	ErrTokenLife = errors.New("a token can't live so long")
)

// Keys keeps the one key that signs tokens, TokenKeySize random bytes as from NewTokenKey.
type Keys interface {
	// Key returns it, or an error that wraps fs.ErrNotExist when none was made yet. It is called for
	// each login with a token.
	Key() ([]byte, error)
	// MakeKey returns it too, and makes it when there is none.
	MakeKey() ([]byte, error)
}

// NewTokenKey returns a random key.
func NewTokenKey() []byte {
	key := make([]byte, TokenKeySize)
	_, _ = rand.Read(key) // it never fails
	return key
}

// Tokens makes tokens and checks them. It is safe for concurrent use if its Keys are.
type Tokens struct {
	keys   Keys
	now    func() time.Time
	parser *jwt.Parser
}

// NewTokens makes one for the key that keys keeps.
func NewTokens(keys Keys) *Tokens {
	t := &Tokens{keys: keys, now: time.Now}
	t.parser = jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithStrictDecoding(), jwt.WithLeeway(tokenLeeway), jwt.WithTimeFunc(func() time.Time { return t.now() }))
	return t
}

type claims struct {
	jwt.RegisteredClaims
	Pwd string `json:"pwd"`
}

// Mint makes a token for id that counts for life, rounded up to a second: 1 s to MaxTokenLife; 0 means
// DefaultTokenLife. Somebody who came with a token gets none that outlives it; for them 0 means at most
// what is left. The errors are ErrAnonymous, ErrTokenLife, ErrTokenKey.
func (t *Tokens) Mint(id *Identity, life time.Duration) (token string, ends time.Time, err error) {
	now := t.now()
	if id.Anonymous {
		return "", ends, ErrAnonymous
	}
	asked := life != 0
	if !asked {
		life = DefaultTokenLife
	}
	if life < minTokenLife || life > MaxTokenLife {
		return "", ends, fmt.Errorf("%w: from %s to %d days", ErrTokenLife, minTokenLife, MaxTokenLife/(24*time.Hour))
	}
	ends = now.Add(life + time.Second - 1).Truncate(time.Second)
	if own := id.until; !own.IsZero() && ends.After(own) {
		if asked {
			return "", ends, fmt.Errorf("%w: the one that asks ends at %s, and none that it makes outlives it", ErrTokenLife, own.UTC().Format(time.RFC3339))
		}
		ends = own
	}
	key, err := t.keys.MakeKey()
	if err != nil {
		return "", ends, fmt.Errorf("%w: %w", ErrTokenKey, err)
	}
	token, err = jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{Subject: id.Name, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(ends)},
		Pwd:              id.print,
	}).SignedString(key)
	if err == nil && len(token) > maxToken {
		err = errors.New("the user name is too long for a token")
	}
	return token, ends, err
}

// looksLikeToken tells a token from a password. Some passwords look like one, too.
func looksLikeToken(s string) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
	return len(s) <= maxToken && strings.HasPrefix(s, "eyJ") && strings.Count(s, ".") == 2 && strings.Trim(s, alphabet) == ""
}

// read returns what a token says. ErrToken: this bus did not sign it.
func (t *Tokens) read(token string) (*claims, error) {
	key, err := t.keys.Key()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrToken // none was ever made here
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrTokenKey, err)
	}
	var c claims
	_, err = t.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return key, nil })
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, ErrTokenExpired
	case errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return nil, ErrTokenClock
	case err != nil || c.IssuedAt == nil || c.ExpiresAt.Sub(c.IssuedAt.Time) > MaxTokenLife+2*time.Second:
		return nil, ErrToken // the two seconds are for rounding
	case !t.now().Before(c.ExpiresAt.Time): // a client is sent away then, so it must not come back with it
		return nil, ErrTokenExpired
	}
	return &c, nil
}

// byToken decides who a client with a token is. user may be empty.
func (p *Policy) byToken(user, token string) (*Identity, error) {
	c, err := p.tokens.read(token)
	if err != nil {
		return nil, err
	}
	a, ok := p.users[c.Subject]
	switch {
	case user != "" && user != c.Subject:
		return nil, ErrTokenUser
	case !ok || subtle.ConstantTimeCompare([]byte(a.id.print), []byte(c.Pwd)) != 1:
		return nil, ErrTokenRevoked
	}
	id := *a.id // it shares the rules
	id.until = c.ExpiresAt.Time
	return &id, nil
}

// fingerprint tells one password hash from another. There is a random salt in what it hides.
func fingerprint(hash string) string {
	sum := sha256.Sum256([]byte("postbus token\x00" + hash))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}
