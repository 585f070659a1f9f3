package fleet

// This file is the simulation: three buses with simulated disks and a hub, in virtual time, with kills, power
// cuts, cut links, a hub that forgets, and changes of names and lanes. A seed decides what happens.
//
//	go test ./bus/fleet -run TestSimulation -sim.seeds=2000
//	go test ./bus/fleet -run TestSimulation -sim.seed=4711 -v    one seed, up to 20 times, every step

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/internal/seeds"
	"github.com/postbus/postbus/bus/topic"
)

var simFlags = seeds.NewFlags(100)

func TestSimulation(t *testing.T) { simFlags.Run(t, 20, simulate) }

// simulate runs one seed and returns what promise it broke.
func simulate(t *testing.T, seed uint64, verbose bool) (broken string) {
	s := &sim{rnd: rand.New(rand.NewPCG(seed, 3)), seed: seed, verbose: verbose}
	defer func() {
		if p := recover(); p != nil {
			broken = fmt.Sprintf("seed %d: panic: %v\n%s\n%s", seed, p, debug.Stack(), s.steps())
		}
	}()
	synctest.Test(t, func(*testing.T) {
		s.run()
		synctest.Wait()
	})
	if s.broken != "" {
		broken = fmt.Sprintf("seed %d: %s\nlast steps:\n%s\nrepeat it with -sim.seed=%d", seed, s.broken, s.steps(), seed)
	}
	return broken
}

// sim is one run.
type sim struct {
	seed    uint64
	rnd     *rand.Rand
	verbose bool
	start   time.Time
	hub     *modelHub
	nodes   []*simNode
	wiped   bool // a bus lost its journal
	expires bool // the hub removes messages because of their age,
	expired bool // and has done so
	id      int

	mu     sync.Mutex
	trace  []string
	broken string
}

// simNode is a bus.
type simNode struct {
	s       *sim
	name    string
	disk    *bustest.Disk
	bus     *bus.Bus // nil: it is down
	entry   *Entry
	stop    func()
	link    *link
	options Options
	skew    time.Duration // of its clock
	syncs   time.Duration // how often its disk is synced; 0: before each acknowledgement
	lives   uint64
	torn    bool
	renamed bool        // nobody is told how its lanes under the earlier name ended
	told    []lostRange // what it reported as lost since it has its disk
}

func (s *sim) step(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%8.3f ", time.Since(s.start).Seconds()) + fmt.Sprintf(format, args...)
	if s.verbose {
		fmt.Println(line)
	}
	if s.trace = append(s.trace, line); len(s.trace) > 80 {
		s.trace = s.trace[1:]
	}
}

func (s *sim) steps() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.trace, "\n")
}

func (s *sim) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == "" {
		s.broken = fmt.Sprintf(format, args...)
	}
}

func (s *sim) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken != ""
}

func (s *sim) run() {
	s.start = time.Now()
	s.hub = newModelHub(s.seed)
	s.expires = s.rnd.IntN(3) == 0
	for i, name := range []string{"attic", "desk", "shed"} {
		n := &simNode{s: s, name: name, disk: bustest.NewDisk(s.seed*8 + uint64(i)), link: newLink(s.hub, s.seed*8+uint64(i))}
		n.link.lose = s.rnd.IntN(100)
		n.options = Options{Share: []Share{{Filter: "ev/#"}, {Filter: "cmd/#", Lane: s.rnd.IntN(3)}}, Take: []Take{{Filter: "#"}}, Since: Since{All: true}}
		if s.rnd.IntN(3) == 0 {
			n.skew = time.Duration(s.rnd.Int64N(int64(6*24*time.Hour))) - 3*24*time.Hour // less than tombstones last: records of others have the right time
		}
		if s.rnd.IntN(3) == 0 {
			n.syncs = time.Duration(1 + s.rnd.Int64N(int64(3*time.Second)))
		}
		if s.rnd.IntN(3) == 0 { // some events of a lane are left out
			n.options.Take = []Take{{Filter: "ev/state/#"}, {Filter: "ev/+/0"}, {Filter: "cmd/1/#"}}
		}
		s.nodes = append(s.nodes, n)
		n.open()
	}
	for range 20 + s.rnd.IntN(40) {
		if s.failed() {
			break
		}
		s.act()
		time.Sleep(time.Duration(s.rnd.Int64N(int64(3 * time.Second))))
	}
	s.settle()
	for _, n := range s.nodes {
		n.close()
	}
}

