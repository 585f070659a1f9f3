// This file decides when a program is restarted, and reports its state.

package execd

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/plugins/internal/lines"
)

// Restart is the pause before a program is restarted: it doubles from Min to Max. With Never the
// program stays ended.
type Restart struct {
	Min, Max time.Duration
	Never    bool
}

var errRestart = errors.New(`it is two times as 1s..60s, from 10ms to 24h, or one, or never`)

// UnmarshalText reads 1s..60s, 5s or never.
func (r *Restart) UnmarshalText(b []byte) error {
	text := strings.TrimSpace(string(b))
	if text == "never" {
		*r = Restart{Never: true}
		return nil
	}
	from, to, ok := strings.Cut(text, "..")
	if !ok {
		to = from
	}
	low, err1 := time.ParseDuration(strings.TrimSpace(from))
	high, err2 := time.ParseDuration(strings.TrimSpace(to))
	switch {
	case err1 != nil || err2 != nil || low < 10*time.Millisecond || high > 24*time.Hour:
		return errRestart
	case low > high:
		return fmt.Errorf("the first pause, %s, is longer than the longest, %s", from, to)
	}
	*r = Restart{Min: low, Max: high}
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (r Restart) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r Restart) String() string {
	if r.Never {
		return "never"
	}
	return short(r.Min) + ".." + short(r.Max)
}

// short leaves out zero minutes and seconds: 1m, not 1m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// steady is how long a program has to run for its next pause to be the shortest again.
const steady = time.Minute

type pauses struct {
	r    Restart
	last time.Duration
}

func (r Restart) pauses() *pauses { return &pauses{r: r} }

// next returns the pause after a run of that length. It adds up to a tenth at random, so that
// programs that failed together don't restart together.
func (p *pauses) next(took time.Duration) (time.Duration, bool) {
	if p.r.Never {
		return 0, false
	}
	p.last = min(2*p.last, p.r.Max)
	if took >= steady || p.last < p.r.Min {
		p.last = p.r.Min
	}
	return p.last + time.Duration(rand.Int64N(int64(p.last)/10+1)), true
}

// settling is how long a silent program has to run until it counts as healthy again.
const settling = 10 * time.Second

// watch reports to postbus when the program becomes healthy or degraded, once for each change.
type watch struct {
	env      interface{ Degraded(err error) }
	mu       sync.Mutex
	degraded bool
}

func (w *watch) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.degraded = true
	w.env.Degraded(err)
}

func (w *watch) recovered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.degraded {
		w.degraded = false
		w.env.Degraded(nil)
	}
}

// recoverLater calls recovered after a while. stop cancels that; when stop returns, recovered is not
// running.
func (w *watch) recoverLater() (stop func()) {
	ran := make(chan struct{})
	t := time.AfterFunc(settling, func() { defer close(ran); w.recovered() })
	return func() {
		if !t.Stop() {
			<-ran
		}
	}
}

// dropLog logs bad lines, at most one every ten seconds, and their number.
type dropLog struct {
	log  *slog.Logger
	last time.Time
	more int
}

const complainEvery = 10 * time.Second

func (c *dropLog) line(why string, line []byte) {
	if now := time.Now(); c.last.IsZero() || now.Sub(c.last) >= complainEvery {
		c.log.Warn("a line was dropped", "reason", why, "line", lines.Text(line[:min(100, len(line))]), "more", c.more)
		c.last, c.more = now, 0
		return
	}
	c.more++
}

// flush logs the number not reported yet, when the program has ended.
func (c *dropLog) flush() {
	if c.more > 0 {
		c.log.Warn("more lines were dropped", "lines", c.more)
		c.more = 0
	}
}
