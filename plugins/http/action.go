package http

// This file is the action, which sends an event as a request.

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/postbus/postbus/plugins/internal/headers"
	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload"
)

// actionSample is a complete plugin file with this action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is the action's description, in Markdown.
const actionAbout = "Sends a request for each event, with the body as `json`, `text` or `form`. A status from 200 to 299 (or of `allow`) is success. " +
	"Without a response, and after 408, 425, 429 and 5xx, the request is retried, after the time of `Retry-After` if the server gives one (at most 1 h), so that a server may get an event twice: set a `key`, which is " +
	"sent as Idempotency-Key, if the server supports it. With `on_answer` the answer is an event: it is published before the job counts as done. Other statuses are not retried. Redirects are not followed. It runs on every platform."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	URL      string            `key:"url" doc:"the URL to send to, as https://api.example.com/v1/events" need:"yes" url:"http|https"`
	Method   string            `key:"method" doc:"the request's method" oneof:"POST|PUT|PATCH|DELETE|GET|HEAD"`
	Headers  map[string]string `key:"headers" doc:"headers of the request" secret:"yes"`
	Timeout  time.Duration     `key:"timeout" doc:"the maximum time until the response arrives" min:"100ms" max:"10m"`
	Allow    []int             `key:"allow" doc:"the statuses that count as success; default 200 to 299"`
	MaxBody  int64             `key:"max_body" doc:"the maximum size of an answer's body for on_answer; a larger one is an error" unit:"size" min:"1B" max:"16MiB"`
	Insecure bool              `key:"insecure" doc:"accept any TLS certificate: anyone on the network path can then read and change the traffic"`
	Batch    *kind.Batch       `key:"batch" doc:"send several events with one request: their text as lines, or their json as an array. Default: count 500, bytes 1MiB"`
	Join     string            `key:"join" doc:"with batch: how bodies are joined; lines also for json (NDJSON); default: array for json" oneof:"lines|array"`
	ArrayIn  string            `key:"array_in" doc:"with batch: the body is an object, and the array its field of this name, as streams for Loki"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions {
	return ActionOptions{Method: "POST", Timeout: 10 * time.Second, MaxBody: 1 << 20}
}

// Check checks the options against each other.
func (o ActionOptions) Check() []error {
	errs := headers.Check(o.Headers)
	for _, s := range o.Allow {
		if s < 200 || s > 599 {
			errs = append(errs, kind.Wrong("allow", fmt.Sprintf("%d is not a status from 200 to 599", s), ""))
		}
	}
	for key, value := range map[string]string{"join": o.Join, "array_in": o.ArrayIn} {
		if value != "" && o.Batch == nil {
			errs = append(errs, kind.Wrong(key, key+" belongs to batch, which is not there", "write batch: {count: 500}"))
		}
	}
	if o.ArrayIn != "" && o.Join == "lines" {
		errs = append(errs, kind.Wrong("array_in", "lines are not an array", "leave one of them out"))
	}
	return errs
}

// Args are the arguments for one event. URL and Headers are empty where they are options.
type Args struct {
	URL     string            `key:"url" doc:"the URL to send to, as https://api.example.com/v1/events; a filled-in value stays within its level of the path or its parameter, and its host is fixed or listed in permissions.host" url:"http|https"`
	Headers map[string]string `key:"headers" doc:"headers of the request"`
	Query   map[string]string `key:"query" doc:"parameters that are added to the URL"`
	JSON    any               `key:"json" doc:"body as JSON; at most one of json, text and form"`
	Text    string            `key:"text" doc:"body as text"`
	Form    map[string]string `key:"form" doc:"body as a URL-encoded form"`
	Key     string            `key:"key" doc:"a value that identifies this event, sent as Idempotency-Key; visible ASCII characters; default: an identity of the event and the entry that a repetition has too"`
}

// Action sends a request for each event, or for several, at least once.
type Action struct {
	o      ActionOptions
	client *http.Client
}

// NewAction makes an action of checked options.
func NewAction(o ActionOptions, _ kind.Env) *Action {
	a := &Action{o: o, client: client(o.Insecure)}
	a.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return a
}

// answer documents the fields of an answer.
type answer struct {
	Status  int               `key:"status" doc:"the answer's status, as 200"`
	Text    string            `key:"text" doc:"the answer's body; bytes that are not UTF-8 are replaced"`
	JSON    any               `key:"json" doc:"the decoded body; nil if it is not JSON"`
	Headers map[string]string `key:"headers" doc:"the answer's headers with lower-case names; the first of repeated ones; without Set-Cookie"`
	Took    float64           `key:"took" doc:"the time until the whole answer had arrived, in seconds"`
}

// Batch implements kind.BatchAction.
func (a *Action) Batch() kind.Batch {
	if a.o.Batch == nil {
		return kind.Batch{Count: 1}
	}
	b := *a.o.Batch
	b.Count, b.Bytes = cmp.Or(b.Count, 500), cmp.Or(b.Bytes, 1<<20)
	return b
}

// DoAll sends a request for each job, or with batch for all that go to the same URL with the same headers.
func (a *Action) DoAll(ctx context.Context, jobs []kind.Job[Args]) (done int, err error) {
	for i := range jobs { // fixed parts are options
		args := &jobs[i].Args
		if args.URL == "" {
			args.URL = a.o.URL
		}
		if args.Headers == nil {
			args.Headers = a.o.Headers
		}
	}
	for done < len(jobs) {
		n := 1
		for a.o.Batch != nil && done+n < len(jobs) && jobs[done].Args.goesWith(&jobs[done+n].Args) {
			n++
		}
		if err := a.send(ctx, jobs[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// goesWith reports whether two events can be sent together.
func (args *Args) goesWith(o *Args) bool {
	return args.URL == o.URL && maps.Equal(args.Headers, o.Headers) && maps.Equal(args.Query, o.Query) && args.Form == nil && o.Form == nil
}

// send sends one request for all jobs.
func (a *Action) send(ctx context.Context, jobs []kind.Job[Args]) error {
	args := jobs[0].Args
	limited, cancel := context.WithTimeout(ctx, a.o.Timeout)
	defer cancel()
	began := time.Now()
	r, err := a.request(limited, jobs)
	if err != nil {
		return kind.Permanent(failure(a.o.Method, args.URL, err))
	}
	res, err := a.client.Do(r)
	if err != nil {
		return failure(a.o.Method, args.URL, err)
	}
	defer res.Body.Close()
	good := res.StatusCode/100 == 2
	if len(a.o.Allow) > 0 {
		good = slices.Contains(a.o.Allow, res.StatusCode)
	}
	switch {
	case good && jobs[0].Answer != nil: // of one job: the engine allows no batches of such
		fields, err := a.fields(res, began)
		if err != nil {
			return failure(a.o.Method, args.URL, err)
		}
		return jobs[0].Answer(ctx, fields)
	case good:
		_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be reused
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // as much as arrived
	err = failure(a.o.Method, args.URL, fmt.Errorf("the server answered %d%s", res.StatusCode, quote(body, args)))
	switch s := res.StatusCode; {
	case s >= 500, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
		return kind.After(err, retryAfter(res.Header.Get("Retry-After"), time.Now()))
	}
	return kind.Permanent(err)
}

// fields are those of an answer.
func (a *Action) fields(res *http.Response, began time.Time) (map[string]any, error) {
	body, err := io.ReadAll(io.LimitReader(res.Body, a.o.MaxBody+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > a.o.MaxBody {
		return nil, kind.Permanent(fmt.Errorf("the answer's body is larger than max_body, %d bytes", a.o.MaxBody))
	}
	fields := map[string]any{"status": res.StatusCode, "text": lines.Text(body), "headers": headersOf(res), "took": seconds(time.Since(began)), "json": nil}
	if v, ok := payload.JSON(body); ok {
		fields["json"] = v
	}
	return fields, nil
}

// retryAfter reads a number of seconds or a date, as in RFC 9110, section 10.2.3; 0: there is none.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// request makes the request of jobs that go together.
func (a *Action) request(ctx context.Context, jobs []kind.Job[Args]) (*http.Request, error) {
	args := jobs[0].Args
	u, err := url.Parse(args.URL)
	if err != nil {
		return nil, errors.New("this is not a URL")
	}
	if errs := headers.Check(args.Headers); len(errs) > 0 {
		return nil, errs[0]
	}
	if len(args.Query) > 0 {
		q := u.Query()
		for name, value := range args.Query {
			q.Set(name, value)
		}
		u.RawQuery = q.Encode()
	}
	body, kind, err := args.body()
	if a.o.Batch != nil {
		body, kind, err = a.joined(jobs)
	}
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, a.o.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	if a.o.Method != http.MethodGet && a.o.Method != http.MethodHead {
		key, err := identity(jobs)
		if err != nil {
			return nil, err
		}
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
	}
	setHeaders(r, args.Headers)
	return r, nil
}

// body returns the request's body and its type.
func (args *Args) body() (body []byte, kind string, err error) {
	kinds := 0
	if args.JSON != nil {
		kinds++
		if body, err = asJSON(args.JSON); err != nil {
			return nil, "", err
		}
		kind = "application/json"
	}
	if args.Text != "" {
		kinds++
		body, kind = []byte(args.Text), "text/plain; charset=utf-8"
	}
	if args.Form != nil {
		kinds++
		v := url.Values{}
		for name, value := range args.Form {
			v.Set(name, value)
		}
		body, kind = []byte(v.Encode()), "application/x-www-form-urlencoded"
	}
	if kinds > 1 {
		return nil, "", errors.New("a request has one body: json, text and form exclude each other")
	}
	return body, kind, nil
}

func asJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("json: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// quote returns the beginning of a server's answer, without the secrets that it may repeat.
func quote(body []byte, args Args) string {
	text := string(body)
	hide := func(secret string) {
		if len(secret) >= 4 {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	for _, value := range args.Headers {
		hide(value)
		if _, token, ok := strings.Cut(value, " "); ok { // Bearer …
			hide(token)
		}
	}
	if u, err := url.Parse(args.URL); err == nil {
		if p, ok := u.User.Password(); ok {
			hide(p)
		}
		for _, values := range u.Query() {
			for _, v := range values {
				hide(v)
			}
		}
		for _, word := range strings.FieldsFunc(u.User.Username()+"/"+u.Path, func(c rune) bool {
			return !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '-' && c != '_'
		}) {
			if len(word) >= 12 && strings.ContainsAny(word, "0123456789") { // keys look like this, words of a language don't
				hide(word)
			}
		}
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "\uFFFD")), " ")
	if text == "" {
		return ""
	}
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return fmt.Sprintf(": %q", text)
}

// Close closes the idle connections.
func (a *Action) Close() error {
	a.client.CloseIdleConnections()
	return nil
}
