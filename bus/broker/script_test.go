package broker_test

// This file runs protocol cases. A case is a script of the packets that clients send and must get:
//
//	a> PUBLISH t/1 hello q1 id=7      client a sends; its first line is its CONNECT
//	a< PUBACK 7                       the next packet that a gets
//	a< PUBACK 7 | PINGRESP            the next packets that a gets, in any order
//	a< PUBLISH t/1 hello q1 id=$x     $x is a packet identifier: the same in the whole script
//	a< nothing                        no packet arrived for a
//	a< closed                         the broker has closed the connection
//	a drop                            the client closes its socket without DISCONNECT, and the broker notices
//	a full keep sessionexpiry=60      a> CONNECT keep sessionexpiry=60, and a CONNACK of success
//	a> CONNECT                        a new connection; the previous one continues as a'
//	a@4> …                            a speaks MQTT 3.1.1 whatever the version of the case is
//	wait 100ms
//	imported t/1 hello retain         an event of the client lamp at the bus attic, which it accepted at 2001-09-09T01:46:40.5Z
//	restart                           the broker and its bus end and start again with the same data
//
// In CONNACK and DISCONNECT only the named properties are compared, in all other packets all of
// them. !name requires that the property is absent, and name=* that it is present.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/journal"
)

// script is one case.
type script struct {
	statement string // the statement of the version that the table is about
	title     string
	text      string
	versions  []byte // nil: the table's versions
	options   broker.Options
	limits    bus.Limits
}

// answerTimeout bounds the wait for a packet that must arrive: wills and expiries take their
// second.
const answerTimeout = time.Minute

func runScripts(t *testing.T, versions []byte, cases []script) {
	t.Parallel()
	for _, sc := range cases {
		vs := sc.versions
		if vs == nil {
			vs = versions
		}
		for _, v := range vs {
			t.Run(fmt.Sprintf("[%s] %s/v%d", sc.statement, sc.title, v), func(t *testing.T) {
				t.Parallel()
				r := &runner{dir: t.TempDir(), version: v, options: sc.options, limits: sc.limits, wires: map[string]*wire{}, vars: map[string]string{}}
				r.open()
				err := r.run(sc.text)
				r.close()
				if p := r.spy.err(); p != nil {
					t.Fatal(p)
				}
				if err != nil {
					t.Fatalf("%v\n%s", err, r.log.String())
				}
			})
		}
	}
}

// spy is a log that only records panics: Broker.Serve recovers from them.
type spy struct{ panicked atomic.Pointer[string] }

func (s *spy) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (s *spy) WithAttrs([]slog.Attr) slog.Handler           { return s }
func (s *spy) WithGroup(string) slog.Handler                { return s }
func (s *spy) Handle(_ context.Context, rec slog.Record) error {
	if strings.Contains(rec.Message, "internal error") {
		text := rec.Message
		rec.Attrs(func(a slog.Attr) bool { text += "\n" + a.String(); return true })
		s.panicked.Store(&text)
	}
	return nil
}

func (s *spy) err() error {
	if p := s.panicked.Load(); p != nil {
		return errors.New(*p)
	}
	return nil
}

// runner is one run of a script.
type runner struct {
	dir     string
	version byte
	options broker.Options
	limits  bus.Limits
	bus     *bus.Bus
	broker  *broker.Broker
	addr    string
	wires   map[string]*wire
	vars    map[string]string
	fences  int
	spy     spy
	log     strings.Builder
}

func (r *runner) open() {
	log := slog.New(&r.spy)
	if testing.Verbose() && os.Getenv("POSTBUS_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	b, err := bus.Open(context.Background(), bus.Options{Dir: r.dir, Logger: log, SegmentSize: 1 << 16, Limits: r.limits})
	if err != nil {
		panic(err)
	}
	o := r.options
	o.Logger = log
	k := broker.New(b, o)
	if err := k.Open(); err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	k.Listen(l, "tcp", true)
	r.bus, r.broker, r.addr = b, k, l.Addr().String()
}

func (r *runner) close() {
	for _, w := range r.wires {
		w.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = r.broker.Close(ctx)
	_ = r.bus.Close()
}

func (r *runner) run(text string) error {
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fmt.Fprintln(&r.log, line)
		if err := r.step(line); err != nil {
			return fmt.Errorf("line %d: %s\n%w", n+1, line, err)
		}
	}
	return nil
}

func (r *runner) step(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == "wait":
		d, err := time.ParseDuration(rest)
		time.Sleep(d)
		return err
	case word == "restart":
		r.close()
		r.open()
		return nil
	case word == "imported":
		return r.imported(strings.Fields(rest))
	case strings.HasSuffix(word, ">"):
		return r.send(strings.TrimSuffix(word, ">"), rest)
	case strings.HasSuffix(word, "<"):
		return r.expect(strings.TrimSuffix(word, "<"), rest)
	case rest == "drop":
		return r.drop(word)
	case strings.HasPrefix(rest, "full"):
		// a full keep sessionexpiry=10: connects and reads the CONNACK
		if err := r.send(word, "CONNECT"+strings.TrimPrefix(rest, "full")); err != nil {
			return err
		}
		got, err := r.wires[word].read(answerTimeout)
		if err == nil && !strings.HasPrefix(got, "CONNACK 00") {
			err = fmt.Errorf("got %s", got)
		}
		return err
	}
	return fmt.Errorf("step not understood")
}

