package broker

// This file is $SYS, under the names that Mosquitto gave it, and $bus/state.

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// sysEvery is Mosquitto's sys_interval.
const sysEvery = 10 * time.Second

type counters struct {
	opened, refused, refusedEvents atomic.Uint64
	packetsIn, bytesIn, bytesOut   atomic.Uint64
	messagesIn, messagesOut, peak  atomic.Uint64
}

// startSys publishes $SYS and $bus/state, which are there before the first client is, and keeps them up
// to date until the broker stops.
func (k *Broker) startSys() {
	l := &load{at: k.started}
	k.announceSys()
	k.announceLoad(l)
	last := k.announceState("")
	k.tasks.Add(1)
	go k.publishSys(l, last)
}

func (k *Broker) publishSys(l *load, last string) {
	defer k.tasks.Done()
	sys := time.NewTicker(sysEvery)
	defer sys.Stop()
	state := time.NewTicker(time.Second)
	defer state.Stop()
	for {
		select {
		case <-sys.C:
			k.announceSys()
			k.announceLoad(l)
		case <-state.C:
			last = k.announceState(last)
		case <-k.stop:
			return
		}
	}
}

// announceState publishes $bus/state when it changed.
func (k *Broker) announceState(last string) string {
	state := map[string]any{"state": "ok", "since": time.Now().UTC().Format(time.RFC3339)}
	now := "ok"
	if err := k.bus.Ready(); err != nil {
		now = "refusing"
		state["state"], state["reason"] = now, err.Error()
	}
	if now == last {
		return last
	}
	if k.o.Load().Version != "" {
		state["version"] = k.o.Load().Version
	}
	e := k.bus.Epoch()
	state["epoch"] = fmt.Sprintf("%x", e)
	if p, err := json.Marshal(state); err == nil {
		k.bus.Announce("$bus/state", p)
	}
	return now
}

func (k *Broker) announceSys() {
	st := k.bus.Stats()
	k.mu.Lock()
	connected := uint64(len(k.owners))
	k.mu.Unlock()
	if connected > k.count.peak.Load() {
		k.count.peak.Store(connected)
	}
	total := max(uint64(st.Sessions), connected)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	for topic, v := range map[string]uint64{
		"clients/total": total, "clients/connected": connected, "clients/disconnected": total - connected,
		"clients/active": connected, "clients/inactive": total - connected, "clients/maximum": max(total, k.count.peak.Load()),
		"messages/received": k.count.packetsIn.Load(), "messages/sent": k.count.messagesOut.Load(),
		"publish/messages/received": k.count.messagesIn.Load(), "publish/messages/sent": k.count.messagesOut.Load(),
		"publish/messages/dropped": st.Dropped + k.count.refusedEvents.Load(),
		"messages/stored":          uint64(st.Retained), "store/messages/count": uint64(st.Retained),
		"store/messages/bytes": uint64(st.RetainedBytes), "retained messages/count": uint64(st.Retained),
		"subscriptions/count": uint64(st.Subscriptions), "bytes/received": k.count.bytesIn.Load(), "bytes/sent": k.count.bytesOut.Load(),
		"heap/current": m.HeapAlloc, "heap/maximum": m.HeapSys,
	} {
		k.bus.Announce("$SYS/broker/"+topic, strconv.AppendUint(nil, v, 10))
	}
	k.bus.Announce("$SYS/broker/uptime", fmt.Appendf(nil, "%d seconds", int(time.Since(k.started).Seconds())))
	version := "postbus"
	if v := k.o.Load().Version; v != "" {
		version += " " + v
	}
	k.bus.Announce("$SYS/broker/version", []byte(version))
}

// load is Mosquitto's moving averages over 1, 5 and 15 minutes, of counts a minute.
type load struct {
	at     time.Time
	last   map[string]uint64
	values map[string][3]float64
}

func (k *Broker) announceLoad(l *load) {
	now := time.Now()
	counts := map[string]uint64{
		"messages/received": k.count.packetsIn.Load(), "messages/sent": k.count.messagesOut.Load(),
		"publish/received": k.count.messagesIn.Load(), "publish/sent": k.count.messagesOut.Load(),
		"publish/dropped": k.bus.Stats().Dropped + k.count.refusedEvents.Load(),
		"bytes/received":  k.count.bytesIn.Load(), "bytes/sent": k.count.bytesOut.Load(),
		"sockets": k.count.opened.Load(), "connections": k.count.opened.Load() - k.count.refused.Load(),
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
			k.bus.Announce("$SYS/broker/load/"+name+"/"+span.name, strconv.AppendFloat(nil, v[i], 'f', 2, 64))
		}
		values[name] = v
	}
	l.at, l.last, l.values = now, counts, values
}
