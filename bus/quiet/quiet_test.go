package quiet

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneLineAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		var l Log
		for range 100 {
			l.Warn(log, "192.0.2.1", "refused")
			l.Warn(log, "192.0.2.2", "refused")
			l.Warn(log, "192.0.2.1", "too large")
		}
		if n := strings.Count(out.String(), "\n"); n != 3 {
			t.Errorf("%d lines, want 3:\n%s", n, &out)
		}
		out.Reset()
		time.Sleep(time.Minute)
		l.Warn(log, "192.0.2.1", "refused", "client", "x")
		l.Warn(log, "192.0.2.1", "refused", "client", "x")
		if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "client=x not_logged=99") {
			t.Errorf("%s", got)
		}
		out.Reset()
		for i := range 3 * maxKeys {
			l.Warn(log, fmt.Sprint(i), "refused")
		}
		if n := strings.Count(out.String(), "\n"); n > maxKeys+1 || len(l.last) > maxKeys+1 {
			t.Errorf("%d lines of very many sites, %d are remembered", n, len(l.last))
		}
	})
}
