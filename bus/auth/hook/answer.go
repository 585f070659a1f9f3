// This file decodes the service's answer.

package hook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

const (
	maxAnswer = 64 << 10
	maxRules  = 1000 // filters and groups
	maxReason = 200  // bytes
)

// Answer is what a client may do.
type Answer struct {
	Allow     bool
	User      string // instead of the name that the client gave; "": that name
	Groups    []string
	Publish   []string
	Subscribe []string
	Deny      []string
	Until     time.Time // when the login ends; zero: never
	Reason    string    // of a refusal, for the client and the log
}

// parseAnswer is strict: a key that it does not know might be one that restricts.
func parseAnswer(data []byte) (Answer, error) {
	if len(data) > maxAnswer {
		return Answer{}, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	var raw struct {
		Allow     *bool     `json:"allow"`
		User      string    `json:"user"`
		Groups    []string  `json:"groups"`
		Publish   []string  `json:"publish"`
		Subscribe []string  `json:"subscribe"`
		Deny      []string  `json:"deny"`
		Until     time.Time `json:"until"`
		Reason    string    `json:"reason"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&raw); err != nil {
		return Answer{}, fmt.Errorf("the answer is not as expected: %s", plain(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Answer{}, errors.New("the answer has more than one JSON value")
	}
	switch n := len(raw.Groups) + len(raw.Publish) + len(raw.Subscribe) + len(raw.Deny); {
	case raw.Allow == nil:
		return Answer{}, errors.New(`the answer has no "allow"`)
	case n > maxRules:
		return Answer{}, fmt.Errorf("the answer has %d groups and rules, more than %d", n, maxRules)
	}
	return Answer{Allow: *raw.Allow, User: raw.User, Groups: raw.Groups, Publish: raw.Publish, Subscribe: raw.Subscribe, Deny: raw.Deny,
		Until: raw.Until, Reason: printable(raw.Reason)}, nil
}

// plain returns an error of the decoder without Go's types, and without what the service sent, which
// may be secret.
func plain(err error) string {
	var t *json.UnmarshalTypeError
	var s *json.SyntaxError
	switch {
	case errors.As(err, &t):
		return fmt.Sprintf("%q can't be a %s", t.Field, t.Value)
	case errors.As(err, &s):
		return fmt.Sprintf("not JSON, at byte %d", s.Offset)
	case strings.HasPrefix(err.Error(), "json: unknown field "):
		return printable(strings.TrimPrefix(err.Error(), "json: "))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "not complete"
	}
	return `"until" must be a time such as 2030-01-31T12:00:00Z`
}

// printable is a text of the service for a log.
func printable(s string) string {
	if len(s) > maxReason {
		s = s[:maxReason]
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

// size is about what an answer costs in memory.
func (a *Answer) size() int {
	n := 256 + len(a.User) + len(a.Reason)
	for _, list := range [][]string{a.Groups, a.Publish, a.Subscribe, a.Deny} {
		for _, s := range list {
			n += 16 + len(s)
		}
	}
	return n
}