// imported brings in an event of another bus.
func (r *runner) imported(words []string) error {
	m := bus.Imported{What: bus.ImportEvent, Bus: "attic", Record: journal.Record{Flags: 1, Expiry: journal.NoExpiry, Source: []byte("lamp"),
		Topic: []byte(words[0]), Payload: []byte(words[1]), Lane: []byte("0123456789abcdef/a"), Number: r.bus.Last() + 1, At: 1_000_000_000_500_000_000}}
	if len(words) > 2 {
		m.Record.Flags |= 4
		m.Record.Stamp = m.Record.At
	}
	p, err := r.bus.Import(m)
	if err != nil {
		return err
	}
	<-p.Done()
	return p.Err()
}

// drop closes a client's socket and returns when the broker has noticed.
func (r *runner) drop(name string) error {
	self, _ := r.client(name)
	err := r.wires[name].Close()
	for range 1000 {
		online := slices.ContainsFunc(r.bus.Sessions(), func(i bus.SessionInfo) bool { return i.Name == self && i.Online })
		if !online {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	return err
}

// client separates a name such as a@3, which speaks that version, from the rest.
func (r *runner) client(name string) (string, byte) {
	if self, v, ok := strings.Cut(name, "@"); ok {
		return self, v[0] - '0'
	}
	return name, r.version
}

func (r *runner) send(name, line string) error {
	self, version := r.client(name)
	for k, v := range r.vars {
		line = strings.ReplaceAll(line, "$"+k, v)
	}
	w := r.wires[name]
	if w == nil || strings.HasPrefix(line, "CONNECT") && !strings.Contains(line, " again") {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			return err
		}
		if w != nil { // the old connection of the name continues as name'
			r.wires[name+"'"] = w
		}
		w = &wire{Conn: c, r: bufio.NewReader(c), version: version}
		r.wires[name] = w
	}
	var out []byte
	for part := range strings.SplitSeq(line, " && ") { // in one write
		if version < v5 {
			part = dropProps(part)
		}
		out = append(out, encode(strings.TrimSuffix(part, " again"), self, version)...)
	}
	_, err := w.Write(out)
	return err
}

// dropProps removes from a line what only MQTT 5 can express, so that one script serves all
// versions.
func dropProps(line string) string {
	words := strings.Fields(line)
	return strings.Join(slices.DeleteFunc(words, func(w string) bool {
		k, _, _ := strings.Cut(w, "=")
		k = strings.TrimPrefix(k, "w-")
		return strings.Contains(w, "=") && slices.ContainsFunc(properties, func(p property) bool { return p.name == k })
	}), " ")
}

func (r *runner) expect(name, want string) error {
	w := r.wires[name]
	if w == nil {
		return fmt.Errorf("no client %s", name)
	}
	if want == "nothing" {
		return r.nothing(w)
	}
	if w.version < v5 {
		switch words := strings.Fields(want); words[0] {
		case "DISCONNECT": // a server has none before MQTT 5
			return nil
		case "UNSUBACK":
			want = strings.Join(words[:2], " ")
		default:
			want = dropProps(want)
		}
	}
	for wants := strings.Split(want, " | "); len(wants) > 0; { // in any order
		got, err := w.read(answerTimeout)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(wants, func(s string) bool { err = r.compare(s, got); return err == nil })
		if i < 0 {
			return err
		}
		wants = slices.Delete(wants, i, i+1)
	}
	return nil
}

// compare reports the difference between got and want, and learns the identifiers that are $ names
// in want.
func (r *runner) compare(want, got string) error {
	differs := fmt.Errorf("got %s", got)
	words, left := strings.Fields(want), strings.Fields(got)
	if words[0] != left[0] {
		return differs
	}
	for i, word := range words[1:] {
		k, v, named := strings.Cut(word, "=")
		at := -1
		switch {
		case strings.HasPrefix(word, "!"):
			if slices.ContainsFunc(left, func(s string) bool { return s == word[1:] || strings.HasPrefix(s, word[1:]+"=") }) {
				return differs
			}
			continue
		case strings.HasPrefix(word, "$") && !strings.Contains(word, "/"):
			at = r.learn(word[1:], left[1], 1) // identifier of an acknowledgement
		case named && strings.HasPrefix(v, "$"):
			at = slices.IndexFunc(left, func(s string) bool { return strings.HasPrefix(s, k+"=") })
			if at > 0 {
				at = r.learn(v[1:], left[at][len(k)+1:], at)
			}
		case named && strings.HasSuffix(v, "*") && !strings.HasSuffix(v, "**"): // content=* or user=seq:*
			at = slices.IndexFunc(left, func(s string) bool { return strings.HasPrefix(s, strings.TrimSuffix(word, "*")) })
		case word == "*":
			at = i + 1
		default:
			at = slices.Index(left, word)
		}
		if at < 0 {
			return differs
		}
		left[at] = ""
	}
	loose := words[0] == "CONNACK" || words[0] == "DISCONNECT"
	for _, s := range left[1:] {
		if s != "" && !(loose && strings.Contains(s, "=")) {
			return differs
		}
	}
	return nil
}

// learn binds a name to a packet identifier, or compares; it returns at, or -1.
func (r *runner) learn(name, value string, at int) int {
	if old, bound := r.vars[name]; bound && old != value {
		return -1
	}
	r.vars[name] = value
	return at
}

// nothing checks that everything that was accepted before has been routed, and that none of it
// reached this client.
func (r *runner) nothing(w *wire) error {
	r.fences++
	// A durable session is opened after everything that the journal contains.
	s, _, err := r.bus.Attach(context.Background(), bus.SessionOptions{Name: fmt.Sprint("fence", r.fences), Expiry: 1})
	if err != nil {
		return err
	}
	s.Detach(true, 0)
	time.Sleep(10 * time.Millisecond)
	if _, err := w.Write([]byte{0xC0, 0}); err != nil {
		return err
	}
	got, err := w.read(answerTimeout)
	if err == nil && got != "PINGRESP" {
		err = fmt.Errorf("got %s", got)
	}
	return err
}
