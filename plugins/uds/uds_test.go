//go:build unix

package uds

// This file tests lines, answers and reloads.

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestLines(t *testing.T) {
	b := newBus()
	o := options(t)
	o.MaxLine = 10
	start(t, b, o)
	c := dial(t, o.Path)
	c.send(t, "hello\r\n\n{\"a\":1}\na\xffb\n0123456789ABC\nlast")
	c.CloseWrite()
	for _, want := range []map[string]any{
		{"line": "hello", "json": nil}, {"line": "", "json": nil}, {"line": `{"a":1}`, "json": map[string]any{"a": int64(1)}},
		{"line": "a\uFFFDb", "json": nil}, {"line": "last", "json": nil},
	} {
		want["pid"], want["uid"], want["user"] = nil, nil, nil
		got := b.Next(t)
		if runtime.GOOS == "linux" {
			if got["pid"] != int64(os.Getpid()) || got["uid"] != int64(os.Getuid()) {
				t.Errorf("who sent it is %v, %v", got["pid"], got["uid"])
			}
			if got["uid"] == int64(0) && got["user"] != "root" {
				t.Errorf("the user is %v", got["user"])
			}
			got["pid"], got["uid"], got["user"] = nil, nil, nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	c.closed(t)
	if n := b.Losses["the line is longer than max_line"]; n != 1 {
		t.Errorf("lost: %v", b.Losses)
	}
}

func TestDecode(t *testing.T) {
	b := newBus()
	o := options(t)
	o.Decode = "csv"
	start(t, b, o)
	dial(t, o.Path).send(t, "a,1\n")
	if got := b.Next(t); !reflect.DeepEqual(got["json"], []any{"a", "1"}) {
		t.Errorf("%v", got)
	}
	o.Format = "json"
	if errs := o.Check(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "only JSON is an event") {
		t.Error(errs)
	}
}

func TestAnswersAreInOrderAndSayWhatBecameOfALine(t *testing.T) {
	b := newBus()
	b.Fates = make(chan error)
	o := options(t)
	o.Answer, o.Format, o.MaxLine = true, "json", 20
	start(t, b, o)
	c := dial(t, o.Path)
	c.send(t, "1\nnull\nno json\n{\"too long\":       1}\n2\n3")
	c.CloseWrite()
	for range 4 { // 1, null, 2 and 3
		b.Next(t)
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := c.r.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an answer was sent before the event was settled: %v", err)
	}
	c.SetReadDeadline(time.Now().Add(kindtest.Patience))
	b.Fates <- nil
	b.Fates <- errors.New("the disk\nis full")
	c.expect(t, "ok", "error: the disk is full", "error: the line is not JSON", "error: the line is longer than max_line")
	b.Fates <- nil
	b.Fates <- nil
	c.expect(t, "ok", "ok")
	c.closed(t)
	b.None(t)
}

func TestAClientThatReadsNoAnswersHarmsOnlyItself(t *testing.T) {
	b := newBus()
	o := options(t)
	o.Answer = true
	stop := start(t, b, o)
	rude, fine := dial(t, o.Path), dial(t, o.Path)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for text := strings.Repeat("x\n", 10000); ; {
			if _, err := io.WriteString(rude, text); err != nil {
				return
			}
		}
	}()
	for range 100 { // other clients are not slowed down
		fine.send(t, "fine\n")
		fine.expect(t, "ok")
	}
	for stuck, last := 0, -1; stuck < 20; time.Sleep(10 * time.Millisecond) { // until no more of its answers fit into the buffers
		if n := len(b.Events); n != last {
			stuck, last = 0, n
		} else {
			stuck++
		}
	}
	stop() // soon
	fine.SetReadDeadline(time.Now())
	if _, err := fine.r.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the one who reads is disconnected: %v", err)
	}
	rude.Close()
	<-sent
}

func TestReloadKeepsTheSocketAndItsConnections(t *testing.T) {
	b := newBus()
	b.Fates = make(chan error, 100)
	o := options(t)
	o.Answer = true
	stop := start(t, b, o)
	c := dial(t, o.Path)
	c.send(t, "1\n2\nha")
	b.Next(t)
	b.Next(t)
	b.Fates <- nil
	c.expect(t, "ok")
	b.Fates <- nil // its event is in progress while the source ends
	stop()
	c.send(t, "lf\n") // no source reads
	between := dial(t, o.Path)
	between.send(t, "between\n")
	for range 2 {
		b.Fates <- nil
	}
	o.Mode, o.MaxLine = 0o600, 10
	start(t, b, o)
	c.expect(t, "ok", "ok")
	c.send(t, "longer than ten\n")
	c.expect(t, "error: the line is longer than max_line")
	between.expect(t, "ok")
	got := map[any]bool{b.Next(t)["line"]: true, b.Next(t)["line"]: true}
	if !got["half"] || !got["between"] {
		t.Errorf("got %v", got)
	}
	if st, err := os.Stat(o.Path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the new mode is %v, %v", st, err)
	}
	if len(b.Losses) != 1 {
		t.Errorf("lost %v", b.Losses)
	}
}

