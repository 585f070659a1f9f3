package http

// This file makes one body of several events, and their identity.

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/postbus/postbus/plugins/kind"
)

// joined returns the body of jobs that are sent together, and its type.
func (a *Action) joined(jobs []kind.Job[Args]) (body []byte, contentType string, err error) {
	texts := jobs[0].Args.JSON == nil
	array := !texts && a.o.Join != "lines"
	var b bytes.Buffer
	if array && a.o.ArrayIn != "" {
		name, err := asJSON(a.o.ArrayIn)
		if err != nil {
			return nil, "", err
		}
		b.WriteByte('{')
		b.Write(name)
		b.WriteByte(':')
	}
	if array {
		b.WriteByte('[')
	}
	for i := range jobs {
		args := &jobs[i].Args
		switch {
		case texts && (args.JSON != nil || args.Text == ""), !texts && args.Text != "", args.Form != nil:
			return nil, "", errors.New("with batch every event has a text, or every event has json")
		case texts && (a.o.Join == "array" || a.o.ArrayIn != ""):
			return nil, "", errors.New("an array is made of json, not of text")
		case texts:
			b.WriteString(strings.TrimSuffix(args.Text, "\n"))
		default:
			if array && i > 0 {
				b.WriteByte(',')
			}
			one, err := asJSON(args.JSON)
			if err != nil {
				return nil, "", err
			}
			b.Write(one)
		}
		if !array {
			b.WriteByte('\n')
		}
	}
	switch {
	case texts:
		return b.Bytes(), "text/plain; charset=utf-8", nil
	case !array:
		return b.Bytes(), "application/x-ndjson", nil
	}
	b.WriteByte(']')
	if a.o.ArrayIn != "" {
		b.WriteByte('}')
	}
	return b.Bytes(), "application/json", nil
}

// identity is the Idempotency-Key: of one job its key or ID, of several a hash of them all, so that exactly the same
// body has it again.
func identity(jobs []kind.Job[Args]) (string, error) {
	h := sha256.New()
	key := ""
	for i := range jobs {
		if key = jobs[i].Args.Key; key == "" {
			key = jobs[i].ID
		}
		if len(key) > 255 || strings.IndexFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) >= 0 {
			return "", errors.New("key has more than 255 or other than visible ASCII characters")
		}
		h.Write([]byte(key + "\n"))
	}
	if len(jobs) == 1 {
		return key, nil
	}
	return "batch-" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:24]), nil
}
