package broker

// This file is the correction of one topic that an earlier run wrote, while its client comes back.

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

func TestACorrectionLeavesWhatThisRunReported(t *testing.T) {
	for name, c := range map[string]struct {
		connected, reported, reports, corrects bool
	}{
		"the client is away": {corrects: true},
		"it is connecting":   {connected: true, corrects: true},
		"it is connected, and that is on the disk already": {connected: true, reported: true},
		"it came and went while its topic was read":        {reports: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, err := bus.Open(t.Context(), bus.Options{FS: bustest.NewDisk(1)})
				if err != nil {
					t.Fatal(err)
				}
				topic, _ := bus.ClientTopic("pump")
				report := func() {
					if _, err := b.Report(topic, []byte(`{"online":true,"since":"2026-01-02T03:04:05Z"}`)); err != nil {
						t.Error(err)
					}
					synctest.Wait()
				}
				report()
				p := newPresence(b, slog.New(slog.DiscardHandler), func(string) (bool, bool) {
					if c.reports {
						report()
					}
					return c.connected, c.reported
				})
				p.correct(topic, time.Now())
				if corrects := p.changes["pump"] != nil; corrects != c.corrects {
					t.Errorf("corrects: %v", corrects)
				}
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