// TestASocketThatSomebodyRemoved checks that a reload creates a removed socket again, and leaves
// another file at its path alone.
func TestASocketThatSomebodyRemoved(t *testing.T) {
	b := newBus()
	o := options(t)
	stop := start(t, b, o)
	c := dial(t, o.Path)
	c.send(t, "ha")
	stop()
	if err := os.Remove(o.Path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.Path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	o.Mode = 0o666
	s := New(o, b)
	if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "a file of that name exists and is not a socket") {
		t.Error(err)
	}
	s.Close()
	if st, err := os.Stat(o.Path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("somebody else's file has the mode %v, %v", st, err)
	}
	if err := os.Remove(o.Path); err != nil {
		t.Fatal(err)
	}
	start(t, b, o)
	c.send(t, "lf\n")
	dial(t, o.Path).send(t, "new\n")
	got := map[any]bool{b.Next(t)["line"]: true, b.Next(t)["line"]: true}
	if !got["half"] || !got["new"] {
		t.Errorf("got %v", got)
	}
}

func TestManyLinesWhileTheDiskIsSlow(t *testing.T) {
	b := newBus()
	const n = 200
	b.Fates = make(chan error, n)
	o := options(t)
	o.Answer = true
	stop := start(t, b, o)
	c := dial(t, o.Path)
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "%d\n", i)
	}
	c.send(t, text.String())
	next := func(i int) {
		t.Helper()
		if got := b.Next(t)["line"]; got != fmt.Sprint(i) {
			t.Fatalf("line %d is %v", i, got)
		}
	}
	for i := range 65 { // the maximum in progress; the next one waits
		next(i)
	}
	stop() // the disk takes longer than an ending source waits for it
	start(t, b, o)
	b.None(t)
	for range n {
		b.Fates <- nil
		c.expect(t, "ok")
	}
	for i := 65; i < n; i++ {
		next(i)
	}
	if len(b.Losses) > 0 {
		t.Errorf("lost %v", b.Losses)
	}
}

// TestAnswersThatAreDueOutliveAReload checks that a client that has sent everything stays connected
// until it was answered.
func TestAnswersThatAreDueOutliveAReload(t *testing.T) {
	b := newBus()
	b.Fates = make(chan error, 2)
	o := options(t)
	o.Answer = true
	stop := start(t, b, o)
	c := dial(t, o.Path)
	c.send(t, "1\n2\n")
	b.Next(t)
	b.Next(t)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	stop() // the disk takes longer than an ending source waits for it
	start(t, b, o)
	b.Fates <- nil
	b.Fates <- errors.New("a full disk")
	c.expect(t, "ok", "error: a full disk")
	c.closed(t)
	b.None(t)
	if len(b.Losses) > 0 {
		t.Errorf("lost %v", b.Losses)
	}
}

func TestALineThatIsNotTakenIsForTheNextSource(t *testing.T) {
	b := newBus()
	b.Gate = make(chan struct{}, 10)
	o := options(t)
	o.Answer = true
	stop := start(t, b, o)
	c := dial(t, o.Path)
	c.send(t, "1\n2\n3\n")
	b.Gate <- struct{}{}
	b.Next(t)
	c.expect(t, "ok")
	stop() // 2 waits in post
	for range 2 {
		b.Gate <- struct{}{}
	}
	stop = start(t, b, o)
	c.expect(t, "ok", "ok")
	if a, z := b.Next(t), b.Next(t); a["line"] != "2" || z["line"] != "3" {
		t.Errorf("%v, %v", a, z)
	}
	b.None(t)
	c.send(t, "4\n5\nhal")
	b.Gate <- struct{}{}
	c.expect(t, "ok")
	stop()
	b.Keep(false) // as when the file is deleted
	c.closed(t)
	if n := b.Losses["received while stopping"]; n != 2 {
		t.Errorf("lost: %v", b.Losses)
	}
	if _, err := os.Lstat(o.Path); err == nil {
		t.Error("the socket is still there")
	}
}

