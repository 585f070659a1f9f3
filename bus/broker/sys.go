package broker

// This file publishes $SYS, under Mosquitto's topic names, and $bus/state.

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// sysEvery is the default of Mosquitto's sys_interval.
const sysEvery = 10 * time.Second

type counters struct {
	opened, refused, refusedEvents atomic.Uint64
	delayed                        atomic.Uint64 // events that waited for a rate
	packetsIn, bytesIn, bytesOut   atomic.Uint64
	messagesIn, messagesOut, peak  atomic.Uint64
}

// startSys publishes $SYS and $bus/state before the first client connects, and keeps them up to
// date until the broker stops.
func (b *Broker) startSys() {
	l := &load{at: b.started}
	b.announceSys()
	b.announceLoad(l)
	last := b.announceState("")
	b.tasks.Add(1)
	go b.publishSys(l, last)
}

func (b *Broker) publishSys(l *load, last string) {
	defer b.tasks.Done()
	sys := time.NewTicker(sysEvery)
	defer sys.Stop()
	state := time.NewTicker(time.Second)
	defer state.Stop()
	for {
		select {
		case <-sys.C:
			b.announceSys()
			b.announceLoad(l)
		case <-state.C:
			last = b.announceState(last)
		case <-b.stop:
			return
		}
	}
}

// announceState publishes $bus/state when it changed.
func (b *Broker) announceState(last string) string {
	state := map[string]any{"state": "ok", "since": time.Now().UTC().Format(time.RFC3339)}
	now := "ok"
	if err := b.bus.Ready(); err != nil {
		now = "refusing"
		state["state"], state["reason"] = now, err.Error()
	}
	if now == last {
		return last
	}
	if b.o.Load().Version != "" {
		state["version"] = b.o.Load().Version
	}
	e := b.bus.Epoch()
	state["epoch"] = fmt.Sprintf("%x", e)
	if p, err := json.Marshal(state); err == nil {
		b.bus.Announce("$bus/state", p)
	}
	return now
}

func (b *Broker) announceSys() {
	st := b.bus.Stats()
	b.mu.Lock()
	connected := uint64(len(b.owners))
	b.mu.Unlock()
	if connected > b.count.peak.Load() {
		b.count.peak.Store(connected)
	}
	total := max(uint64(st.Sessions), connected)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	for topic, v := range map[string]uint64{
		"clients/total": total, "clients/connected": connected, "clients/disconnected": total - connected,
		"clients/active": connected, "clients/inactive": total - connected, "clients/maximum": max(total, b.count.peak.Load()),
		"messages/received": b.count.packetsIn.Load(), "messages/sent": b.count.messagesOut.Load(),
		"publish/messages/received": b.count.messagesIn.Load(), "publish/messages/sent": b.count.messagesOut.Load(),
		"publish/messages/dropped": st.Dropped + b.count.refusedEvents.Load(),
		"messages/stored":          uint64(st.Retained), "store/messages/count": uint64(st.Retained),
		"store/messages/bytes": uint64(st.RetainedBytes), "retained messages/count": uint64(st.Retained),
		"subscriptions/count": uint64(st.Subscriptions), "bytes/received": b.count.bytesIn.Load(), "bytes/sent": b.count.bytesOut.Load(),
		"heap/current": m.HeapAlloc, "heap/maximum": m.HeapSys,
	} {
		b.bus.Announce("$SYS/broker/"+topic, strconv.AppendUint(nil, v, 10))
	}
	b.bus.Announce("$SYS/broker/uptime", fmt.Appendf(nil, "%d seconds", int(time.Since(b.started).Seconds())))
	version := "postbus"
	if v := b.o.Load().Version; v != "" {
		version += " " + v
	}
	b.bus.Announce("$SYS/broker/version", []byte(version))
}

// load holds Mosquitto's moving averages of counts per minute over 1, 5 and 15 minutes.
type load struct {
	at     time.Time
	last   map[string]uint64
	values map[string][3]float64
}

func (b *Broker) announceLoad(l *load) {
	now := time.Now()
	counts := map[string]uint64{
		"messages/received": b.count.packetsIn.Load(), "messages/sent": b.count.messagesOut.Load(),
		"publish/received": b.count.messagesIn.Load(), "publish/sent": b.count.messagesOut.Load(),
		"publish/dropped": b.bus.Stats().Dropped + b.count.refusedEvents.Load(),
		"bytes/received":  b.count.bytesIn.Load(), "bytes/sent": b.count.bytesOut.Load(),
		"sockets": b.count.opened.Load(), "connections": b.count.opened.Load() - b.count.refused.Load(),
	}
	minutes := max(now.Sub(l.at).Minutes(), 1e-3)
	values := map[string][3]float64{}
	for name, n := range counts {
		rate := float64(n-l.last[name]) / minutes
		v := l.values[name]
		for i, span := range []struct {
			name    string
			minutes float64
		}{{"1min", 1}, {"5min", 5}, {"15min", 15}} {
			v[i] = rate + (v[i]-rate)*math.Exp(-minutes/span.minutes)
			b.bus.Announce("$SYS/broker/load/"+name+"/"+span.name, strconv.AppendFloat(nil, v[i], 'f', 2, 64))
		}
		values[name] = v
	}
	l.at, l.last, l.values = now, counts, values
}
