// This file is the bytes through network interfaces, as totals and per second.

package host

import (
	"context"
	"fmt"
	"net"
	"time"

	psnet "github.com/shirou/gopsutil/v4/net"
)

// readNetwork returns a read of one interface, or of all but loopback when name is empty.
func readNetwork(name string) read {
	var r rates
	return func(ctx context.Context) (map[string]any, error) {
		all, err := psnet.IOCountersWithContext(ctx, true)
		if err != nil {
			return nil, err
		}
		counters := map[string]counter{}
		for _, c := range all {
			if c.Name == name || name == "" && !loopback(c.Name) {
				counters[c.Name] = counter{c.BytesRecv, c.BytesSent}
			}
		}
		if name != "" && len(counters) == 0 {
			r = rates{}
			return nil, fmt.Errorf("there is no interface %q", name)
		}
		return r.next(time.Now(), counters), nil
	}
}

func loopback(name string) bool {
	if name == "lo" || name == "lo0" {
		return true
	}
	i, err := net.InterfaceByName(name)
	return err == nil && i.Flags&net.FlagLoopback != 0
}

type counter struct{ rx, tx uint64 }

// rates converts counters to bytes per second.
type rates struct {
	at   time.Time
	last map[string]counter
}

// next counts the traffic since the last call, for each interface that existed then. An interface
// that is new or whose counter was reset adds nothing this time, because otherwise all its traffic
// would count for one interval.
func (r *rates) next(now time.Time, counters map[string]counter) map[string]any {
	var total, since counter
	for name, c := range counters {
		total.rx += c.rx
		total.tx += c.tx
		if l, ok := r.last[name]; ok && c.rx >= l.rx && c.tx >= l.tx {
			since.rx += c.rx - l.rx
			since.tx += c.tx - l.tx
		}
	}
	fields := map[string]any{"rx_total": int64(total.rx), "tx_total": int64(total.tx)}
	if took := now.Sub(r.at).Seconds(); r.last != nil && took > 0 {
		fields["rx"], fields["tx"] = float64(since.rx)/took, float64(since.tx)/took
	}
	r.at, r.last = now, counters
	return fields
}
