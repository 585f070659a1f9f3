package http

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/postbus/postbus/plugins/kind"
)

// jobsOf makes jobs with the IDs id-1, id-2 and so on.
func jobsOf(list ...Args) (jobs []kind.Job[Args]) {
	for i, args := range list {
		jobs = append(jobs, kind.Job[Args]{ID: fmt.Sprintf("id-%d", i+1), Args: args})
	}
	return jobs
}

func TestBatches(t *testing.T) {
	var got []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, strings.Join([]string{r.URL.String(), r.Header.Get("Content-Type"), string(body)}, " | "))
	})
	obj := map[string]any{"a": 1}
	for _, c := range []struct {
		name, join, in string
		jobs           []Args
		want           []string
	}{
		{"lines", "", "", []Args{{Text: "a 1"}, {Text: "b 2\n"}, {Text: "c\nd"}}, []string{"/x | text/plain; charset=utf-8 | a 1\nb 2\nc\nd\n"}},
		{"array", "", "", []Args{{JSON: obj}, {JSON: "x"}, {JSON: false}}, []string{`/x | application/json | [{"a":1},"x",false]`}},
		{"array in an object", "", "streams", []Args{{JSON: obj}, {JSON: obj}}, []string{`/x | application/json | {"streams":[{"a":1},{"a":1}]}`}},
		{"NDJSON", "lines", "", []Args{{JSON: obj}, {JSON: "x"}}, []string{"/x | application/x-ndjson | {\"a\":1}\n\"x\"\n"}},
		{"one", "", "", []Args{{JSON: obj}}, []string{`/x | application/json | [{"a":1}]`}},
		{"other targets", "", "", []Args{{Text: "a"}, {Text: "b"}, {Text: "c", URL: url + "/y"}, {Text: "d", URL: url + "/y"}, {Text: "e", Query: map[string]string{"q": "1"}}, {Text: "f", Headers: map[string]string{"X": "1"}}},
			[]string{"/x | text/plain; charset=utf-8 | a\nb\n", "/y | text/plain; charset=utf-8 | c\nd\n", "/x?q=1 | text/plain; charset=utf-8 | e\n", "/x | text/plain; charset=utf-8 | f\n"}},
	} {
		got = nil
		o := action(url + "/x")
		o.Batch, o.Join, o.ArrayIn = &kind.Batch{}, c.join, c.in
		a := NewAction(o, nil)
		if b := a.Batch(); b.Count != 500 || b.Bytes != 1<<20 || b.Every != 0 {
			t.Errorf("the bounds are %+v", b)
		}
		if done, err := a.DoAll(t.Context(), jobsOf(c.jobs...)); err != nil || done != len(c.jobs) {
			t.Errorf("%s: %d done, %v", c.name, done, err)
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		a.Close()
	}
	got = nil
	for name, c := range map[string]struct {
		join string
		jobs []Args
	}{
		"mixed":           {"", []Args{{Text: "a"}, {JSON: 1}}},
		"a form":          {"", []Args{{Form: map[string]string{"a": "b"}}}},
		"an empty text":   {"", []Args{{Text: "a"}, {}}},
		"texts as array":  {"array", []Args{{Text: "a"}}},
		"an invalid key":  {"", []Args{{Text: "a", Key: "a\nb"}, {Text: "b"}}},
		"an invalid JSON": {"", []Args{{JSON: func() {}}}},
	} {
		o := action(url + "/x")
		o.Batch, o.Join = &kind.Batch{Count: 10}, c.join
		a := NewAction(o, nil)
		if done, err := a.DoAll(t.Context(), jobsOf(c.jobs...)); done != 0 || !kind.IsPermanent(err) || len(got) > 0 {
			t.Errorf("%s: %d done, %v; sent %q", name, done, err, got)
		}
		a.Close()
	}
}

// What is done before a failure stays done.
func TestABatchThatFailsHalfWay(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(400)
		}
	})
	o := action(url + "/good")
	o.Batch = &kind.Batch{}
	a := NewAction(o, nil)
	defer a.Close()
	done, err := a.DoAll(t.Context(), jobsOf(Args{Text: "a"}, Args{Text: "b"}, Args{Text: "c", URL: url + "/bad"}, Args{Text: "d"}))
	if done != 2 || !kind.IsPermanent(err) {
		t.Errorf("%d done, %v", done, err)
	}
}

func TestIdentity(t *testing.T) {
	one, _ := identity(jobsOf(Args{}))
	two, _ := identity(jobsOf(Args{}, Args{}))
	again, _ := identity(jobsOf(Args{}, Args{}))
	other, _ := identity(jobsOf(Args{}, Args{}, Args{}))
	own, _ := identity(jobsOf(Args{Key: "own"}))
	if one != "id-1" || own != "own" || two != again || two == other || len(two) > 64 || !strings.HasPrefix(two, "batch-") {
		t.Error(one, own, two, again, other)
	}
	keys := make(chan string, 3)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { keys <- r.Header.Get("Idempotency-Key") })
	for _, method := range []string{"GET", "POST"} {
		o := action(url)
		o.Method = method
		a := NewAction(o, nil)
		if err := do(t, a, Args{}); err != nil {
			t.Error(err)
		}
		a.Close()
	}
	if get, post := <-keys, <-keys; get != "" || post != "id-1" {
		t.Errorf("GET has %q, POST %q", get, post)
	}
}
