package web

// This file is what a client sends: a body that is one JSON value.

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

// sentJSON reports whether the body says that it is JSON, or answers that it must. A page of another origin cannot send
// this type without asking first, see guard.go.
func sentJSON(w http.ResponseWriter, r *http.Request) bool {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		fail(w, http.StatusUnsupportedMediaType, "set Content-Type: application/json", "want JSON")
		return false
	}
	return true
}

// readJSON reads the body into v. A body of more than limit bytes is a *http.MaxBytesError; unknown keys and a second value
// are mistakes too.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil && d.Decode(&struct{}{}) != io.EOF {
		err = errors.New("there is more than one value")
	}
	return err
}

// jsonMistake is readJSON's error in words for the client.
func jsonMistake(err error) string { return strings.TrimPrefix(err.Error(), "json: ") }
