// This file makes and checks tokens, which replace a user's password for a limited time. A token is
// a JSON Web Token (RFC 7519) that a key of this bus signed:
//
//	{"sub": user, "iat": made, "exp": ends, "pwd": fingerprint of the user's password hash}
//
// The bus stores nothing about a token: it is valid while it has not expired and the user still has
// that very hash, which has not expired.

package auth

import (
	"crypto/rand"
	"crypto/sha256"
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
	// DefaultTokenLife is how long a token is valid if the request names no time.
	DefaultTokenLife = time.Hour
	// MaxTokenLife is the maximum time that a token is valid.
	MaxTokenLife = 30 * 24 * time.Hour

	minTokenLife = time.Second
	maxToken     = 4096            // bytes
	tokenLeeway  = 5 * time.Second // for a clock that was set back slightly; it does not prolong the token
)

// The errors of tokens. Each of them except ErrToken concerns a token that this bus signed.
var (
	ErrToken        = errors.New("the token was not issued by this bus")
	ErrTokenExpired = errors.New("the token has expired: connect again with a new one")
	ErrTokenUser    = errors.New("the token belongs to another user: give that user name, or none")
	ErrTokenRevoked = errors.New("the token's user was removed, or its password was changed, removed or has expired: request a new token")
	ErrTokenClock   = errors.New("the token was issued in the future: the clock of the bus was set back")
	// ErrTokenKey is wrapped when the key is not available. Its cause is for a log, not for
	// clients.
	ErrTokenKey = errors.New("tokens cannot be checked or issued now: see the log of the bus")
	// ErrTokenLogin concerns a login without a password, with which a token would end.
	ErrTokenLogin = errors.New("a login without a password gets no token")
	// ErrTokenLife is wrapped by Mint for a life that is too short or too long.
	ErrTokenLife = errors.New("invalid token lifetime")
)

// Keys stores the one key that signs tokens, TokenKeySize random bytes from NewTokenKey.
type Keys interface {
	// Key returns the key, or an error that wraps fs.ErrNotExist if there is none yet. It is called
	// for each login with a token.
	Key() ([]byte, error)
	// MakeKey returns the key, and makes it if there is none.
	MakeKey() ([]byte, error)
}

// NewTokenKey returns a random key.
func NewTokenKey() []byte {
	key := make([]byte, TokenKeySize)
	_, _ = rand.Read(key) // it never fails
	return key
}

// Tokens makes and checks tokens. It is safe for concurrent use if its Keys are.
type Tokens struct {
	keys   Keys
	now    func() time.Time
	parser *jwt.Parser
}

// NewTokens makes a Tokens that signs with the key in keys.
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

// Mint makes a token for id that is valid for life, rounded up to a second: 1 s to MaxTokenLife; 0
// means DefaultTokenLife. A login with a token, or with a password that expires, gets no token that
// outlives it; for that login 0 means at most the remaining time. The errors are ErrAnonymous,
// ErrTokenLogin, ErrTokenLife, ErrTokenKey.
func (t *Tokens) Mint(id *Identity, life time.Duration) (token string, ends time.Time, err error) {
	now := t.now()
	if id.Anonymous {
		return "", ends, ErrAnonymous
	}
	if id.print == "" {
		return "", ends, ErrTokenLogin
	}
	asked := life != 0
	if !asked {
		life = DefaultTokenLife
	}
	if life < minTokenLife || life > MaxTokenLife {
		return "", ends, fmt.Errorf("%w: must be from %s to %d days",
			ErrTokenLife, minTokenLife, MaxTokenLife/(24*time.Hour))
	}
	ends = now.Add(life + time.Second - 1).Truncate(time.Second)
	if own := id.until; !own.IsZero() && ends.After(own) {
		if asked {
			return "", ends, fmt.Errorf("%w: the login expires at %s, and a token made with it cannot outlive it", ErrTokenLife, own.UTC().Format(time.RFC3339))
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

// LooksLikeToken distinguishes a token from a password. Some passwords look like a token, too.
func LooksLikeToken(s string) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
	return len(s) <= maxToken && strings.HasPrefix(s, "eyJ") && strings.Count(s, ".") == 2 && strings.Trim(s, alphabet) == ""
}

// read returns a token's claims. ErrToken means that this bus did not sign it.
func (t *Tokens) read(token string) (*claims, error) {
	key, err := t.keys.Key()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrToken // this bus never made a token
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
	case !t.now().Before(c.ExpiresAt.Time): // the connection of such a token ends then, so it must not be accepted again
		return nil, ErrTokenExpired
	}
	return &c, nil
}

// byToken identifies a client with a token. user may be empty.
func (p *Policy) byToken(user, token string) (*Identity, error) {
	c, err := p.tokens.read(token)
	if err != nil {
		return nil, err
	}
	if user != "" && user != c.Subject {
		return nil, ErrTokenUser
	}
	a := p.users[c.Subject]
	w := a.find(c.Pwd)
	if w == nil {
		return nil, ErrTokenRevoked
	}
	return w.id.withToken(c.ExpiresAt.Time), nil
}

// fingerprint distinguishes password hashes. It reveals nothing of the hash, which contains a
// random salt.
func fingerprint(hash string) string {
	sum := sha256.Sum256([]byte("postbus token\x00" + hash))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}
