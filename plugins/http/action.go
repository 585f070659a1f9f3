package http

// This file is the action, which sends an event as a request.

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

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
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions {
	return ActionOptions{Method: "POST", Timeout: 10 * time.Second, MaxBody: 1 << 20}
}

// Check checks the options against each other.
func (o ActionOptions) Check() []error {
	errs := checkHeaders(o.Headers)
	for _, s := range o.Allow {
		if s < 200 || s > 599 {
			errs = append(errs, kind.Wrong("allow", fmt.Sprintf("%d is not a status from 200 to 599", s), ""))
		}
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
	Key     string            `key:"key" doc:"a value that identifies this event, sent as Idempotency-Key; visible ASCII characters"`
}

// Action sends a request for each event, at least once.
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

// Do sends one request.
func (a *Action) Do(ctx context.Context, args Args) error {
	return a.send(ctx, args, func(res *http.Response) error {
		_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be reused
		return nil
	})
}

// Ask sends one request and returns the answer, if its status is success.
func (a *Action) Ask(ctx context.Context, args Args) (fields map[string]any, err error) {
	began := time.Now()
	err = a.send(ctx, args, func(res *http.Response) error {
		body, err := io.ReadAll(io.LimitReader(res.Body, a.o.MaxBody+1))
		if err != nil {
			return err
		}
		if int64(len(body)) > a.o.MaxBody {
			return kind.Permanent(fmt.Errorf("the answer's body is larger than max_body, %d bytes", a.o.MaxBody))
		}
		fields = map[string]any{"status": res.StatusCode, "text": lines.Text(body), "headers": headersOf(res), "took": seconds(time.Since(began)), "json": nil}
		if v, ok := payload.JSON(body); ok {
			fields["json"] = v
		}
		return nil
	})
	return fields, err
}

// send sends a request, and calls read for an answer that is success.
func (a *Action) send(ctx context.Context, args Args, read func(*http.Response) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.o.Timeout)
	defer cancel()
	if args.URL == "" {
		args.URL = a.o.URL
	}
	if args.Headers == nil {
		args.Headers = a.o.Headers
	}
	r, err := a.request(ctx, args)
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
	if good {
		if err := read(res); err != nil {
			return failure(a.o.Method, args.URL, err)
		}
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

// request makes the request of an event.
func (a *Action) request(ctx context.Context, args Args) (*http.Request, error) {
	u, err := url.Parse(args.URL)
	if err != nil {
		return nil, errors.New("this is not a URL")
	}
	if errs := checkHeaders(args.Headers); len(errs) > 0 {
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
	if args.Key != "" {
		if len(args.Key) > 255 || strings.IndexFunc(args.Key, func(c rune) bool { return c < ' ' || c > '~' }) >= 0 {
			return nil, errors.New("key has more than 255 or other than visible ASCII characters")
		}
		r.Header.Set("Idempotency-Key", args.Key)
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
