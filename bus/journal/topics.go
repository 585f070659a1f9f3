package journal

// This file is the summary of the topics in a stretch of records, by which a reader skips stretches
// that hold nothing for it.

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// topicSet is a Bloom filter of the leading levels of topics. It says "none of these" or "maybe",
// and takes 512 bytes: with 500 topics in it, one in ten absent topics is reported as "maybe".
type topicSet [64]uint64

// maxLevels is how many leading levels of a topic are distinguished.
const maxLevels = 8

const (
	hashStart = 0xcbf29ce484222325 // FNV-1a
	hashPrime = 0x100000001b3
)

// add notes a topic: each of its first levels, and the whole of it.
func (t *topicSet) add(topic []byte) {
	h, levels := uint64(hashStart), 0
	for _, c := range topic {
		if c == '/' {
			t.set(h)
			if levels++; levels == maxLevels {
				return
			}
		}
		h = (h ^ uint64(c)) * hashPrime
	}
	t.set(h)
}

// hashBits are the positions of a hash's two bits.
func hashBits(h uint64) (a, b uint64) {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	h ^= h >> 31
	return h % (64 * 64), (h >> 16) % (64 * 64)
}

func (t *topicSet) set(h uint64) {
	a, b := hashBits(h)
	t[a/64] |= 1 << (a % 64)
	t[b/64] |= 1 << (b % 64)
}

// mayHold reports whether a topic with one of the prefixes may be in the set; it is true for
// a nil set.
func (t *topicSet) mayHold(prefixes []Prefix) bool {
	if t == nil || prefixes == nil {
		return true
	}
	for _, p := range prefixes {
		a, b := hashBits(uint64(p))
		if t[a/64]&(1<<(a%64)) != 0 && t[b/64]&(1<<(b%64)) != 0 {
			return true
		}
	}
	return false
}

func (t *topicSet) MarshalText() ([]byte, error) {
	b := make([]byte, 0, len(t)*8)
	for _, w := range t {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

func (t *topicSet) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return err
	}
	if len(b) != len(t)*8 {
		return fmt.Errorf("a summary of topics has %d bytes, not %d", len(b), len(t)*8)
	}
	for i := range t {
		t[i] = binary.LittleEndian.Uint64(b[i*8:])
	}
	return nil
}

// Prefix identifies the leading levels that all topics of a filter share.
type Prefix uint64

// PrefixOf returns the prefix of one or more joined levels, "a/b" for a/b, a/b/# and a/b/+/c.
func PrefixOf(levels string) Prefix {
	h, n := uint64(hashStart), 0
	for _, c := range []byte(levels) {
		if c == '/' {
			if n++; n == maxLevels {
				break
			}
		}
		h = (h ^ uint64(c)) * hashPrime
	}
	return Prefix(h)
}
