// Package http polls a URL as a source and sends requests as an action.
//
// What the source promises: it sends a request every interval, the first at once and never two at a
// time. An answer of any status is an event. A request without an answer (no connection, timeout,
// body too large) makes the source degraded and makes no event, unless errors is emit. With on:
// change an answer is an event only when its status or body differs from the last event's, and
// requests carry If-None-Match and If-Modified-Since so that the server need not send a known body
// again.
//
// What the action promises: see Action.
//
// Errors of both contain only scheme and host of the URL, and no header's value: the rest may be
// secret.
package http

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/internal/headers"
	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// sample is a complete plugin file with this source.
//
//go:embed sample.yaml
var sample string

// about is the source's description, in Markdown.
const about = "Requests a URL at an interval. Each response makes an event, or with `on: change` each that differs from the one before. " +
	"While the server does not respond, the plugin is degraded; with `errors: emit` there is also an event. At most 5 redirects are followed, never " +
	"to another host nor from https to http. It runs on every platform."

// Options of the source.
type Options struct {
	URL      string            `key:"url" doc:"the URL to request, as https://api.example.com/v1/status" need:"yes" url:"http|https"`
	Every    time.Duration     `key:"every" doc:"time from one request to the next" min:"1s" max:"8760h"`
	Method   string            `key:"method" doc:"the request's method" oneof:"GET|HEAD|POST|PUT|PATCH|DELETE"`
	Headers  map[string]string `key:"headers" doc:"headers of the request" secret:"yes"`
	Body     string            `key:"body" doc:"body of the request" secret:"within"`
	Timeout  time.Duration     `key:"timeout" doc:"the maximum time until the whole response has arrived" min:"100ms" max:"10m"`
	On       string            `key:"on" doc:"all: every response is an event; change: only one whose status or body differs from the last" oneof:"all|change"`
	Errors   string            `key:"errors" doc:"what happens when there is no response. degrade: the plugin is degraded; emit: there is also an event" oneof:"degrade|emit"`
	MaxBody  int64             `key:"max_body" doc:"the maximum size of a response's body; a larger one is an error" unit:"size" min:"1B" max:"16MiB"`
	Insecure bool              `key:"insecure" doc:"accept any TLS certificate: anyone on the network path can then read and change the traffic"`

	Decode decode.Encoding `key:"decode" doc:"the encoding of the body, whose value is in event.json; csv: a list of records, each a list of texts; none: it is not decoded" oneof:"json|cbor|msgpack|csv|none"`
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{Every: time.Minute, Method: "GET", Timeout: 10 * time.Second, On: "all", Errors: "degrade", MaxBody: 1 << 20, Decode: decode.JSON}
}

// Check checks the headers.
func (o Options) Check() []error {
	return headers.Check(o.Headers)
}

// event documents the fields of an event.
type event struct {
	Status      int               `key:"status" doc:"the response's status, as 200; 0 when there was no response"`
	OK          bool              `key:"ok" doc:"whether the status is from 200 to 299"`
	Text        string            `key:"text" doc:"the response's body; bytes that are not UTF-8 are replaced"`
	JSON        any               `key:"json" doc:"the decoded body, see decode; nil if it cannot be decoded"`
	DecodeError string            `key:"decode_error" doc:"why the body is not CBOR, MessagePack or CSV, if decode says that it is; otherwise nil"`
	Headers     map[string]string `key:"headers" doc:"the response's headers with lower-case names; the first of repeated ones; without Set-Cookie"`
	Took        float64           `key:"took" doc:"the time until the whole response had arrived, in seconds"`
	Changed     bool              `key:"changed" doc:"whether status or body differ from the last response's; true for the first"`
	Error       string            `key:"error" doc:"why there was no response, with errors: emit; otherwise empty"`
}

