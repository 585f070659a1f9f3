package broker

// This file is clients that are bridges: other brokers that pass events on. A client is one when
//   - the highest bit of its protocol level is set, which Mosquitto's bridge does unless try_private is off;
//   - it publishes its state, or has a will, to $SYS/broker/connection/<its client identifier>/state, which
//     Mosquitto's bridge does unless notifications are off;
//   - the config says so of its user (see package auth).
//
// To the first kind deliveries keep their RETAIN flag, and what it publishes does not come back to it; MQTT 5
// asks for both by subscription options.

import (
	"strings"

	"github.com/postbus/postbus/bus"
)

// Bridge is what an Identity may have besides: whether its user is another broker.
type Bridge interface {
	Bridge() bool
}

// ownState reports whether a publish is a bridge's report about itself: "1" while it is connected, and its
// will "0", both retained. It is the only topic below $SYS that a client may publish to, and no rule has to
// allow it: a bridge with the stock config could not connect otherwise. An empty payload clears the topic.
func (c *conn) ownState(topic string, payload []byte) bool {
	name, found := strings.CutPrefix(topic, "$SYS/broker/connection/")
	if !found {
		return false
	}
	name, found = strings.CutSuffix(name, "/state")
	if !found || name != c.id || len(payload) > 1 || len(payload) == 1 && payload[0] != '0' && payload[0] != '1' {
		return false
	}
	c.bridge.Store(true)
	return true
}

// Bridge implements bus.BridgeSink.
func (c *conn) Bridge() bool { return c.bridge.Load() }

// asBridge makes of a bridge's subscription what it means by it.
func asBridge(f *bus.Filter) {
	f.RetainAsPublished = true
	f.NoLocal = !isShared(f.Filter) // [MQTT-3.8.3-4]
}
