package webhook

// This file handles one request: who may send it, why it is refused, and the event that it makes.

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload"
)

// bodyTime bounds how long a body may take to arrive.
const bodyTime = 30 * time.Second

// event documents the fields of an event.
type event struct {
	Method  string            `key:"method" doc:"the request's method, as POST"`
	Path    string            `key:"path" doc:"the request's path"`
	Query   map[string]string `key:"query" doc:"the query parameters; the first of repeated ones"`
	Headers map[string]string `key:"headers" doc:"the headers with lower-case names; the first of repeated ones; without Authorization, Cookie and the header that authenticates the sender"`
	Text    string            `key:"text" doc:"the body; bytes that are not UTF-8 are replaced"`
	JSON    any               `key:"json" doc:"the decoded body, see decode; nil if it is empty, a form, or text that is not JSON"`
	Form    map[string]string `key:"form" doc:"the body's fields, if it is a URL-encoded form; the first of repeated ones"`
	Remote  string            `key:"remote" doc:"the address of the sender, or of the proxy in front of postbus, as 192.168.1.7:50000"`
}

// ServeHTTP answers one request.
func (s *Source) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(s.o.Methods, r.Method) {
		w.Header().Set("Allow", strings.Join(s.o.Methods, ", "))
		refuse(w, http.StatusMethodNotAllowed, "method not allowed")
		return
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		refuse(w, http.StatusServiceUnavailable, "too many requests at one time")
		return
	}
	if t := s.o.Token; t != nil && !t.matches(r.Header) {
		s.unauthorized(w, r)
		return
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		refuse(w, http.StatusUnsupportedMediaType, "compressed bodies are not supported")
		return
	}
	body, status := s.body(w, r)
	if status != 0 {
		refuse(w, status, strings.ToLower(http.StatusText(status)))
		return
	}
	if h := s.o.HMAC; h != nil && !h.matches(r.Header, body) {
		s.unauthorized(w, r)
		return
	}
	fields, err := s.fields(r, body)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	err = s.deliver(r, fields)
	if kind.IsPermanent(err) { // the reason is for the plugin's log; the sender does not need it
		refuse(w, http.StatusUnprocessableEntity, "the plugin can't process this content")
		return
	}
	if err != nil {
		s.env.Log().Debug("an event of a web hook was not stored", "path", s.o.Path, "error", err)
		refuse(w, http.StatusServiceUnavailable, "not stored; retry")
		return
	}
	answer := Respond{Status: http.StatusNoContent}
	if s.o.Respond != nil {
		answer = *s.o.Respond
	}
	if answer.Status == 0 {
		answer.Status = http.StatusOK
	}
	if answer.Body != "" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
	}
	w.WriteHeader(answer.Status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, answer.Body) // a sender that has disconnected will retry
	}
}

func (s *Source) unauthorized(w http.ResponseWriter, r *http.Request) {
	s.env.Log().Debug("a web hook refused an unauthenticated request", "path", s.o.Path, "remote", r.RemoteAddr)
	refuse(w, http.StatusUnauthorized, "unauthorized")
}

func refuse(w http.ResponseWriter, status int, reason string) {
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	http.Error(w, reason, status)
}

// body reads the body, or returns the status with which the request is refused.
func (s *Source) body(w http.ResponseWriter, r *http.Request) ([]byte, int) {
	if r.ContentLength > s.o.MaxBody {
		return nil, http.StatusRequestEntityTooLarge
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime)) // where it is not supported, the server's own timeout applies
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.o.MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, http.StatusRequestEntityTooLarge
	case err != nil:
		return nil, http.StatusBadRequest
	}
	_ = control.SetReadDeadline(time.Time{}) // otherwise it would end the request while that waits for the bus
	return body, 0
}

// fields returns the fields of a request's event. An error is meant for the sender.
func (s *Source) fields(r *http.Request, body []byte) (map[string]any, error) {
	f := map[string]any{
		"method": r.Method,
		"path":   r.URL.Path,
		"query":  first(r.URL.Query()),
		"text":   lines.Text(body),
		"json":   nil,
		"form":   nil,
		"remote": r.RemoteAddr,
	}
	headers := map[string]any{}
	for name, values := range r.Header {
		if !s.o.private(name) && len(values) > 0 {
			headers[strings.ToLower(name)] = lines.Text([]byte(values[0]))
		}
	}
	f["headers"] = headers
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case !s.o.Decode.IsJSON() && kind != "application/x-www-form-urlencoded":
		if len(body) == 0 {
			break
		}
		s.o.Decode.Payload(body, f)
		if why, failed := f["decode_error"].(string); failed {
			return nil, errors.New(why)
		}
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		v, ok := payload.JSON(body)
		if !ok {
			return nil, errors.New("the body is not JSON")
		}
		f["json"] = v
	case kind == "application/x-www-form-urlencoded":
		values, err := url.ParseQuery(payload.Text(body))
		if err != nil {
			return nil, errors.New("the body is not a form")
		}
		f["form"] = first(values)
	default:
		f["json"], _ = payload.JSON(body)
	}
	return f, nil
}

// first returns the first value of each name, as valid UTF-8.
func first(values url.Values) map[string]any {
	m := make(map[string]any, len(values))
	for name, v := range values {
		if len(v) > 0 {
			m[lines.Text([]byte(name))] = lines.Text([]byte(v[0]))
		}
	}
	return m
}

// private reports whether a header authenticates the sender.
func (o Options) private(name string) bool {
	for _, p := range []string{"Authorization", "Proxy-Authorization", "Cookie"} {
		if strings.EqualFold(name, p) {
			return true
		}
	}
	return o.HMAC != nil && strings.EqualFold(name, o.HMAC.Header) || o.Token != nil && strings.EqualFold(name, o.Token.header())
}

// matches reports whether the header contains the body's signature.
func (h *HMAC) matches(header http.Header, body []byte) bool {
	text, ok := strings.CutPrefix(header.Get(h.Header), h.Prefix.text())
	if !ok {
		return false
	}
	var sum []byte
	var err error
	if h.Encoding == "base64" {
		sum, err = base64.StdEncoding.DecodeString(text)
	} else {
		sum, err = hex.DecodeString(text)
	}
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, []byte(h.Key))
	mac.Write(body)
	return hmac.Equal(sum, mac.Sum(nil))
}

// matches reports whether the header contains the token. It compares hashes, so that the time
// reveals nothing, not even the length.
func (t *Token) matches(header http.Header) bool {
	given := header.Get(t.header())
	want := sha256.Sum256([]byte(t.Value))
	plain := sha256.Sum256([]byte(given))
	ok := subtle.ConstantTimeCompare(plain[:], want[:])
	if scheme, rest, found := strings.Cut(given, " "); found && strings.EqualFold(scheme, "Bearer") {
		bearer := sha256.Sum256([]byte(strings.TrimSpace(rest)))
		ok |= subtle.ConstantTimeCompare(bearer[:], want[:])
	}
	return ok == 1
}

func (t *Token) header() string {
	if t.Header == "" {
		return "Authorization"
	}
	return t.Header
}

// String keeps the secret out of printed text.
func (t *Token) String() string { return "token in " + strconv.Quote(t.header()) }

// String keeps the secret out of printed text.
func (h *HMAC) String() string { return "signature in " + strconv.Quote(h.Header) }
