// Package decode decodes the payloads of sources by the encoding that a plugin file names, into the
// values that expressions know.
//
// What it promises, whatever the bytes: the value consists of nil, bool, int64, float64, string,
// []byte, []any and map[string]any, and of json.Number for integers beyond int64, as package payload
// decodes them. Of CBOR, MessagePack and CSV at most MaxSize bytes are decoded, at most MaxValues
// values and MaxDepth levels, so that a decoded value has at most some 20 MiB. It never panics. The
// caller limits the size of JSON.
//
// It knows nothing of events but the names of two fields.
package decode

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postbus/postbus/plugins/payload"
)

// The bounds of a payload.
const (
	MaxSize   = 1 << 20 // bytes
	MaxValues = 100_000
	MaxDepth  = 64 // nested lists and maps
)

var (
	errMany = fmt.Errorf("it has more than the maximum of %d values", MaxValues)
	errDeep = fmt.Errorf("it is nested deeper than the maximum of %d levels", MaxDepth)
	errRest = errors.New("there are more bytes after the value")
)

// Encoding is json, cbor, msgpack, csv or none.
type Encoding string

// Binary reports whether the encoding has bytes that are no text.
func (e Encoding) Binary() bool { return e == "cbor" || e == "msgpack" }

// IsJSON reports whether the encoding is JSON, by name or by default.
func (e Encoding) IsJSON() bool { return e == JSON || e == "" }

// JSON is the default of most sources.
const JSON Encoding = "json"

// Payload sets json in an event's fields to the value of b, and to nil if b cannot be decoded. Then
// decode_error says why, except for JSON, because most texts are none. The value of CSV is a list of
// records.
func (e Encoding) Payload(b []byte, fields map[string]any) { e.set(b, fields, false) }

// Message is Payload for senders that choose the size: JSON of more than MaxSize is not decoded.
func (e Encoding) Message(b []byte, fields map[string]any) {
	if e.IsJSON() && len(b) > MaxSize {
		e = "none"
	}
	e.set(b, fields, false)
}

// Line is Payload for sources whose events are lines: the value of CSV is one record.
func (e Encoding) Line(b []byte, fields map[string]any) { e.set(b, fields, true) }

func (e Encoding) set(b []byte, fields map[string]any, line bool) {
	v, err := e.value(b, line)
	fields["json"] = v
	if err != nil {
		fields["decode_error"] = readable(fmt.Sprintf("this is not %s: %v", e.name(), err))
	}
}

// maxReason is the maximum length of decode_error, in bytes.
const maxReason = 200

// readable shortens a library's error, which may quote the payload, and replaces what no reader can
// see.
func readable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, s)
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}

func (e Encoding) name() string {
	if e == "msgpack" {
		return "MessagePack"
	}
	return strings.ToUpper(string(e))
}

func (e Encoding) value(b []byte, line bool) (v any, err error) {
	switch e {
	case "none":
		return nil, nil
	case JSON, "":
		v, _ = payload.JSON(b)
		return v, nil
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("it has %d bytes, more than the maximum of 1 MiB", len(b))
	}
	switch e {
	case "cbor":
		return fromCBOR(b)
	case "msgpack":
		return fromMessagePack(b)
	}
	return fromCSV(b, line)
}

// fromCSV returns the records of a payload, or the only one of a line. A record is a list of texts.
func fromCSV(b []byte, line bool) (any, error) {
	text := payload.Text(b)
	if strings.Count(text, ",")+strings.Count(text, "\n") >= MaxValues {
		return nil, errMany
	}
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = -1
	records := []any{}
	for {
		fields, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		record := make([]any, len(fields))
		for i, f := range fields {
			record[i] = f
		}
		records = append(records, record)
	}
	if !line {
		return records, nil
	}
	switch len(records) {
	case 0:
		return []any{}, nil
	case 1:
		return records[0], nil
	}
	return nil, errors.New("there is a line end in it")
}
