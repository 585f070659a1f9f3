// This file hashes passwords in PHC form, "$argon2id$v=19$m=19456,t=2,p=1$salt$hash".

package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// OWASP's smaller recommendation (19 MiB, two passes): 20 to 40 ms on a desktop, and still
// affordable on a Raspberry Pi.
const (
	hashMemory  = 19456 // KiB
	hashPasses  = 2
	hashThreads = 1
	saltSize    = 16
	keySize     = 32
)

// Bounds on a hash from outside: a line in a file must not cost gigabytes or minutes.
const (
	maxMemory  = 1 << 18 // KiB: 256 MiB
	maxPasses  = 16
	maxThreads = 16
	maxWork    = 1 << 20 // KiB times passes: a few seconds
	maxPart    = 64      // bytes of salt or key
	// MaxPassword is the maximum length of a password in bytes. MQTT allows 65535, which no user
	// needs.
	MaxPassword = 1024
)

// ErrHash is wrapped by every error about a hash that is malformed or out of bounds.
var ErrHash = errors.New("not a usable argon2id hash")

// Hash returns the password's argon2id hash with a random salt. The password has 1 to
// MaxPassword bytes.
func Hash(password string) (string, error) {
	if password == "" {
		return "", errors.New("the password is empty")
	}
	if len(password) > MaxPassword {
		return "", fmt.Errorf("the password has %d bytes, more than %d", len(password), MaxPassword)
	}
	h := phc{memory: hashMemory, passes: hashPasses, threads: hashThreads, salt: make([]byte, saltSize)}
	if _, err := rand.Read(h.salt); err != nil {
		return "", fmt.Errorf("salt: %w", err)
	}
	h.key = h.derive(password, keySize)
	return h.String(), nil
}

// Verify reports whether the password belongs to the hash, in time that does not depend on how much
// of it is correct. The error wraps ErrHash: the hash is malformed, or its cost is out of bounds
// (256 MiB, 16 passes, 16 threads).
func Verify(hash, password string) (bool, error) {
	h, err := parsePHC(hash)
	if err != nil {
		return false, err
	}
	return h.verify(password), nil
}

type phc struct {
	memory, passes uint32
	threads        uint8
	salt, key      []byte
}

func (h phc) String() string {
	enc := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.passes, h.threads, enc(h.salt), enc(h.key))
}

func (h phc) derive(password string, size int) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.threads, uint32(size))
}

func (h phc) verify(password string) bool {
	if len(password) > MaxPassword {
		return false
	}
	return subtle.ConstantTimeCompare(h.derive(password, len(h.key)), h.key) == 1
}

// parsePHC accepts only the canonical spelling.
func parsePHC(s string) (phc, error) {
	fail := func(format string, args ...any) (phc, error) {
		return phc{}, fmt.Errorf("%w: %s", ErrHash, fmt.Sprintf(format, args...))
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return fail("want $argon2id$v=19$m=…,t=…,p=…$SALT$HASH")
	}
	if parts[2] != "v=19" {
		return fail("the version must be v=19")
	}
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return fail("want the parameters m, t and p in this order")
	}
	var values [3]uint64
	for i, p := range []struct {
		name string
		max  uint64
	}{{"m", maxMemory}, {"t", maxPasses}, {"p", maxThreads}} {
		digits, ok := strings.CutPrefix(params[i], p.name+"=")
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || strconv.FormatUint(n, 10) != digits || n == 0 || n > p.max {
			return fail("the parameter %s must be a number from 1 to %d", p.name, p.max)
		}
		values[i] = n
	}
	h := phc{memory: uint32(values[0]), passes: uint32(values[1]), threads: uint8(values[2])}
	if values[0] < 8*values[2] || values[0]*values[1] > maxWork {
		return fail("m must be at least 8 times p, and m times t at most %d", maxWork)
	}
	var err error
	if h.salt, err = part(parts[4], 8); err != nil {
		return fail("the salt %v", err)
	}
	if h.key, err = part(parts[5], 16); err != nil {
		return fail("the hash %v", err)
	}
	return h, nil
}

func part(s string, min int) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") || len(s) > 2*maxPart {
		return nil, errors.New("is not base64 without padding")
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errors.New("is not base64 without padding")
	}
	if len(b) < min || len(b) > maxPart {
		return nil, fmt.Errorf("has %d bytes, want %d to %d", len(b), min, maxPart)
	}
	return b, nil
}
