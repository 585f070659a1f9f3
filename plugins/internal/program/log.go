// This file writes a program's standard error to the plugin's log, at a bounded rate.

package program

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/postbus/postbus/plugins/internal/lines"
)

// LogRate is how many lines a second of a program's standard error are logged. Further lines are
// counted.
const LogRate = 100

// Log writes lines to a log, LogRate each second, and reports how many it omitted. It is safe for
// concurrent use.
type Log struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	second time.Time
	n      int
	left   int
	last   string
}

// NewLog logs to log. The message of a record is the line.
func NewLog(log *slog.Logger) *Log { return &Log{log: log, now: time.Now} }

// Line logs one line.
func (l *Log) Line(line []byte) {
	text := lines.Text(line)
	l.mu.Lock()
	if text != "" {
		l.last = text
	}
	if now := l.now(); now.Sub(l.second) >= time.Second || now.Before(l.second) {
		l.flush()
		l.second, l.n = now, 0
	}
	l.n++
	fits := l.n <= LogRate
	if !fits {
		l.left++
	}
	l.mu.Unlock()
	if fits {
		l.log.Info(text)
	}
}

func (l *Log) flush() {
	if l.left > 0 {
		l.log.Warn("lines of the program's output were not logged", "lines", l.left, "limit", fmt.Sprintf("%d/s", LogRate))
		l.left = 0
	}
}

// Flush logs the number of omitted lines not reported yet. Call it when the program has ended.
func (l *Log) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
}

// Last returns at most 200 bytes of the last line that wasn't empty, and forgets it. That line
// often says why a program ended.
func (l *Log) Last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.last
	l.last = ""
	if len(last) > 200 {
		last = lines.Text([]byte(last[:200]))
	}
	return last
}