// TestLinesThatNobodyPostsAreCounted: when the socket closes for good while the disk is slow, each line
// that a client has sent counts as lost, whether it was being posted, was read, or was in the kernel.
func TestLinesThatNobodyPostsAreCounted(t *testing.T) {
	const n = 3000 // more than the reader's buffer holds
	b := newBus()
	b.Gate = make(chan struct{}, 1)
	o := options(t)
	stop := start(t, b, o)
	c := dial(t, o.Path)
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	c.send(t, text.String()+"unfinished")
	b.Gate <- struct{}{}
	b.Next(t)
	stop()        // the second line waits in post
	b.Keep(false) // as when the path is changed
	c.closed(t)
	if got := b.Losses["received while stopping"]; got != n {
		t.Errorf("%d lines count as lost, want %d", got, n)
	}
	b.None(t)
}

func TestTooManyAndSilentClients(t *testing.T) {
	b := newBus()
	o := options(t)
	o.MaxClients = 1
	start(t, b, o)
	first := dial(t, o.Path)
	first.send(t, "1\n")
	b.Next(t)
	dial(t, o.Path).closed(t)
	b.Eventually(t, "says so", func() bool {
		return reflect.DeepEqual(b.Conditions, []string{"1 clients are connected to " + o.Path + "; more are refused (max_clients)"})
	})
	first.Close()
	b.Eventually(t, "is well again", func() bool { return len(b.Conditions) == 2 && b.Conditions[1] == "<nil>" })

	b = newBus()
	o = options(t)
	o.Idle = 50 * time.Millisecond
	start(t, b, o)
	c := dial(t, o.Path)
	c.send(t, "half")
	c.closed(t)
	b.Eventually(t, "counts it", func() bool { return b.Losses["the connection ended within a line"] == 1 })
	b.None(t)
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := runtime.NumGoroutine()
	b := newBus()
	b.Fates = make(chan error)
	o := options(t)
	o.Answer = true
	stop := start(t, b, o)
	silent, stuck := dial(t, o.Path), dial(t, o.Path)
	stuck.send(t, "1\n2\n")
	b.Next(t)
	b.Next(t)
	stop() // the bus never reports the fate of the lines
	b.Keep(false)
	stuck.closed(t)
	silent.closed(t)
	close(b.Fates) // late
	kindtest.NoMoreGoroutines(t, before)
}

func TestCheck(t *testing.T) {
	for path, want := range map[string]string{
		"/run/x.sock": "", "@x": "",
		"x.sock":                       `"x.sock" is not an absolute path`,
		"@":                            "the abstract socket has no name",
		"/run/":                        `"/run/" is a folder`,
		"/" + strings.Repeat("x", 107): "the path is 108 bytes long",
		"/a\x00b":                      "a path can't contain a NUL character",
	} {
		for _, errs := range [][]error{Options{Path: path}.Check(), ActionOptions{To: path}.Check()} {
			got := ""
			for _, err := range errs {
				got += err.Error()
			}
			if got != want {
				t.Errorf("%q: got %q, want %q", path, got, want)
			}
		}
	}
	if errs := (Options{Path: "@x", Group: "home"}).Check(); len(errs) != 1 {
		t.Error(errs)
	}
	for text, want := range map[string]Mode{"660": 0o660, "0660": 0o660, "0o600": 0o600, "0": 0, "1777": 0xbad, "rw": 0xbad, "": 0xbad, "9": 0xbad} {
		m := Mode(0xbad)
		if err := m.UnmarshalText([]byte(text)); m != want || (err == nil) != (want != 0xbad) {
			t.Errorf("%q: %v, %v", text, m, err)
		}
	}
	if (Options{Path: "/run/../run/x"}).Claims()[0] != "unix:/run/x" {
		t.Error("two ways of writing a path are two claims")
	}
}

func TestActionAndSource(t *testing.T) {
	b := newBus()
	b.Fates = make(chan error, 10)
	o := options(t)
	o.Answer = true
	a := NewAction(ActionOptions{To: o.Path, Answer: true, Timeout: 10 * time.Second}, nil)
	defer a.Close()
	if err := a.Do(t.Context(), Args{Text: "x"}); err == nil || !strings.Contains(err.Error(), "the socket does not exist: is the app running?") {
		t.Error(err)
	}
	start(t, b, o)
	b.Fates <- nil
	if err := a.Do(t.Context(), Args{Text: "hello"}); err != nil {
		t.Error(err)
	}
	if got := b.Next(t)["line"]; got != "hello" {
		t.Error(got)
	}
	b.Fates <- errors.New("no")
	if err := a.Do(t.Context(), Args{Text: "again"}); err == nil || err.Error() != o.Path+" answered: error: no" {
		t.Error(err)
	}
	err := a.Do(t.Context(), Args{Text: "a\nb"})
	if !kind.IsPermanent(err) {
		t.Errorf("two lines: %v", err)
	}
}
