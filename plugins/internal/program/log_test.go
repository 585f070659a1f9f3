package program

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestLogRate(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(0, 0)
	l := NewLog(slog.New(slog.NewTextHandler(&b, nil)))
	l.now = func() time.Time { return now }
	for i := range 250 {
		l.Line(fmt.Appendf(nil, "line %d\xff", i))
	}
	if n := strings.Count(b.String(), "\n"); n != LogRate {
		t.Errorf("%d lines in a second", n)
	}
	now = now.Add(time.Second)
	l.Line([]byte("later"))
	if !strings.Contains(b.String(), "lines=150") || !strings.Contains(b.String(), "later") {
		t.Error(b.String()[max(0, b.Len()-300):])
	}
	l.Flush()
	if n := strings.Count(b.String(), "were not logged"); n != 1 {
		t.Errorf("%d times", n)
	}
	l.Line([]byte(""))
	if got := l.Last(); got != "later" || l.Last() != "" {
		t.Errorf("last %q", got)
	}
	l.Line([]byte(strings.Repeat("ü", 200)))
	if got := l.Last(); len(got) > 203 {
		t.Errorf("last has %d bytes", len(got))
	}
}
