package broker

// This file is the one hook of mochi: the effects of SUBSCRIBE and UNSUBSCRIBE, and the content of
// their answers.

import (
	"context"
	"errors"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker/frame"
	"github.com/postbus/postbus/bus/topic"
)

var errSharedPast = errors.New("a shared subscription cannot replay history")

type hook struct {
	mqtt.HookBase
	broker *Broker
}

// ID implements mqtt.Hook.
func (h *hook) ID() string { return "postbus" }

// Provides implements mqtt.Hook.
func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnACLCheck, mqtt.OnPacketEncode, mqtt.OnPacketSent, mqtt.OnSubscribe, mqtt.OnSubscribed, mqtt.OnUnsubscribe:
		return true
	}
	return false
}

func connOf(cl *mqtt.Client) *conn {
	c, _ := cl.Net.Conn.(*conn)
	return c
}

// OnACLCheck keeps mochi's own subscription table empty, because the bus keeps subscriptions.
// OnSubscribed replaces the resulting reason codes.
func (h *hook) OnACLCheck(*mqtt.Client, string, bool) bool { return false }

// OnPacketEncode sets what mochi does not know: the reason string of SUBACK and the reason codes of
// UNSUBACK.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := connOf(cl)
	if c == nil {
		return pk
	}
	switch pk.FixedHeader.Type {
	case packets.Suback:
		pk.Properties.User = nil
		if c.connect.RequestProblemInfo {
			pk.Properties.ReasonString = c.subackReason
		}
	case packets.Unsuback:
		pk.Properties.User = nil
		pk.ReasonCodes = c.unsubscribed
	}
	return pk
}

// userMeta is the user property by which a client requests the bus's metadata of events, on
// SUBSCRIBE and CONNECT.
const userMeta = "meta"

// OnSubscribe records the requested filters, and keeps mochi from sending retained messages itself.
func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := connOf(cl)
	c.filters = c.filters[:0]
	meta := false
	var since bus.Since
	c.sinceErr = nil
	for _, u := range pk.Properties.User {
		meta = meta || u.Key == userMeta
		if u.Key == "since" {
			since, c.sinceErr = bus.ParseSince(u.Val, time.Now())
		}
	}
	for i, f := range pk.Filters {
		s := bus.Filter{Filter: f.Filter, QoS: f.Qos, NoLocal: f.NoLocal, RetainAsPublished: f.RetainAsPublished,
			RetainHandling: f.RetainHandling, Meta: meta, Since: since}
		if c.connect.Bridge {
			asBridge(&s)
		}
		if ids := pk.Properties.SubscriptionIdentifier; len(ids) > 0 {
			s.ID = uint32(ids[0])
		}
		c.filters = append(c.filters, s)
		pk.Filters[i].RetainHandling = 2
	}
	c.mu.Lock()
	c.hold = true
	c.mu.Unlock()
	return pk
}

// OnSubscribed makes the subscriptions durable before SUBACK, and decides its reason codes.
func (h *hook) OnSubscribed(cl *mqtt.Client, _ packets.Packet, codes []byte) {
	c := connOf(cl)
	identity := *c.identity.Load()
	var good []bus.Filter
	var at []int // where the good ones are among all
	c.subackReason = ""
	for i, f := range c.filters {
		err := topic.CheckSubscription(f.Filter)
		if err == nil && !f.Since.IsZero() && topic.Shared(f.Filter) {
			err = errSharedPast
		}
		if err == nil {
			err = c.sinceErr
		}
		if err != nil {
			codes[i] = frame.CodeTopicFilterInvalid
			if strings.HasPrefix(f.Filter, topic.ReplayPrefix) || c.sinceErr != nil || !f.Since.IsZero() {
				c.subackReason = err.Error() // errors about history: the code alone does not name them
			}
			continue
		}
		if !identity.MaySubscribe(f.Filter) {
			about := []any{"client", c.id, "user", c.user, "filter", shortened(f.Filter)}
			h.broker.quiet.Warn(h.broker.log, c.address, "subscription not allowed", about...)
			h.broker.o.Load().Audit.Refused(c.id, "subscription refused", about...)
			codes[i] = frame.CodeNotAuthorized
			if topic.Shared(f.Filter) {
				c.subackReason = "a shared subscription needs rights that cover its whole filter"
			}
			continue
		}
		codes[i] = f.QoS
		if topic.Shared(f.Filter) {
			codes[i] = min(1, f.QoS) // QoS 2 cannot redeliver to another member
		}
		good, at = append(good, f), append(at, i)
	}
	refused, err := c.session.SubscribeAdmitted(context.Background(), good)
	for j, err := range refused {
		if limit := (*bus.LimitError)(nil); errors.As(err, &limit) {
			c.subackReason = err.Error()
			h.broker.quiet.Warn(h.broker.log, c.id, "subscription refused by a limit",
				"client", c.id, "user", c.user, "filter", shortened(good[j].Filter), "err", err)
			codes[at[j]] = frame.CodeQuotaExceeded
			if limit.Key == bus.LimitTopicLevels {
				codes[at[j]] = frame.CodeTopicFilterInvalid
			}
		}
	}
	if err != nil {
		h.broker.log.Error("subscribe failed", "client", c.id, "err", err)
		for i := range codes {
			if codes[i] < frame.CodeUnspecified {
				codes[i] = frame.CodeQuotaExceeded
			}
		}
	}
	if c.version < frame.V5 {
		for i := range codes {
			if codes[i] > 2 {
				codes[i] = frame.CodeUnspecified // [MQTT-3.9.3-2] of 3.1.1
			}
		}
	}
}

// OnPacketSent continues delivery after SUBACK.
func (h *hook) OnPacketSent(cl *mqtt.Client, pk packets.Packet, _ []byte) {
	if pk.FixedHeader.Type != packets.Suback {
		return
	}
	if c := connOf(cl); c != nil {
		c.mu.Lock()
		c.hold = false
		kick := c.wantRoom
		c.wantRoom = false
		c.mu.Unlock()
		if kick {
			c.session.Kick()
		}
	}
}

// OnUnsubscribe removes the filters. Events that were accepted before are still delivered.
func (h *hook) OnUnsubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := connOf(cl)
	names := make([]string, len(pk.Filters))
	for i, f := range pk.Filters {
		names[i] = f.Filter
	}
	existed, err := c.session.Unsubscribe(context.Background(), names)
	c.unsubscribed = make([]byte, len(names))
	for i, name := range names {
		switch {
		case topic.CheckSubscription(name) != nil:
			c.unsubscribed[i] = frame.CodeTopicFilterInvalid
		case err != nil:
			c.unsubscribed[i] = frame.CodeUnspecified
		case !existed[i]:
			c.unsubscribed[i] = 0x11 // no subscription existed
		}
	}
	if err != nil {
		h.broker.log.Error("unsubscribe failed", "client", c.id, "err", err)
	}
	return pk
}
