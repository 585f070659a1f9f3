// Package hook asks another service about users that the config does not have: an HTTP request with
// the user name and the password, and an answer with the rights.
//
// It promises:
//
//   - It fails closed. Only a complete answer with "allow": true lets a client in. A timeout, another
//     status, a redirect, an unknown or missing key, or more than 64 KiB do not.
//   - The service gets at most 16 requests at a time. Logins wait in turns, as for a check of a
//     password: one address that sends wrong passwords waits longer and longer, and keeps out no user
//     that has logged in before. Answers are remembered for a while.
//   - A user that the service allowed within the last hour can log in with the same password while
//     the service can't be reached. Nobody else can.
//   - No password stays in memory after the answer: it is remembered by a hash with a random key.
//
// It knows neither the bus nor the config: package cmd/postbus translates, and checks the rights.
package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/postbus/postbus/bus/internal/remote"
	"github.com/postbus/postbus/bus/internal/turns"
	"github.com/postbus/postbus/bus/quiet"
)

const (
	parallel    = 16
	maxText     = 1024      // bytes of a user name or a password
	stale       = time.Hour // how long an allowed user counts while the service is away
	pause       = time.Second
	maxAllowed  = 10_000   // answers that are remembered
	maxRefused  = 2_500    // the same
	maxRemember = 16 << 20 // bytes of them
)

// ErrRefused means that the service does not know the user, or that the password is wrong.
var ErrRefused = errors.New("the user name or the password is wrong")

// ErrUnavailable means that the service gave no usable answer. The client should try again.
var ErrUnavailable = errors.New("the service that checks logins gave no answer, try again")

// ErrBusy means that too many clients wait for an answer. The client should try again.
var ErrBusy = turns.ErrBusy

// Options are the options of a Hook.
type Options struct {
	URL     string        // passwords go there: it should be https, except on loopback
	Timeout time.Duration // of a request
	Cache   time.Duration // how long an answer counts, at most an hour; 0: each login is asked about
	Secret  string        // sent as "Authorization: Bearer"; "": none
	Logger  *slog.Logger
}

// Request is a login.
type Request struct {
	User     string `json:"user"`
	Password string `json:"password"`
	Client   string `json:"client,omitempty"` // the client identifier, with MQTT
	Address  string `json:"address"`          // the client's, with its port
	Protocol string `json:"protocol"`         // "mqtt" or "http"
}

// Hook asks one service. It is safe for concurrent use. Close it when nothing asks any more, or to
// end what waits.
type Hook struct {
	o      Options
	client *http.Client
	ask    func(context.Context, Request) (Answer, error) // send; the tests have their own
	queue  *turns.Queue[result]
	sum    func(parts ...string) [32]byte // identifies a login
	quiet  quiet.Log
	life   context.Context
	end    context.CancelFunc

	mu      sync.Mutex
	allowed *recent
	refused *recent
	names   *recent   // of allowed users, whose logins have turns of their own
	resume  time.Time // after a failure: nothing is asked before
}

// result is the outcome of a request.
type result struct {
	answer Answer
	err    error
}

