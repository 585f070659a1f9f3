package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/internal/logtest"
	"github.com/postbus/postbus/bus/internal/turns"
)

// service answers on virtual time: the password "right" is right.
type service struct {
	mu      sync.Mutex
	asked   int
	running int
	most    int // that ran at a time
	takes   time.Duration
	down    error
	answer  Answer // for a right password
}

func (s *service) ask(ctx context.Context, r Request) (Answer, error) {
	s.mu.Lock()
	s.asked++
	s.running++
	s.most = max(s.most, s.running)
	takes, down, a := s.takes, s.down, s.answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
	}()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
	if down != nil {
		return Answer{}, down
	}
	a.Allow = r.Password == "right"
	return a, nil
}

func (s *service) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *service) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func newHook(t testing.TB, s *service, cache time.Duration) (*Hook, *logtest.Buffer) {
	book := &logtest.Buffer{}
	h := New(Options{URL: "http://127.0.0.1:9/login", Timeout: 2 * time.Second, Cache: cache, Logger: slog.New(slog.NewTextHandler(book, nil))})
	if s != nil {
		h.ask = s.ask
	}
	t.Cleanup(h.Close)
	return h, book
}

func login(user, password, address string) Request {
	return Request{User: user, Password: password, Client: "c", Address: address, Protocol: "mqtt"}
}

func TestAnswersAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: Answer{Groups: []string{"app"}, Reason: "locked"}}
		h, _ := newHook(t, s, time.Minute)
		for range 100 {
			if a, err := h.Ask(login("ann", "right", "192.0.2.1:1")); err != nil || len(a.Groups) != 1 {
				t.Fatal(a, err)
			}
			if _, err := h.Ask(login("ann", "wrong", "192.0.2.1:2")); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "locked") {
				t.Fatal(err)
			}
		}
		if s.count() != 2 {
			t.Errorf("%d requests, want 2", s.count())
		}
		time.Sleep(time.Minute)
		if _, err := h.Ask(login("ann", "right", "192.0.2.1:1")); err != nil || s.count() != 3 {
			t.Errorf("%v, %d requests, want 3", err, s.count())
		}
		for _, key := range []string{"ann", "right", "wrong"} { // lengths count
			h.Ask(login(key+"x", "", "192.0.2.1:1"))
			h.Ask(login(key, "x", "192.0.2.1:1"))
		}
		if s.count() != 9 {
			t.Errorf("%d requests, want 9", s.count())
		}

		each, _ := newHook(t, s, 0)
		before := s.count()
		for range 3 {
			if _, err := each.Ask(login("ann", "right", "192.0.2.1:1")); err != nil {
				t.Fatal(err)
			}
		}
		if s.count() != before+3 {
			t.Errorf("without a cache: %d requests, want 3", s.count()-before)
		}
	})
}

func TestALoginThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: Answer{Until: time.Now().Add(10 * time.Second)}}
		h, _ := newHook(t, s, time.Minute)
		if a, err := h.Ask(login("ann", "right", "192.0.2.1:1")); err != nil || !a.Until.Equal(s.answer.Until) {
			t.Fatal(a, err)
		}
		time.Sleep(10 * time.Second)
		if _, err := h.Ask(login("ann", "right", "192.0.2.1:1")); !errors.Is(err, ErrRefused) || s.count() != 2 {
			t.Errorf("%v, %d requests", err, s.count())
		}
	})
}

func TestTheServiceIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{takes: 10 * time.Millisecond}
		h, book := newHook(t, s, time.Minute)
		if _, err := h.Ask(login("ann", "right", "192.0.2.1:1")); err != nil {
			t.Fatal(err)
		}
		s.set(func() { s.takes = time.Hour }) // each request ends with its timeout
		start, before := time.Now(), s.count()
		var flood sync.WaitGroup
		for i := range 500 {
			flood.Go(func() {
				if _, err := h.Ask(login(fmt.Sprint("u", i), "right", fmt.Sprintf("192.0.2.%d:1", i%250))); !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrBusy) {
					t.Error(err)
				}
			})
		}
		flood.Wait()
		if took := time.Since(start); took > 3*time.Second || s.count()-before > 2*parallel {
			t.Errorf("500 logins took %s and %d requests", took, s.count()-before)
		}
		s.set(func() { s.takes, s.down = 0, errors.New("connection refused") })
		time.Sleep(10 * time.Minute)
		if _, err := h.Ask(login("ann", "right", "192.0.2.1:1")); err != nil {
			t.Errorf("a user that was allowed before: %v", err)
		}
		if _, err := h.Ask(login("ann", "other", "192.0.2.1:1")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("another password: %v", err)
		}
		lines := strings.Count(book.String(), "no usable answer")
		for range 600 {
			time.Sleep(time.Second)
			h.Ask(login("ann", "other", "192.0.2.1:1"))
		}
		if n := strings.Count(book.String(), "no usable answer") - lines; n < 8 || n > 11 {
			t.Errorf("%d lines in ten minutes", n)
		}
		time.Sleep(time.Hour)
		if _, err := h.Ask(login("ann", "right", "192.0.2.1:1")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("an hour later: %v", err)
		}
		s.set(func() { s.down = nil })
		time.Sleep(pause)
		if _, err := h.Ask(login("ann", "right", "192.0.2.1:1")); err != nil {
			t.Errorf("the service is back: %v", err)
		}
	})
}

