package broker

// This file is for clients that are bridges: other brokers that forward events. A client is a
// bridge when
//
//   - the highest bit of its protocol level is set, which Mosquitto's bridge does unless
//     try_private is off;
//   - it publishes its state, or has a will, to $SYS/broker/connection/<its client
//     identifier>/state, which Mosquitto's bridge does unless notifications are off;
//   - the config marks its user as a bridge: bridge: true.
//
// Deliveries to the first kind keep their RETAIN flag, and events that it published are not sent
// back to it; MQTT 5 requests both with subscription options. Only the last kind is trusted,
// because any client can do the others: the broker believes its statements about an event's route,
// two user properties of MQTT 5. See docs/adr/0011-bridges-speak-mqtt-5.md.

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker/frame"
	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

// Bridge is an optional interface of an Identity. It reports whether the user is another broker.
type Bridge interface {
	Bridge() bool
}

// The user properties of an event's route; package plugins/bridge has the same. A bridge's CONNECT
// asks with askBridge whether it is trusted.
const (
	routePrefix = "postbus-"
	hopsProp    = "postbus-hops"   // the number of plugins and bridges that the event passed
	originProp  = "postbus-origin" // the epoch of the bus that published the event first
	askBridge   = "postbus-bridge"
)

// trusted reports whether the config marks the client's user as a bridge.
func (c *conn) trusted() bool {
	b, ok := (*c.identity.Load()).(Bridge)
	return ok && b.Bridge()
}

// ownState reports whether a publish is a bridge's report about itself: "1" while it is connected,
// and its will "0", both retained. This is the only topic below $SYS that a client may publish to.
// It needs no rule, because a bridge with the stock config could not connect otherwise. An empty
// payload clears the topic.
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
func (c *conn) Bridge() bool { return c.bridge.Load() || c.trusted() }

// asBridge sets the options that a bridge's subscription implies.
func asBridge(f *bus.Filter) {
	f.RetainAsPublished = true
	f.NoLocal = !topic.Shared(f.Filter) // [MQTT-3.8.3-4]
}

// takeRoute removes an event's route from its properties. The hops go into the record; the origin
// remains a property, for the next bridge. ours means that this bus published the event first, and
// that a loop of bridges returned it. If the client is not trusted, both properties are removed.
func (c *conn) takeRoute(props []byte) (rest []byte, hops byte, ours bool) {
	if !bytes.Contains(props, []byte(routePrefix)) {
		return props, 0, false
	}
	trusted := c.trusted()
	rest = frame.FilterUser(props, func(key, value []byte) bool {
		switch string(key) {
		case hopsProp:
			if n, err := strconv.ParseUint(string(value), 10, 32); trusted && err == nil {
				hops = byte(min(n, bus.MaxHops))
			}
			return false
		case originProp:
			ours = trusted && string(value) == c.broker.origin
			return trusted
		}
		return true
	})
	return rest, hops, ours
}

// addRoute adds an event's route to a delivery to a bridge.
func (c *conn) addRoute(o *frame.Out, e *journal.Record) {
	if n := bus.HopsOf(e); n > 0 {
		o.User = append(o.User, frame.UserProp{Key: hopsProp, Value: strconv.Itoa(int(n))})
	}
	if !bytes.Contains(e.Props, []byte(originProp)) {
		o.User = append(o.User, frame.UserProp{Key: originProp, Value: c.broker.origin})
	}
}

// originOf is the name by which other buses know b as an origin.
func originOf(b *bus.Bus) string {
	epoch := b.Epoch()
	return hex.EncodeToString(epoch[:])
}