// New makes a Hook.
func New(o Options) *Hook {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxConnsPerHost, t.MaxIdleConnsPerHost, t.MaxIdleConns = parallel, parallel, parallel
	t.MaxResponseHeaderBytes = 64 << 10
	h := &Hook{o: o, sum: turns.NewSum(), queue: turns.New[result](parallel),
		allowed: newRecent(maxAllowed, maxRemember), refused: newRecent(maxRefused, maxRemember), names: newRecent(maxAllowed, maxRemember),
		client: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	h.ask = h.send
	h.life, h.end = context.WithCancel(context.Background())
	return h
}

// Close ends requests that run, which are ErrUnavailable; those that wait and later ones are ErrBusy.
func (h *Hook) Close() {
	h.end()
	h.queue.Close()
	h.client.CloseIdleConnections()
}

// Ask returns the rights of a client. The errors are ErrBusy, and those that wrap ErrRefused or
// ErrUnavailable.
func (h *Hook) Ask(r Request) (Answer, error) {
	if r.User == "" || len(r.User) > maxText || len(r.Password) > maxText || !utf8.ValidString(r.User+r.Password) {
		return Answer{}, ErrRefused // JSON can't carry other bytes
	}
	sum, name := h.sum(r.User, r.Password), h.sum(r.User)
	if res, ok := h.remembered(sum, h.o.Cache); ok {
		return res.answer, res.err
	}
	from := turns.Origin{Site: remote.Site(r.Address)}
	if h.isKnown(name) {
		from.User = r.User
	}
	turn := sum
	if h.o.Cache == 0 { // each of them is asked about
		turn = h.sum(r.User, r.Password, r.Client, r.Address, r.Protocol)
	}
	res, err := h.queue.Do(from, turn, func() (result, turns.Verdict) { return h.decide(r, sum, name) })
	if err != nil {
		return Answer{}, err
	}
	return res.answer, res.err
}

// decide asks the service, when it is the login's turn, and remembers the answer.
func (h *Hook) decide(r Request, sum, name [32]byte) (result, turns.Verdict) {
	if res, ok := h.remembered(sum, h.o.Cache); ok { // an equal login was faster
		return res, turns.None
	}
	a, err := h.request(r)
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err != nil:
		if res, ok := h.allowed.get(sum, now, stale); ok {
			return res, turns.Right
		}
		return result{err: ErrUnavailable}, turns.None
	case !a.Allow || !a.Until.IsZero() && !now.Before(a.Until):
		res := result{err: ErrRefused}
		if a.Reason != "" {
			res.err = fmt.Errorf("%w: %s", ErrRefused, a.Reason)
		}
		h.allowed.remove(sum)
		if h.o.Cache > 0 {
			h.refused.put(sum, res, now)
		}
		return res, turns.Wrong
	}
	if h.o.Cache > 0 {
		h.allowed.put(sum, result{answer: a}, now)
	}
	h.refused.remove(sum)
	h.names.put(name, result{}, now)
	return result{answer: a}, turns.Right
}

// remembered returns an earlier answer that is not older than age.
func (h *Hook) remembered(sum [32]byte, age time.Duration) (result, bool) {
	if age == 0 {
		return result{}, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if res, ok := h.allowed.get(sum, now, age); ok {
		return res, true
	}
	return h.refused.get(sum, now, age)
}

func (h *Hook) isKnown(name [32]byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.names.items[name]
	return ok
}

// request makes one request. For a while after a failure it makes none, so that logins do not wait
// for one timeout after the other.
func (h *Hook) request(r Request) (Answer, error) {
	h.mu.Lock()
	resting := time.Now().Before(h.resume)
	h.mu.Unlock()
	if resting {
		return Answer{}, ErrUnavailable
	}
	ctx, cancel := context.WithTimeout(h.life, h.o.Timeout)
	defer cancel()
	a, err := h.ask(ctx, r)
	if err != nil && h.life.Err() == nil {
		h.quiet.Warn(h.o.Logger, "", "the service that checks logins gave no usable answer, new logins are refused", "url", remote.WithoutQuery(h.o.URL), "err", remote.WithoutURL(err))
		h.mu.Lock()
		h.resume = time.Now().Add(pause)
		h.mu.Unlock()
	}
	return a, err
}

func (h *Hook) send(ctx context.Context, r Request) (Answer, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return Answer{}, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, h.o.URL, bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Accept", "application/json")
	q.Header.Set("User-Agent", "postbus")
	if h.o.Secret != "" {
		q.Header.Set("Authorization", "Bearer "+h.o.Secret)
	}
	a, err := h.client.Do(q)
	if err != nil {
		return Answer{}, err
	}
	defer a.Body.Close()
	data, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer+1))
	switch {
	case err != nil:
		return Answer{}, err
	case a.StatusCode != http.StatusOK:
		return Answer{}, fmt.Errorf("the answer is %s, not 200", a.Status)
	}
	return parseAnswer(data)
}