// TestWrongPasswordsDelayTheirOrigin: a flood of guesses uses a few requests, and delays neither other
// addresses nor users who have logged in before.
func TestWrongPasswordsDelayTheirOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{takes: 50 * time.Millisecond}
		h, _ := newHook(t, s, time.Minute)
		if _, err := h.Ask(login("ann", "right", "192.0.2.1:1")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // it is not remembered any more
		before := s.count()
		var flood sync.WaitGroup
		for i := range 500 {
			flood.Go(func() { h.Ask(login(fmt.Sprint("u", i), "wrong", "192.0.2.1:1")) })
		}
		synctest.Wait()
		for _, honest := range []Request{login("ann", "right", "192.0.2.1:1"), login("new", "right", "198.51.100.1:1")} {
			start := time.Now()
			if _, err := h.Ask(honest); err != nil || time.Since(start) > 3*s.takes {
				t.Errorf("%s waited for %s: %v", honest.User, time.Since(start), err)
			}
		}
		flood.Wait()
		if n := s.count() - before; n > parallel+turns.MaxQueue+2 {
			t.Errorf("%d requests", n)
		}
		start := time.Now()
		for i := range 20 {
			h.Ask(login("bob", fmt.Sprint(i), "192.0.2.1:1"))
		}
		if took := time.Since(start); took < 18*turns.LastDelay {
			t.Errorf("20 more guesses took %s", took)
		}
		var many sync.WaitGroup
		for i := range 900 {
			many.Go(func() { h.Ask(login(fmt.Sprint("m", i), "right", fmt.Sprintf("10.0.%d.%d:1", i/250, i%250))) })
		}
		many.Wait()
		if s.most > parallel {
			t.Errorf("%d requests at a time", s.most)
		}
	})
}

func TestAnswersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: Answer{Publish: []string{strings.Repeat("x", 16<<10)}}}
		h, _ := newHook(t, s, time.Minute)
		for i := range 3000 {
			if _, err := h.Ask(login(fmt.Sprint(i), "right", fmt.Sprintf("10.0.%d.%d:1", i/250, i%250))); err != nil {
				t.Fatal(err)
			}
		}
		if h.allowed.bytes > maxRemember || h.allowed.order.Len() != len(h.allowed.items) || len(h.allowed.items) < 900 {
			t.Errorf("%d bytes, %d items", h.allowed.bytes, len(h.allowed.items))
		}
		r := newRecent(10, 1<<20)
		for i := range 100 {
			r.put(h.sum(fmt.Sprint(i)), result{}, time.Now())
		}
		if len(r.items) != 10 || r.order.Len() != 10 {
			t.Errorf("%d items", len(r.items))
		}
		for i := range 100 {
			r.remove(h.sum(fmt.Sprint(i)))
		}
		if r.bytes != 0 || len(r.items) != 0 {
			t.Errorf("%d bytes", r.bytes)
		}
	})
}

func TestACloseEndsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, book := newHook(t, &service{takes: time.Hour}, 0)
		h.o.Timeout = time.Hour
		done := make(chan error)
		go func() {
			_, err := h.Ask(login("ann", "right", "192.0.2.1:1"))
			done <- err
		}()
		synctest.Wait()
		h.Close()
		if err := <-done; !errors.Is(err, ErrUnavailable) || book.String() != "" {
			t.Error(err, book)
		}
	})
}

