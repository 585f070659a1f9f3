// Package quiet keeps strangers from filling a log: of what one site causes of one kind, one line a
// minute is written, with the number of those that were not.
package quiet

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	every   = time.Minute
	maxKeys = 4096
)

// Log writes such lines. The zero Log is ready.
type Log struct {
	Most int // how many kinds and sites are remembered; 0 stands for 4096. Beyond it all others share one line of a kind

	mu     sync.Mutex
	last   map[key]*state
	purged time.Time // when forgetting was last tried
}

type key struct{ message, site string }

type state struct {
	at      time.Time
	skipped uint64
}

// Warn writes a line at level warn, unless it wrote one with this message for this site within the
// last minute. site is what remote.Site returns.
func (l *Log) Warn(log *slog.Logger, site, message string, args ...any) {
	l.Log(log, slog.LevelWarn, site, message, args...)
}

// Log is Warn at another level.
func (l *Log) Log(log *slog.Logger, level slog.Level, site, message string, args ...any) {
	if !log.Enabled(context.Background(), level) {
		return
	}
	skipped, write := l.take(key{message, site}, time.Now())
	if !write {
		return
	}
	if skipped > 0 {
		args = append(args, "not_logged", skipped)
	}
	log.Log(context.Background(), level, message, args...)
}

// take reports whether a line may be written now, and how many were not since the last one.
func (l *Log) take(k key, now time.Time) (skipped uint64, write bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := cmp.Or(l.Most, maxKeys)
	s := l.last[k]
	if s == nil {
		if len(l.last) >= most && now.Sub(l.purged) >= time.Second {
			l.purged = now
			for old, s := range l.last {
				if now.Sub(s.at) >= every {
					delete(l.last, old)
				}
			}
		}
		if len(l.last) >= most {
			k.site = "(others)"
			s = l.last[k]
		}
	}
	if s == nil {
		if l.last == nil {
			l.last = map[key]*state{}
		}
		l.last[k] = &state{at: now}
		return 0, true
	}
	if now.Sub(s.at) < every {
		s.skipped++
		return 0, false
	}
	skipped, s.at, s.skipped = s.skipped, now, 0
	return skipped, true
}