// act does one thing.
func (s *sim) act() {
	n := s.nodes[s.rnd.IntN(len(s.nodes))]
	switch s.rnd.IntN(24) {
	case 0, 1:
		if n.bus != nil {
			s.step("%s is killed", n.name)
			n.disk = n.disk.Kill()
			n.close()
		}
	case 2:
		if n.bus != nil {
			s.step("%s loses power", n.name)
			n.disk = n.disk.PowerCut()
			if n.syncs > 0 { // what it acknowledged since it synced may be lost
				n.torn, s.wiped = true, true
			}
			n.close()
		}
	case 3:
		if n.bus != nil {
			s.step("%s is closed", n.name)
			n.close()
		}
	case 4, 5:
		s.step("the link of %s is cut", n.name)
		n.link.cut(true)
	case 6, 7:
		s.step("the link of %s works", n.name)
		n.link.cut(false)
	case 8:
		forget := 0
		if s.rnd.IntN(2) == 0 {
			forget = s.rnd.IntN(20)
		}
		s.step("%s is killed and forgets %d", s.hub, forget)
		s.hub.kill(forget)
		time.Sleep(time.Duration(s.rnd.Int64N(int64(2 * time.Second))))
		s.hub.start()
	case 9:
		if s.rnd.IntN(3) == 0 {
			s.step("%s is wiped", s.hub)
			s.hub.wipe()
		}
	case 10:
		if s.rnd.IntN(3) == 0 {
			s.step("%s loses its disk", n.name)
			s.wiped = true
			n.close()
			n.lives++
			n.torn, n.told = false, nil
			n.disk = bustest.NewDisk(s.seed*1000 + n.lives)
		}
	case 11:
		if n.bus != nil && s.rnd.IntN(2) == 0 {
			n.close()
			n.renamed = true
			n.name = fmt.Sprintf("%s%d", strings.TrimRight(n.name, "0123456789"), s.rnd.IntN(3))
			s.step("a bus is renamed to %s", n.name)
			n.open()
		}
	case 12:
		if n.bus != nil {
			n.options.Share = []Share{{Filter: "ev/#", Lane: s.rnd.IntN(3)}, {Filter: "cmd/#", Lane: s.rnd.IntN(3)}}
			s.step("%s shares %v", n.name, n.options.Share)
			n.endEntry()
			n.startEntry()
		}
	case 13:
		if s.rnd.IntN(2) == 0 {
			s.impostor(n)
		}
	case 14:
		if s.expires {
			count := 1 + s.rnd.IntN(80)
			s.step("%s loses its %d oldest messages", s.hub, count)
			s.hub.expire(count)
			s.expired = true
		}
	case 15:
		s.step("the disk of %s is full for a while", n.name)
		n.disk.Fill(true)
		time.Sleep(time.Duration(s.rnd.Int64N(int64(5 * time.Second))))
		n.disk.Fill(false)
	default:
		if n.bus == nil {
			s.step("%s starts", n.name)
			n.open()
			return
		}
		n.publish(1 + s.rnd.IntN(60))
	}
}

// impostor is another bus with the name of n, for a while.
func (s *sim) impostor(n *simNode) {
	s.step("another %s comes", n.name)
	s.id++
	o := &simNode{s: s, name: n.name, disk: bustest.NewDisk(s.seed*7919 + uint64(s.id)), link: newLink(s.hub, s.seed*31+uint64(s.id)), options: n.options}
	o.open()
	s.wiped = true // what it publishes goes with it
	o.publish(3)
	time.Sleep(time.Duration(s.rnd.Int64N(int64(10 * time.Second))))
	o.close()
	s.step("the other %s goes", n.name)
}

func (n *simNode) open() {
	if n.bus != nil {
		return
	}
	b, err := bus.Open(context.Background(), bus.Options{FS: n.disk, Logger: n.logger(), SegmentSize: 64 << 10, Durability: n.syncs, Pins: []string{PinName("home", 0)}})
	if err != nil {
		n.s.fail("%s does not open: %v", n.name, err)
		return
	}
	n.bus = b
	n.startEntry()
}