// TestTheRequest is about real HTTP: what the service gets, and which answers count.
func TestTheRequest(t *testing.T) {
	type seen struct {
		r      Request
		header http.Header
	}
	got := make(chan seen, 1)
	var answer func(w http.ResponseWriter)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var s seen
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&s.r); err != nil || r.Method != http.MethodPost || r.URL.Path != "/login" {
			t.Error(r.Method, r.URL, err)
		}
		s.header = r.Header
		got <- s
		answer(w)
	}))
	defer web.Close()
	ask := func(text string, status int) (Answer, error) {
		book := &logtest.Buffer{}
		h := New(Options{URL: web.URL + "/login?key=hidden", Timeout: 10 * time.Second, Cache: time.Minute, Secret: "shared", Logger: slog.New(slog.NewTextHandler(book, nil))})
		defer h.Close()
		answer = func(w http.ResponseWriter) {
			w.Header().Set("Location", "/login")
			w.WriteHeader(status)
			fmt.Fprint(w, text)
		}
		want := Request{User: "ann", Password: "päss\"", Client: "c1", Address: "192.0.2.1:5", Protocol: "mqtt"}
		a, err := h.Ask(want)
		if s := <-got; s.r != want || s.header.Get("Authorization") != "Bearer shared" || s.header.Get("Content-Type") != "application/json" {
			t.Errorf("the service got %+v", s)
		}
		if strings.Contains(book.String(), "päss") || strings.Contains(book.String(), "shared") || strings.Contains(book.String(), "hidden") {
			t.Errorf("a secret is in the log: %s", book)
		}
		return a, err
	}
	a, err := ask(`{"allow": true, "user": "ann@x", "groups": ["app"], "publish": ["a/${user}"], "subscribe": ["b"], "deny": ["c"], "until": "2100-01-31T12:00:00Z"}`, 200)
	want := Answer{Allow: true, User: "ann@x", Groups: []string{"app"}, Publish: []string{"a/${user}"}, Subscribe: []string{"b"}, Deny: []string{"c"}, Until: time.Date(2100, 1, 31, 12, 0, 0, 0, time.UTC)}
	if err != nil || !reflect.DeepEqual(a, want) {
		t.Errorf("%+v %v", a, err)
	}
	for _, text := range []string{`{"allow": false}`, `{"allow": false, "reason": "x"}`, `{"allow": true, "until": "2000-01-01T00:00:00Z"}`} {
		if _, err := ask(text, 200); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", text, err)
		}
	}
	const allow = `{"allow": true}`
	for text, status := range map[string]int{
		allow: 201, allow + " ": 204, " " + allow: 302, "  " + allow: 401, allow + "  ": 500, allow + "\n": 307,
		"": 200, "true": 200, "[]": 200, "{}": 200, "null": 200, `{"allow": null}`: 200, `{"allow": 1}`: 200, `{"allow": "true"}`: 200,
		`{"allow": true, "denny": ["a"]}`: 200, `{"allow": true, "deny": "a"}`: 200, `{"allow": true, "until": "soon"}`: 200, `{"allow": true, "until": 4102444800}`: 200,
		allow + allow: 200, `{"allow": true`: 200, `{"allow": true, "publish": ["` + strings.Repeat("x", maxAnswer) + `"]}`: 200,
		`{"allow": true, "publish": [` + strings.Repeat(`"a",`, maxRules) + `"a"]}`: 200, "<html>": 200,
	} {
		if status == http.StatusNoContent {
			continue // net/http allows no body
		}
		if _, err := ask(text, status); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%d %.40s: %v", status, text, err)
		}
	}
}

func TestNamesThatJSONCanNotCarry(t *testing.T) {
	s := &service{}
	h, _ := newHook(t, s, time.Minute)
	for _, r := range []Request{login("ann\xff", "right", ""), login("ann", "right\xff", ""), login("", "right", ""), login("ann", strings.Repeat("x", maxText+1), "")} {
		if _, err := h.Ask(r); !errors.Is(err, ErrRefused) {
			t.Errorf("%.20q: %v", r, err)
		}
	}
	if s.count() != 0 {
		t.Errorf("%d requests", s.count())
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{`{"allow":true}`, `{"allow":false,"reason":"x"}`, `{"allow":true,"user":"u","groups":["g"],"publish":["a/#"],"subscribe":[],"deny":null,"until":"2030-01-01T00:00:00Z"}`,
		`{"allow":true}{"allow":false}`, `{"ALLOW":true}`, `[]`, `{"allow":true,"until":"0000-00-00T00:00:00Z"}`, "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := parseAnswer(data)
		if err != nil {
			if a.Allow || len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Fatalf("%+v %q", a, err)
			}
			return
		}
		if !json.Valid(data) || len(data) > maxAnswer {
			t.Fatalf("accepted %q", data)
		}
		if n := len(a.Groups) + len(a.Publish) + len(a.Subscribe) + len(a.Deny); n > maxRules || len(a.Reason) > maxReason {
			t.Fatalf("%d rules", n)
		}
	})
}
