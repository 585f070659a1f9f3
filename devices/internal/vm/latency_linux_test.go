// This file prints figures in the metered board's own time: from an edge to a subscriber, and a
// sync of the same disk. It asserts nothing about them, since the disk is the host's.

package vm

import (
	"os"
	"slices"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/vmtest"
)

func TestMeteredLatency(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	dir := place(t)
	syncs := fdatasyncs(t, dir)
	p50, p99 := quantiles(syncs)
	vmtest.Figure("fdatasync of the disk: p50 %s, p99 %s (%d times, before postbus)", p50, p99, len(syncs))
	p := postbus(t, dir, map[string]string{
		"qos1": "source: {gpio: {line: GPIO15}}\npublish: [{topic: edge/qos1, payload: {time: \"${event.time}\"}}]\n",
		"qos0": "source: {gpio: {line: GPIO16}}\npublish: [{topic: edge/qos0, qos: 0, payload: {time: \"${event.time}\"}}]\n",
	})
	for i, topic := range []string{"edge/qos1", "edge/qos0"} {
		var took []time.Duration
		c := connect(t, p, "reader", i == 1, func(m mqtt.Message) {
			now := time.Now() // parsing is not part of the time
			took = append(took, now.Sub(decode[edge](t, m.Payload()).Time))
		})
		c.subscribe(t, byte(1-i), topic)
		const n = 1100
		for j := range n {
			wire(t, 5+i, 1-j%2)
			c.next(t)
		}
		c.away()
		took = took[n/10:] // the first ones warm up
		p50, p99 := quantiles(took)
		vmtest.Figure("from the kernel's edge to the subscriber, %s: p50 %s, p99 %s (%d edges)", topic[5:], p50, p99, len(took))
	}
	p.kill()
	syncs = fdatasyncs(t, dir)
	p50, p99 = quantiles(syncs)
	vmtest.Figure("fdatasync of the disk: p50 %s, p99 %s (%d times, after postbus)", p50, p99, len(syncs))
}

// fdatasyncs measures syncs that write as the journal does, into a file with reserved blocks.
func fdatasyncs(t *testing.T, dir string) []time.Duration {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(dir+"/sync", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, 1<<20); err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for i := range int64(1000) {
		if _, err := f.WriteAt(make([]byte, 128), 128*i); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	return took
}

func quantiles(d []time.Duration) (p50, p99 time.Duration) {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2].Round(10 * time.Microsecond), d[len(d)*99/100].Round(10 * time.Microsecond)
}
