package bench

// This file prints results for people: two columns, figures with separators.

import (
	"fmt"
	"io"
	"strconv"
)

// table writes lines and keeps the first error.
type table struct {
	w   io.Writer
	err error
}

func (t *table) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

func (t *table) row(name, format string, args ...any) {
	t.printf("  %-24s "+format+"\n", append([]any{name}, args...)...)
}

// thousands prints 1234567.8 as 1,234,568.
func thousands(f float64) string {
	s := strconv.FormatInt(int64(f+0.5), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func count(n uint64) string { return thousands(float64(n)) }

func (t *table) counts(prefix string, c Counts) {
	t.row(prefix+"received", "%s", count(c.Received))
	t.row(prefix+"missed", "%s", count(c.Missed))
	if c.LateRepeated > 0 {
		t.row(prefix+"repeated", "%s (%s of them after newer events)", count(c.Repeated), count(c.LateRepeated))
	} else {
		t.row(prefix+"repeated", "%s", count(c.Repeated))
	}
	t.row(prefix+"out of order", "%s", count(c.Disordered))
	if c.Foreign > 0 {
		t.row(prefix+"not of this run", "%s", count(c.Foreign))
	}
}

func (t *table) usage(generator float64, u *Usage) {
	if generator > 0 {
		t.row("generator CPU", "%.2f s", generator)
	}
	if u != nil {
		t.row("broker CPU", "%.2f s", u.CPU)
		t.row("broker memory", "%s KiB before, %s KiB after, peak %s KiB: grew by %s KiB", thousands(float64(u.Before.RSS)), thousands(float64(u.After.RSS)), thousands(float64(u.PeakRSS)), thousands(float64(max(0, u.Growth))))
	}
}

// WriteText prints the result as a table.
func (r Result) WriteText(w io.Writer) error {
	t := &table{w: w}
	t.printf("throughput %s: %d publishers -> %d subscribers, QoS %d, %d bytes\n",
		r.Target, r.Publishers, r.Subscribers, r.QoS, r.Size)
	if r.QoS == 0 {
		t.row("published", "%s msg/s (%s sent)", thousands(r.PublishRate), count(r.Sent))
	} else {
		t.row("published", "%s msg/s (%s acknowledged)", thousands(r.PublishRate), count(r.Acknowledged))
		t.row("acknowledged after", "%s", r.AckLatency)
	}
	if r.Subscribers > 0 {
		t.row("delivered", "%s msg/s, %s to each", thousands(r.DeliveredRate), thousands(r.PerSubscriber))
		t.row("delivered after", "%s", r.Latency)
		t.counts("", r.Counts)
	}
	t.usage(r.GeneratorCPU, r.Broker)
	return t.err
}

// WriteText prints the result as a table.
func (r OfflineResult) WriteText(w io.Writer) error {
	t := &table{w: w}
	t.printf("offline %s: %d bytes, QoS 1\n", r.Target, r.Size)
	t.row("published", "%s acknowledged, %s msg/s", count(r.Acknowledged), thousands(r.PublishRate))
	t.row("session kept", "%s", yes(!r.SessionLost))
	t.row("first event", "%s after CONNECT", seconds(r.FirstEvent/1e3))
	t.row("drained", "%s msg/s, in %s", thousands(r.DrainRate), seconds(r.DrainSeconds))
	t.counts("", r.Counts)
	t.usage(r.GeneratorCPU, r.Broker)
	return t.err
}

// WriteText prints the result as a table.
func (r SlowResult) WriteText(w io.Writer) error {
	t := &table{w: w}
	t.printf("slow %s: %s msg/s asked for, %d bytes, QoS 1\n", r.Target, thousands(r.Rate), r.Size)
	t.row("published before", "%s msg/s", thousands(r.PublishedBefore))
	t.row("  during the stall", "%s msg/s", thousands(r.PublishedStall))
	t.row("acknowledged before", "%s", r.AckBefore)
	t.row("  during the stall", "%s", r.AckStall)
	t.row("delivered before", "%s", r.NormalBefore)
	t.row("  during the stall", "%s", r.NormalStall)
	t.counts("normal: ", r.Normal)
	t.counts("slow: ", r.Slow)
	t.row("slow: caught up",
		"%s after it read again, %d reconnects, %d sessions lost", seconds(r.CatchUp), r.Reconnects, r.SessionsLost)
	t.usage(0, r.Broker)
	return t.err
}

// WriteText prints the result as a table.
func (r TakeoverResult) WriteText(w io.Writer) error {
	t := &table{w: w}
	t.printf("takeover %s: mode %s, QoS %d, %d rounds of %d sessions at %s msg/s, seed %d\n",
		r.Target, r.Mode, r.QoS, r.Rounds, r.Sessions, thousands(r.Rate), r.Seed)
	t.row("acknowledged", "%s", count(r.Acknowledged))
	t.row("connected again", "%s times", count(uint64(r.Takeovers)))
	t.counts("", r.Counts)
	if r.Mode == ModeGroup && r.Sessions > 1 {
		t.row("", "(the order of several members is not judged)")
	}
	t.row("repeated wrongly", "%s", count(r.Wrong))
	if r.V5 {
		t.row("gaps reported", "%s", count(r.Gaps))
	}
	t.row("sessions lost", "%d", r.SessionsLost)
	t.row("CONNECT", "%s, %d failed, %d old connections left open", r.ConnectTime, r.Refused, r.LeftOpen)
	t.row("rounds with a fault", "%d of %d", len(r.Bad), r.Rounds)
	for _, b := range r.Bad {
		t.row("  round "+strconv.Itoa(b.Round), "%d missed, %d out of order, %d repeated wrongly, %d gaps, %d sessions lost", b.Missed, b.Disordered, b.Wrong, b.Gaps, b.SessionsLost)
	}
	return t.err
}

// WriteText prints the result as a table.
func (r CrashResult) WriteText(w io.Writer) error {
	t := &table{w: w}
	t.printf("crash %s: %d rounds of kill -9 at %s msg/s, QoS 1\n", r.Target, r.Rounds, thousands(r.Rate))
	t.row("acknowledged", "%s", count(r.Acknowledged))
	t.counts("", r.Counts)
	t.row("sessions lost", "%d (of publishers: %d)", r.SessionsLost, r.PublisherSessionsLost)
	t.row("ready after start", "%s", r.Recovery)
	return t.err
}

// WriteText prints the result as a table.
func (r IdleResult) WriteText(w io.Writer) error {
	t := &table{w: w}
	t.printf("idle %s: %s connections in %s\n", r.Target, thousands(float64(r.Connections)), seconds(r.Seconds))
	t.row("memory before", "%s KiB (own data %s)", thousands(float64(r.Before.RSS)), thousands(float64(r.Before.Anon)))
	t.row("memory after", "%s KiB (own data %s)", thousands(float64(r.After.RSS)), thousands(float64(r.After.Anon)))
	t.row("each connection", "%.1f KiB (own data %.1f)", r.PerRSS, r.PerAnon)
	return t.err
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}
