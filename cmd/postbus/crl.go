// This file reads a list of revoked certificates (RFC 5280, 5) without an object for each entry: a list
// may have a million, and crypto/x509 takes 300 MB for that.

package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"math/big"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"
)

var errList = errors.New("x509: malformed list of revoked certificates")

// serials are revoked certificates: hashes of the issuer's name and the serial number, sorted.
type serials [][16]byte

// serialKey uses and returns a buffer.
func serialKey(buffer, issuer []byte, n *big.Int) (key [16]byte, again []byte) {
	size := (n.BitLen() + 7) / 8
	b := append(buffer[:0], byte(n.Sign()))
	b = append(b, make([]byte, size)...)
	n.FillBytes(b[1:])
	b = append(b, issuer...)
	sum := sha256.Sum256(b)
	return [16]byte(sum[:]), b
}

func compareKeys(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }

func (s serials) has(c *x509.Certificate) bool {
	key, _ := serialKey(nil, c.RawIssuer, c.SerialNumber)
	_, found := slices.BinarySearchFunc(s, key, compareKeys)
	return found
}

// parseList returns a list with all but its entries, whose signature can be checked, and the entries.
func parseList(der []byte) (list *x509.RevocationList, entries cryptobyte.String, err error) {
	input := cryptobyte.String(der)
	var outer, signed, fields cryptobyte.String
	if !input.ReadASN1(&outer, tags.SEQUENCE) || !input.Empty() || !outer.ReadASN1Element(&signed, tags.SEQUENCE) {
		return nil, nil, errList
	}
	head, times := cryptobyte.NewBuilder(nil), 0
	inner := signed
	if !inner.ReadASN1(&fields, tags.SEQUENCE) {
		return nil, nil, errList
	}
	var kept []byte
	for !fields.Empty() {
		var field cryptobyte.String
		var tag tags.Tag
		if !fields.ReadAnyASN1Element(&field, &tag) {
			return nil, nil, errList
		}
		if tag == tags.SEQUENCE && times > 0 && entries == nil { // the only SEQUENCE behind thisUpdate
			if !field.ReadASN1(&entries, tags.SEQUENCE) {
				return nil, nil, errList
			}
			continue
		}
		if tag == tags.UTCTime || tag == tags.GeneralizedTime {
			times++
		}
		kept = append(kept, field...)
	}
	head.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(kept) })
		b.AddBytes(outer) // the algorithm and the signature
	})
	small, err := head.Bytes()
	if err != nil {
		return nil, nil, err
	}
	if list, err = x509.ParseRevocationList(small); err != nil {
		return nil, nil, err
	}
	list.RawTBSRevocationList = signed
	return list, entries, nil
}

// appendSerials appends the keys of a list's entries.
func appendSerials(s serials, issuer []byte, entries cryptobyte.String) (serials, error) {
	var buffer []byte
	var key [16]byte
	s = slices.Grow(s, len(entries)/36) // of a serial number of 16 bytes
	for n := new(big.Int); !entries.Empty(); {
		var entry cryptobyte.String
		if !entries.ReadASN1(&entry, tags.SEQUENCE) || !entry.ReadASN1Integer(n) {
			return nil, errList
		}
		if !entry.PeekASN1Tag(tags.UTCTime) && !entry.PeekASN1Tag(tags.GeneralizedTime) { // when it was revoked
			return nil, errList
		}
		key, buffer = serialKey(buffer, issuer, n)
		s = append(s, key)
	}
	return s, nil
}
