package web

// This file reads clients' input: a body that is one JSON value, and the keys of a query. Errors
// are in plain words and name the position.

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// known refuses a query with a key that is not in keys: a mistyped one would be ignored.
func known(h http.HandlerFunc, keys ...string) http.HandlerFunc {
	hint := "known: " + strings.Join(keys, ", ")
	if len(keys) == 0 {
		hint = "this endpoint takes no query"
	}
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			fail(w, http.StatusBadRequest, "a % is written %25, a ; %3B", "the query cannot be read: %v", err)
			return
		}
		for _, k := range slices.Sorted(maps.Keys(q)) {
			if !slices.Contains(keys, k) {
				fail(w, http.StatusBadRequest, hint, "unknown key %q in the query", k)
				return
			}
		}
		h(w, r)
	}
}

// sentJSON reports whether the Content-Type is JSON, and answers with an error if not. A page of
// another origin cannot send this type without a preflight request, see guard.go.
func sentJSON(w http.ResponseWriter, r *http.Request) bool {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		fail(w, http.StatusUnsupportedMediaType, "set Content-Type: application/json", "the body must be JSON")
		return false
	}
	return true
}

// readJSON reads the body into v. A body of more than limit bytes yields a *http.MaxBytesError;
// unknown keys and a second value are errors too. All other errors are written for the client to
// read.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return jsonMistake(err, body)
	}
	if end := d.InputOffset(); len(bytes.TrimSpace(body[end:])) > 0 {
		return fmt.Errorf("there is more than one value, the first ends %s", position(body, end))
	}
	return nil
}

// jsonMistake is an error of package json in words without Go's terms, and with its position.
func jsonMistake(err error, body []byte) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var base64 base64.CorruptInputError
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the body is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the JSON ends too early, %s", position(body, int64(len(body))))
	case errors.As(err, &syntax):
		return fmt.Errorf("%v, %s", err, position(body, syntax.Offset))
	case errors.As(err, &base64):
		return fmt.Errorf("payload_base64 is not valid base64: wrong at its byte %d", int64(base64)+1)
	case errors.As(err, &kind) && kind.Field == "payload" && kind.Value != "string":
		return fmt.Errorf(`payload is a text, not %s: JSON is written as text, as in "payload": "{\"on\": true}", or as payload_base64`, sent(kind.Value))
	case errors.As(err, &kind) && kind.Field == "":
		return fmt.Errorf("want an object, not %s", sent(kind.Value))
	case errors.As(err, &kind):
		return fmt.Errorf("%s is %s, not %s", kind.Field, wantedKind(kind.Type), sent(kind.Value))
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// sent names a kind of JSON value, or a number that does not fit, from the name in package json.
func sent(value string) string {
	number, is := strings.CutPrefix(value, "number ")
	switch {
	case is:
		return number
	case value == "object":
		return "an object"
	case value == "array":
		return "a list"
	case value == "bool":
		return "true or false"
	case value == "string":
		return "a text"
	}
	return "a " + value
}

func wantedKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Uint8:
		return "0, 1 or 2" // a QoS
	}
	return "a text"
}

// place is the line and the column of the last of n bytes.
func position(body []byte, n int64) string {
	before := body[:min(max(n-1, 0), int64(len(body)))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	if line == 1 {
		return fmt.Sprintf("at character %d", column)
	}
	return fmt.Sprintf("at line %d, character %d", line, column)
}
