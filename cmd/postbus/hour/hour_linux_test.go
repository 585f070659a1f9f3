package hour

// This file is the hour: who takes part, and what happens when.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
)

var (
	lasts   = flag.Duration("hour.for", 0, "how long the troubles last; 0: each kind once")
	seed    = flag.Uint64("hour.seed", 0, "of the order of the troubles; 0: that of the clock")
	clients = flag.Int("hour.clients", 0, "how many clients there are; 0: 200, or 40 in the short form")
)

const jobs = "$share/jobs/work/#" // the group

// hour is one run.
type hour struct {
	trouble
	t      *testing.T
	rand   *rand.Rand
	bus    *program
	disk   *disk
	pubs   []*publisher
	subs   []*subscriber
	hidden *account

	short    bool
	edits    int
	full     time.Duration
	fulls    int
	damages  int
	mu       sync.Mutex // of changes
	changes  map[string]int
	balances int
	slowest  time.Duration // from the end of the troubles until everybody had everything
}

// TestHour: see the package comment.
func TestHour(t *testing.T) {
	began := time.Now()
	s := *seed
	if s == 0 {
		s = uint64(began.UnixNano())
	}
	t.Logf("-hour.seed=%d", s)
	h := prepare(t, s)
	err := h.bus.start()
	if err == nil {
		err = h.arrive()
	}
	if err == nil {
		err = h.live(began)
	}
	if err == nil {
		err = h.ledger.broken()
	}
	if err != nil {
		t.Errorf("-hour.seed=%d: %v\nthe end of the log:\n%s", s, err, tail(h.bus.newLog(), 4000))
	}
	h.report(time.Since(began))
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// prepare makes everything but the clients.
func prepare(t *testing.T, s uint64) *hour {
	h := &hour{t: t, rand: rand.New(rand.NewPCG(s, 12)), short: *lasts == 0, changes: map[string]int{}}
	path := build(t)
	size := "96m"
	if h.short {
		size = "48m"
	}
	h.disk = newDisk(t, size)
	h.places = map[string]string{"tcp": programtest.FreePort(t), "tls": programtest.FreePort(t), "ws": programtest.FreePort(t)}
	dir := t.TempDir()
	var err error
	if h.house, err = newHouse(dir, filepath.Join(h.disk.dir, "data"), h.places); err != nil {
		t.Fatal(err)
	}
	h.bus = &program{path: path, house: h.house, log: filepath.Join(dir, "log"), client: http.Client{Timeout: 5 * time.Second}}
	ctx, stop := context.WithCancel(context.Background())
	h.ctx = ctx
	t.Cleanup(func() {
		if h.bus.cmd != nil {
			_ = h.bus.cmd.Process.Kill()
			<-h.bus.ended
		}
	})
	t.Cleanup(func() { stop(); h.done.Wait() })
	h.churn, h.every = 8*time.Second, time.Second/2
	if h.short {
		h.churn, h.every = 500*time.Millisecond, 60*time.Millisecond
	}
	h.invite()
	return h
}

// invite makes the clients: a half publishes, a fifth has durable sessions, the others are visitors.
func (h *hour) invite() {
	n := *clients
	if n == 0 {
		if n = 200; h.short {
			n = 40
		}
	}
	senders := n / 2
	h.ledger = newLedger(senders)
	ways := []profile{
		{network: "tcp", version: v5, user: "senders"}, {network: "tcp", version: v4, user: "senders"},
		{network: "tls", version: v5, user: "device"}, {network: "ws", version: v5, user: "senders"},
		{network: "tls", version: v4, user: "stolen"}, {network: "ws", version: v4, user: "renamed"},
		{network: "tcp", version: v5, user: "removed"}, {network: "tcp", version: v5, user: "narrowed"},
	}
	for i := range senders {
		p := &publisher{profile: ways[i%len(ways)], number: i, qos: 1, zones: []uint8{uint8(i % zones), uint8(i % zones), workZone}}
		p.name = fmt.Sprintf("sender-%d", i)
		if i%5 == 1 && p.user != "narrowed" {
			p.qos = 2
		}
		if p.user == "narrowed" {
			p.zones = []uint8{hiddenZone, uint8(i % zones)}
		}
		h.pubs = append(h.pubs, p)
	}
	h.inviteReaders(n / 5)
}

// inviteReaders makes the durable sessions. The first of each kind are always there.
func (h *hour) inviteReaders(n int) {
	all := func(zone uint8) bool { return true }
	zone := func(list ...uint8) func(uint8) bool { return func(z uint8) bool { return slices.Contains(list, z) } }
	filters := func(list ...uint8) (f []string) {
		for _, z := range list {
			f = append(f, fmt.Sprintf("ev/%d/#", z))
		}
		return append(f, "mark/#")
	}
	group := h.ledger.open(&account{name: jobs, group: true, wants: zone(workZone)})
	for i := range n {
		a := uint8(i % zones)
		b := uint8((i + 4) % zones)
		s := &subscriber{qos: 1 + byte(i/8%2), filters: filters(a, b)}
		own := &account{wants: zone(a, b), gaps: true}
		switch i % 8 {
		case 0:
			s.profile, s.filters = profile{network: "tcp", version: v5, user: "readers"}, []string{"ev/#", "work/#", "mark/#"}
			own.wants = all
		case 1:
			s.profile = profile{network: "tls", version: v5, user: "device"}
		case 2:
			s.profile, own.gaps = profile{network: "tcp", version: v4, user: "readers"}, false
		case 3:
			s.profile = profile{network: "ws", version: v5, user: "renamed"}
			s.group, s.filters = group, append(s.filters, jobs)
		case 4:
			s.profile, s.filters = profile{network: "tcp", version: v5, user: "readers"}, []string{"copy/#"}
			own.wants, own.copies = zone(copiedZone), true
		case 5:
			s.profile, s.qos, s.filters = profile{network: "tcp", version: v5, user: "hidden"}, 1, filters(hiddenZone, a)
			own.wants = zone(hiddenZone, a)
			if h.hidden == nil {
				h.hidden = own
			} else {
				s.user = "readers"
			}
		case 6:
			s.profile, own.gaps = profile{network: "tls", version: v4, user: "stolen"}, false
			s.group, s.filters = group, append(s.filters, jobs)
		case 7:
			s.profile, s.qos = profile{network: "tcp", version: v5, user: "removed"}, 2
		}
		s.name, s.lazy = fmt.Sprintf("reader-%d", i), s.qos == 1 && i%8 <= 2
		own.name = s.name
		s.own = h.ledger.open(own)
		h.subs = append(h.subs, s)
	}
}

// arrive lets everybody in: first those with sessions, since what was published before is not theirs.
func (h *hour) arrive() error {
	h.quiet.Store(true)
	for _, s := range h.subs {
		h.done.Add(1)
		go h.subscriber(h.fork(), s)
	}
	if err := h.bus.until("everybody has a session", func() bool {
		return !slices.ContainsFunc(h.subs, func(s *subscriber) bool { return !s.known.Load() })
	}); err != nil {
		return err
	}
	for _, p := range h.pubs {
		h.done.Add(1)
		go h.publisher(h.fork(), p)
	}
	n := len(h.pubs) * 2 * 3 / 10
	for i := range n {
		w := profile{name: fmt.Sprintf("visitor-%d", i/2), network: []string{"tcp", "ws"}[i%2], version: v4 + byte(i/2%2), user: "senders"}
		h.done.Add(1)
		go h.visitor(h.fork(), w)
	}
	return nil
}

func (h *hour) fork() *rand.Rand { return rand.New(rand.NewPCG(h.rand.Uint64(), 1)) }

// live is the troubles, until the time is over.
func (h *hour) live(began time.Time) error {
	const epoch = time.Minute
	epochs := max(1, int(*lasts/epoch))
	length := epoch
	if h.short {
		epochs, length = 1, 0
	}
	kind, hit := h.rand.Perm(len(changes)), h.rand.Perm(len(harms))
	for n := range epochs {
		steps := []func() error{h.atOnce}
		if !h.short {
			steps = nil
			for i := range 3 {
				c := changes[kind[(3*n+i)%len(kind)]]
				steps = append(steps, func() error { return h.step(c) })
			}
		}
		if n == epochs/3 || n == 2*epochs/3 {
			steps = append(steps, h.fill)
		}
		h.rand.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		at := len(steps) // after there was something, in the short form
		if !h.short {
			at = h.rand.IntN(at + 1)
		}
		steps = slices.Insert(steps, at, h.kill)
		var ways []harm
		if n%2 == 0 {
			ways = []harm{harms[hit[n%len(hit)]], harms[hit[(n+1)%len(hit)]]}
		}
		if err := h.epoch(n, began.Add(time.Duration(n+1)*length), steps, ways); err != nil {
			return fmt.Errorf("epoch %d: %w", n, err)
		}
		h.t.Logf("%6.0f s: %s", time.Since(began).Seconds(), h.line())
	}
	if h.short {
		return nil
	}
	return h.leave()
}

func (h *hour) step(c change) error {
	if err := c.do(h); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changes[c.name]++
	return nil
}

// atOnce makes every change. Those of the config's users come together, before one that nobody may repair.
func (h *hour) atOnce() error {
	failed := make(chan error)
	n := 0
	for _, list := range [][]change{{renewal, revocation}, {newPassword}, {narrowing}, {hiding}, {removal}, {edit, mistake}} {
		n++
		go func() {
			var err error
			for _, c := range list {
				err = errors.Join(err, h.step(c))
			}
			failed <- err
		}()
	}
	var err error
	for range n {
		err = errors.Join(err, <-failed)
	}
	return errors.Join(err, h.step(badConfig))
}

// epoch is troubles until end, then damage, and a balance.
func (h *hour) epoch(n int, end time.Time, steps []func() error, ways []harm) error {
	if ways != nil {
		for i, s := range h.subs {
			s.asleep.Store(i%3 == n/2%3 && s.user != "hidden") // hideZone waits for what it gets
		}
	}
	absent := n%4 == 1 // the plugin's file
	if absent {
		if err := h.removePlugin(); err != nil {
			return err
		}
	}
	from := h.ledger.serials()
	h.quiet.Store(false)
	for i, step := range steps {
		pause := time.Until(end) / time.Duration(len(steps)-i+1)
		h.wait(max(pause, 0))
		if absent && i == 0 {
			if err := h.restorePlugin(from); err != nil {
				return err
			}
		}
		if err := step(); err != nil {
			return err
		}
		if err := h.ledger.broken(); err != nil {
			return err
		}
	}
	h.wait(max(0, time.Until(end)))
	if ways != nil {
		return h.damage(n, ways)
	}
	return h.balance(nil)
}

// kill is kill -9, and a start.
func (h *hour) kill() error {
	if err := h.bus.end(syscall.SIGKILL); err != nil {
		return err
	}
	h.ledger.restarted()
	return h.bus.start()
}

// fill makes the disk full for some seconds, with publishers that go on.
func (h *hour) fill() error {
	began := time.Now()
	ctx, stop := context.WithCancel(h.ctx)
	defer stop()
	filled := make(chan error, 1)
	if h.disk.real {
		go func() { filled <- h.disk.fill(ctx) }()
	} else {
		filled <- h.house.keepFree("1TiB")
	}
	err := h.bus.until("the bus says that its disk is full", func() bool {
		body, code := h.bus.ready()
		return code == http.StatusServiceUnavailable && len(body) > 0
	})
	if err == nil && !h.short {
		h.wait(5 * time.Second)
	}
	if err == nil && !h.short && h.fulls%2 == 1 && h.disk.real {
		err = h.bus.end(syscall.SIGKILL) // and starts with free space again
		h.ledger.restarted()
		stop()
		err = errors.Join(err, <-filled, h.bus.start())
	} else {
		stop()
		err = errors.Join(err, <-filled)
	}
	if !h.disk.real {
		err = errors.Join(err, h.house.keepFree(aLittle))
	}
	h.full += time.Since(began)
	h.fulls++
	return errors.Join(err, h.bus.until("the bus accepts events again", func() bool { _, code := h.bus.ready(); return code == http.StatusOK }))
}

// damage stops the bus, damages what some sessions have not read yet, starts it, and balances.
func (h *hour) damage(n int, ways []harm) error {
	if err := h.hush(); err != nil {
		return err
	}
	mark := h.ledger.newMark()
	if err := h.publishMark(mark); err != nil {
		return err
	}
	if err := h.bus.until("those who are awake have acknowledged everything", func() bool { return h.awakeHave(mark) }); err != nil {
		return err
	}
	before, err := h.bus.damaged()
	if err != nil {
		return err
	}
	if err := h.bus.end(syscall.SIGTERM); err != nil {
		return err
	}
	h.ledger.restarted()
	h.ledger.settled(mark)
	if h.short || n%4 == 2 { // the newest snapshot is then of before a kill
		if err := errors.Join(h.bus.start(), h.bus.end(syscall.SIGKILL)); err != nil {
			return err
		}
		h.ledger.restarted()
	}
	h.bus.newLog()
	damaged := 0
	for _, way := range ways {
		what, err := damageSome(h.rand, h.ledger, h.house.journal(), way)
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		if what != "" {
			damaged++
			h.t.Log(what)
		}
	}
	if damaged == 0 {
		return errors.New("no segment was there to be damaged")
	}
	h.damages += damaged
	if err := h.bus.start(); err != nil {
		return err
	}
	for _, s := range h.subs {
		s.asleep.Store(false)
	}
	return h.balance(before)
}

// awakeHave reports whether every session that is not asleep has got the mark, and has acknowledged it.
func (h *hour) awakeHave(mark int) bool {
	behind := map[string]bool{}
	for _, name := range h.ledger.behind(mark) {
		behind[name] = true
	}
	list, err := h.bus.sessions()
	if err != nil {
		return false
	}
	lag := map[string]uint64{}
	for _, s := range list {
		lag[s.Name] = s.Lag
	}
	if len(behind) == 0 && lag[jobs] > 0 { // in a group an event that comes again may follow the mark
		return false
	}
	return !slices.ContainsFunc(h.subs, func(s *subscriber) bool { return !s.asleep.Load() && (behind[s.name] || lag[s.name] > 0) })
}

// hush lets the publishers finish what they have in flight.
func (h *hour) hush() error {
	h.quiet.Store(true)
	return h.bus.until("the publishers have nothing in flight", func() bool {
		return !slices.ContainsFunc(h.pubs, func(p *publisher) bool { return !p.idle.Load() })
	})
}

// balance waits until everybody has got everything, and judges. before is what the sessions had lost by damage
// before there was new damage; nil: there is none.
func (h *hour) balance(before map[string]uint64) error {
	began := time.Now()
	if err := h.hush(); err != nil {
		return err
	}
	mark := h.ledger.newMark()
	if err := h.publishMark(mark); err != nil {
		return err
	}
	if err := h.bus.until("everybody has everything", func() bool { return len(h.ledger.behind(mark)) == 0 && h.awakeHave(mark) }); err != nil {
		return fmt.Errorf("%w; behind are %q", err, h.ledger.behind(mark))
	}
	h.slowest = max(h.slowest, time.Since(began))
	told := map[string]uint64{}
	if before != nil {
		now, err := h.bus.damaged()
		if err != nil {
			return err
		}
		for name, n := range now {
			if strings.HasPrefix(name, "$share/") { // whose counter begins with the bus's start
				told[name] = n
			} else if n > before[name] {
				told[name] = n - before[name]
			}
		}
	}
	h.ledger.balance(told)
	h.balances++
	h.bus.measure()
	return h.ledger.broken()
}

// publishMark publishes the mark to everybody until it is acknowledged.
func (h *hour) publishMark(mark int) error {
	return h.bus.until("the mark is acknowledged", func() bool {
		c, err := connect(h.ctx, h.login(profile{name: "judge", network: "tcp", version: v5, user: judge}, false))
		if err != nil {
			return false
		}
		defer c.Close()
		for i, topic := range []string{"ev/0/mark", "work/mark", "mark/all"} {
			if c.send(publish(v5, topic, fmt.Appendf(nil, "mark %d", mark), 1, uint16(i+1), false, 0)) != nil {
				return false
			}
			first, body, err := c.read()
			if err != nil || first != puback {
				return false
			}
			if _, code, err := answer(body); err != nil || code >= 0x80 {
				return false
			}
		}
		return true
	})
}

// leave ends the hour: the bus stops in order and starts once more.
func (h *hour) leave() error {
	if err := h.bus.end(syscall.SIGTERM); err != nil {
		return err
	}
	h.ledger.restarted()
	return errors.Join(h.bus.start(), h.balance(nil), h.bus.end(syscall.SIGTERM))
}