// Source polls one URL. An instance runs once: New, Run.
type Source struct {
	o      Options
	env    kind.Env
	client *http.Client

	last     string // the last answer, to detect change
	tag      string // ETag and Last-Modified of the last answer
	modified string
	degraded bool
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source {
	s := &Source{o: o, env: env, client: client(o.Insecure)}
	s.client.CheckRedirect = s.redirect
	return s
}

// Run polls until ctx ends.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	defer s.client.CloseIdleConnections()
	for ctx.Err() == nil {
		began := time.Now()
		fields, err := s.ask(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.degraded = true
			s.env.Degraded(err)
			if s.o.Errors == "emit" {
				fields = s.failed(err, time.Since(began))
			}
		} else if s.degraded {
			s.degraded = false
			s.env.Degraded(nil)
		}
		if fields != nil && (s.o.On != "change" || fields["changed"] == true) {
			if err := emit(ctx, time.Now(), fields); err != nil {
				return err
			}
		}
		_ = kind.Sleep(ctx, s.o.Every-time.Since(began))
	}
	return nil
}

// ask sends one request. The fields are nil when the server answers that nothing changed.
func (s *Source) ask(ctx context.Context) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	began := time.Now()
	r, err := http.NewRequestWithContext(ctx, s.o.Method, s.o.URL, strings.NewReader(s.o.Body))
	if err != nil {
		return nil, s.failure(err)
	}
	setHeaders(r, s.o.Headers)
	asked := s.o.On == "change" && s.condition(r.Header)
	res, err := s.client.Do(r)
	if err != nil {
		return nil, s.failure(err)
	}
	defer res.Body.Close()
	if asked && res.StatusCode == http.StatusNotModified {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, s.o.MaxBody+1))
	if err != nil {
		return nil, s.failure(err)
	}
	if int64(len(body)) > s.o.MaxBody {
		return nil, s.failure(fmt.Errorf("the body is larger than max_body, %d bytes", s.o.MaxBody))
	}
	s.tag, s.modified = "", ""
	if res.StatusCode == http.StatusOK { // only then does a later 304 refer to this body
		s.tag, s.modified = res.Header.Get("ETag"), res.Header.Get("Last-Modified")
	}
	fields := map[string]any{
		"status":  res.StatusCode,
		"ok":      res.StatusCode/100 == 2,
		"text":    lines.Text(body),
		"headers": headersOf(res),
		"took":    seconds(time.Since(began)),
		"changed": s.differs(fmt.Sprintf("%d %x", res.StatusCode, sha256.Sum256(body))),
		"error":   "",
	}
	s.o.Decode.Payload(body, fields)
	return fields, nil
}

// condition makes the request conditional on a change, unless the file sets such headers itself.
func (s *Source) condition(h http.Header) bool {
	if h.Get("If-None-Match") != "" || h.Get("If-Modified-Since") != "" || s.o.Method != "GET" && s.o.Method != "HEAD" {
		return false
	}
	if s.tag != "" {
		h.Set("If-None-Match", s.tag)
	}
	if s.modified != "" {
		h.Set("If-Modified-Since", s.modified)
	}
	return s.tag != "" || s.modified != ""
}

func (s *Source) differs(now string) bool {
	changed := now != s.last
	s.last = now
	return changed
}

// failed returns the event of a request without an answer. It also makes the next answer count as a
// change.
func (s *Source) failed(err error, took time.Duration) map[string]any {
	s.tag, s.modified = "", ""
	return map[string]any{
		"status": 0, "ok": false, "text": "", "json": nil, "headers": map[string]any{}, "took": seconds(took),
		"changed": s.differs("no answer"), "error": lines.Text([]byte(err.Error())),
	}
}

func (s *Source) failure(err error) error { return failure(s.o.Method, s.o.URL, err) }

// redirect decides whether a redirect is followed: only on one host, and never from https to http.
func (s *Source) redirect(r *http.Request, via []*http.Request) error {
	last := via[len(via)-1]
	switch {
	case len(via) > 5:
		return errors.New("more than 5 redirects")
	case r.URL.Scheme != last.URL.Scheme && r.URL.Scheme != "https":
		return fmt.Errorf("a redirect from %s to %s is not followed", last.URL.Scheme, r.URL.Scheme)
	}
	upgrade := r.URL.Scheme == "https" && last.URL.Scheme == "http" && r.URL.Hostname() == last.URL.Hostname()
	if r.URL.Host != last.URL.Host && !upgrade { // the file names one host, and so do its permissions
		return fmt.Errorf("a redirect to another host (%s) is not followed; write its URL into the file", r.URL.Host)
	}
	return nil
}

func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e6 }