// lostRange is events that a bus reported as lost, or that were there before it came.
type lostRange struct {
	from      string
	after, to uint64
}

// logger prints everything when one seed is run.
func (n *simNode) logger() *slog.Logger {
	if !n.s.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug})).With("bus", n.name)
}

// takes reports whether a bus takes an event as journal names it.
func (n *simNode) takes(event string) bool {
	name, _, _ := strings.Cut(event, "=")
	return slices.ContainsFunc(n.options.Take, func(t Take) bool { return topic.Match(t.Filter, name) })
}

// toldOf reports whether a bus has reported the loss of an event.
func (n *simNode) toldOf(origin string, seq uint64) bool {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return slices.ContainsFunc(n.told, func(l lostRange) bool {
		return base(l.from) == base(origin) && seq > l.after && seq <= l.to
	})
}

// base is a name as it was before renames.
func base(name string) string { return strings.TrimRight(name, "0123456789") }

func (n *simNode) startEntry() {
	o := n.options
	o.Fleet, o.Bus, o.Logger = "home", n.name, n.logger()
	n.entry = New(n.bus, func(context.Context) (Hub, error) { return n.link, nil }, o)
	n.entry.toldLoss = func(from, _ string, after, to uint64) {
		n.s.mu.Lock()
		defer n.s.mu.Unlock()
		n.told = append(n.told, lostRange{from, after, to})
	}
	if err := n.entry.Prepare(context.Background()); err != nil {
		n.s.step("%s is not prepared: %v", n.name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.entry.Run(ctx)
	}()
	n.stop = func() { cancel(); <-done }
}

func (n *simNode) endEntry() {
	if n.stop != nil {
		n.stop()
		n.stop = nil
	}
}

func (n *simNode) close() {
	if n.bus == nil {
		return
	}
	n.endEntry()
	_ = n.bus.Close() // the disk may be gone
	n.bus = nil
}

// publish publishes some events without waiting for the disk.
func (n *simNode) publish(count int) {
	n.s.step("%s publishes %d", n.name, count)
	for range count {
		n.s.id++
		e := bus.Event{Payload: fmt.Appendf(nil, "%s %d", n.name, n.s.id), QoS: 1, Source: "client"}
		switch k := n.s.rnd.IntN(10); {
		case k < 5:
			e.Topic = fmt.Sprintf("ev/%s/%d", n.name, n.s.rnd.IntN(4))
		case k < 7:
			e.Topic = fmt.Sprintf("cmd/%d/x", n.s.rnd.IntN(4))
		case k < 8:
			e.Topic = "private/x"
		default:
			e.Topic, e.Retain = fmt.Sprintf("ev/state/%d", n.s.rnd.IntN(5)), true
			if n.s.rnd.IntN(4) == 0 {
				e.Payload = nil
			}
		}
		r := e.Record()
		r.Time = time.Now().Add(n.skew).UnixNano()
		_, _ = n.bus.Append(r) // what the journal has at the end counts
		if n.s.rnd.IntN(10) == 0 {
			time.Sleep(time.Duration(n.s.rnd.Int64N(int64(100 * time.Millisecond))))
		}
	}
}

// settle lets everything come to rest and checks what was promised.
func (s *sim) settle() {
	s.step("all is well again")
	s.hub.start()
	for _, n := range s.nodes {
		n.link.cut(false)
		n.open()
	}
	problem := ""
	for range 120 {
		time.Sleep(5 * time.Second)
		if problem = s.check(); problem == "" || s.failed() {
			return
		}
	}
	for _, n := range s.nodes {
		s.step("%s: %+v", n.name, n.entry.Status())
		s.step("   told %v", n.told)
		for name, p := range n.entry.Status().Peers {
			s.step("   %s %+v", name, *p)
		}
	}
	s.fail("%s", problem)
}

// journal lists a bus's events by the journal that they come from, and then by topic's root; "" is its own.
func (n *simNode) journal() (lists map[string][]string, seqs map[string]uint64) {
	lists, seqs = map[string][]string{}, map[string]uint64{}
	_ = n.bus.History(context.Background(), "#", bus.Since{Seq: 1}, func(e bus.Event) bool {
		if strings.HasPrefix(e.Topic, "$") {
			return true
		}
		root, rest, _ := strings.Cut(e.Topic, "/")
		key := root
		if root == "cmd" || root == "ev" { // lanes may be by two levels
			key, _, _ = strings.Cut(rest, "/")
			key = root + "/" + key
		}
		if e.Origin.Bus != "" {
			key = e.Origin.Bus + " " + key
		}
		event := fmt.Sprintf("%s=%s", e.Topic, e.Payload)
		lists[key] = append(lists[key], event)
		seqs[event] = e.Seq
		return true
	})
	return lists, seqs
}

// check returns what is not as promised yet.
func (s *sim) check() string {
	var journals []map[string][]string
	var seqs []map[string]uint64
	for _, n := range s.nodes {
		lists, at := n.journal()
		journals, seqs = append(journals, lists), append(seqs, at)
	}
	for i, origin := range s.nodes {
		for j, taker := range s.nodes {
			if i == j {
				continue
			}
			for key, own := range journals[i] {
				if strings.Contains(key, " ") || strings.HasPrefix(key, "private") {
					continue
				}
				// The names that the origin has had; an earlier journal may have had them, too.
				var got []string
				for k, list := range journals[j] {
					if name, rest, _ := strings.Cut(k, " "); rest == key && base(name) == base(origin.name) {
						got = append(got, list...)
					}
				}
				if dup := duplicate(got); dup != "" {
					s.fail("%s has an event of %s twice: %s", taker.name, origin.name, dup)
				}
				for _, lost := range missing(own, got) {
					if !taker.takes(lost) {
						continue
					}
					// Of a cleared value the number is not known here: it is the last of several.
					told := s.expired && (origin.renamed || strings.HasSuffix(lost, "=") || taker.toldOf(origin.name, seqs[i][lost]))
					if !taker.torn && !told {
						return fmt.Sprintf("%s lacks an event of %s: %s (%d of %d)", taker.name, origin.name, lost, len(got), len(own))
					}
				}
			}
			for key, list := range journals[j] {
				if name, _, ok := strings.Cut(key, " "); ok && name == taker.name && !s.wiped {
					s.fail("events of %s came back: %v", taker.name, list[:1])
				}
				if strings.HasSuffix(key, " private/x") || strings.HasSuffix(key, " private") {
					s.fail("a topic that is not shared came to %s", taker.name)
				}
			}
		}
		for key, list := range journals[i] {
			if !s.wiped && !s.expired && !inOrder(list) { // a name that two journals had has two orders; offered values have none
				s.fail("%s has events of %q out of order: %v", origin.name, key, list)
			}
		}
		for name, p := range origin.entry.Status().Peers {
			if p.Lost > 0 && !s.wiped && !s.expired {
				s.fail("%s says that it lost %d events of %s", origin.name, p.Lost, name)
			}
		}
	}
	if s.wiped {
		return ""
	}
	for k := range 5 {
		state := fmt.Sprintf("ev/state/%d", k)
		first := ""
		for i, n := range s.nodes {
			e, _ := n.bus.RetainedValue(state)
			if i == 0 {
				first = string(e.Payload)
			} else if string(e.Payload) != first {
				return fmt.Sprintf("%s is %q at %s and %q at %s", state, first, s.nodes[0].name, e.Payload, n.name)
			}
		}
	}
	return ""
}

func duplicate(list []string) string {
	seen := map[string]bool{}
	for _, x := range list {
		if seen[x] && !strings.HasSuffix(x, "=") { // cleared values have no number
			return x
		}
		seen[x] = true
	}
	return ""
}

func missing(want, got []string) (list []string) {
	n := map[string]int{}
	for _, x := range got {
		n[x]++
	}
	for _, x := range want {
		if n[x]--; n[x] < 0 {
			list = append(list, x)
		}
	}
	return list
}

// inOrder reports whether the numbers of events rise.
func inOrder(list []string) bool {
	at := -1
	return !slices.ContainsFunc(list, func(x string) bool {
		_, value, _ := strings.Cut(x, "=")
		var name string
		var id int
		if n, _ := fmt.Sscanf(value, "%s %d", &name, &id); n != 2 {
			return false
		}
		back := id <= at
		at = id
		return back
	})
}
