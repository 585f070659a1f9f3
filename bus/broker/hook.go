package broker

// This file is the one hook: who may connect, what mochi says in CONNACK, SUBACK and UNSUBACK, and the
// begin of delivery.

import (
	"context"
	"errors"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker/frame"
)

type hook struct {
	mqtt.HookBase
	k *Broker
}

// ID implements mqtt.Hook.
func (h *hook) ID() string { return "postbus" }

// Provides implements mqtt.Hook.
func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnPacketRead, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSessionEstablished,
		mqtt.OnPacketEncode, mqtt.OnPacketSent, mqtt.OnSubscribe, mqtt.OnSubscribed, mqtt.OnUnsubscribe:
		return true
	}
	return false
}

func connOf(cl *mqtt.Client) *conn {
	c, _ := cl.Net.Conn.(*conn)
	return c
}

// OnPacketRead takes the will and an empty password out of CONNECT: wills are the bus's, and mochi
// refuses what MQTT allows (a will without payload).
func (h *hook) OnPacketRead(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type == packets.Connect {
		pk.Connect.WillFlag, pk.Connect.WillRetain, pk.Connect.WillQos = false, false, 0
		pk.Connect.WillPayload, pk.Connect.WillTopic = nil, ""
		if pk.Connect.PasswordFlag && len(pk.Connect.Password) == 0 {
			pk.Connect.PasswordFlag = false
		}
	}
	return pk, nil
}

// OnConnectAuthenticate decides about the client, ends its former connection and opens its session.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	c := connOf(cl)
	if code := h.k.admit(c, cl, string(pk.Connect.Password)); code != frame.CodeSuccess {
		c.refusal = code
		return false
	}
	return true
}

func (k *Broker) admit(c *conn, cl *mqtt.Client, password string) byte {
	c.client, c.id, c.idBytes = cl, cl.ID, []byte(cl.ID)
	if c.connect.Username != nil {
		c.user = *c.connect.Username
	}
	if bus.ReservedName(c.id) {
		k.log.Warn("client refused: identifiers that begin with @ are reserved", "client", c.id, "remote", c.remote)
		return frame.CodeClientIDInvalid
	}
	identity, err := k.o.Load().Authenticate(c.user, password, c.connect.HasPassword, c.local)
	if err != nil {
		k.log.Warn("client refused", "client", c.id, "user", c.user, "remote", c.remote, "listener", c.listener, "err", err)
		k.count.refused.Add(1)
		return frame.CodeBadUserOrPassword
	}
	c.identity.Store(&identity)
	o := bus.SessionOptions{Name: c.id, User: c.user, Clean: c.connect.CleanStart}
	if w := c.connect.Will; w != nil {
		if reserved(string(w.Topic)) || !identity.MayPublish(string(w.Topic)) {
			k.log.Warn("client refused: it may not publish its will", "client", c.id, "user", c.user, "topic", string(w.Topic))
			return frame.CodeNotAuthorized
		}
		o.Will = &bus.Will{Topic: string(w.Topic), Payload: w.Payload, QoS: w.QoS, Retain: w.Retain, Delay: w.DelayInterval, Properties: w.Props}
		if w.HasExpiry {
			o.Will.Expiry = max(1, w.Expiry)
		}
	}
	switch {
	case c.version == frame.V5:
		c.expiry = k.sessionExpiry(c.connect.SessionExpiry)
	case !c.connect.CleanStart:
		c.expiry = k.sessionExpiry(bus.NeverExpires)
	}
	o.Expiry = c.expiry
	if err := k.own(c); err != nil {
		k.log.Error("client refused", "client", c.id, "err", err)
		return frame.CodeServerUnavailable
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	c.session, c.present, err = k.bus.Attach(ctx, o)
	switch {
	case err == nil:
		return frame.CodeSuccess
	case errors.Is(err, bus.ErrForeignSession):
		k.log.Warn("client refused", "client", c.id, "user", c.user, "err", err)
		return frame.CodeNotAuthorized
	}
	k.log.Error("client refused: its session cannot be made durable", "client", c.id, "err", err)
	return frame.CodeServerUnavailable
}

// OnACLCheck keeps mochi's own subscription table empty: subscriptions are the bus's. The reason codes
// that come of it are replaced in OnSubscribed.
func (h *hook) OnACLCheck(*mqtt.Client, string, bool) bool { return false }

// OnSessionEstablished follows CONNACK: delivery begins.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	c := connOf(cl)
	h.k.log.Debug("client connected", "client", c.id, "user", c.user, "remote", c.remote, "listener", c.listener, "version", c.version, "present", c.present)
	limit := h.k.o.Load().Inflight
	if c.version == frame.V5 {
		limit = min(limit, int(c.connect.ReceiveMaximum))
	}
	c.session.Start(c, limit)
}

// OnPacketEncode says what mochi does not know.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := connOf(cl)
	if c == nil {
		return pk
	}
	switch pk.FixedHeader.Type {
	case packets.Connack:
		return h.connack(c, pk)
	case packets.Suback:
		pk.Properties.User = nil
	case packets.Unsuback:
		pk.Properties.User = nil
		pk.ReasonCodes = c.unsubscribed
	}
	return pk
}

func (h *hook) connack(c *conn, pk packets.Packet) packets.Packet {
	if c.refusal != 0 {
		pk.ReasonCode = c.refusal
		pk.Properties.ReasonString = ""
		if c.version < frame.V5 {
			pk.ReasonCode = v3Refusal(c.refusal)
		}
	}
	if pk.ReasonCode != 0 {
		return pk
	}
	pk.SessionPresent = c.present // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
	o := h.k.o.Load()
	p := &pk.Properties
	p.ReceiveMaximum = receiveMaximum
	p.TopicAliasMaximum = topicAliasMaximum
	p.MaximumPacketSize = uint32(o.PacketSize)
	if c.expiry != c.connect.SessionExpiry {
		p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = c.expiry, true // [MQTT-3.2.2-18]
	}
	if asked := time.Duration(c.connect.KeepAlive) * time.Second; c.keepAlive != asked {
		p.ServerKeepAlive, p.ServerKeepAliveFlag = uint16(c.keepAlive/time.Second), true // [MQTT-3.1.2-21]
	}
	return pk
}

// v3Refusal is the return code of MQTT 3 for a reason code.
func v3Refusal(code byte) byte {
	switch code {
	case frame.CodeClientIDInvalid:
		return 2
	case frame.CodeBadUserOrPassword:
		return 4
	case frame.CodeNotAuthorized:
		return 5
	}
	return 3
}

// OnSubscribe notes what is asked for, and keeps mochi from sending retained messages itself.
func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := connOf(cl)
	c.filters = c.filters[:0]
	meta := false
	for _, u := range pk.Properties.User {
		meta = meta || u.Key == "meta"
	}
	for i, f := range pk.Filters {
		s := bus.Filter{Filter: f.Filter, QoS: f.Qos, NoLocal: f.NoLocal, RetainAsPublished: f.RetainAsPublished,
			RetainHandling: f.RetainHandling, Meta: meta}
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

// OnSubscribed makes the subscriptions durable before SUBACK, whose reason codes it decides.
func (h *hook) OnSubscribed(cl *mqtt.Client, _ packets.Packet, codes []byte) {
	c := connOf(cl)
	identity := *c.identity.Load()
	var good []bus.Filter
	for i, f := range c.filters {
		if bus.CheckFilter(f.Filter) != nil {
			codes[i] = frame.CodeTopicFilterInvalid
			continue
		}
		if !identity.MaySubscribe(f.Filter) {
			h.k.log.Warn("subscription not allowed", "client", c.id, "user", c.user, "filter", f.Filter)
			codes[i] = frame.CodeNotAuthorized
			continue
		}
		codes[i] = f.QoS
		if isShared(f.Filter) {
			codes[i] = min(1, f.QoS) // a work queue hands on what a member left: QoS 2 cannot do that
		}
		good = append(good, f)
	}
	if err := c.session.Subscribe(context.Background(), good); err != nil {
		h.k.log.Error("subscription not made", "client", c.id, "err", err)
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

func isShared(filter string) bool { return len(filter) > 7 && filter[:7] == "$share/" }

// OnPacketSent lets delivery go on behind SUBACK.
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

// OnUnsubscribe gives the filters up; what was accepted before is still delivered.
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
		case bus.CheckFilter(name) != nil:
			c.unsubscribed[i] = frame.CodeTopicFilterInvalid
		case err != nil:
			c.unsubscribed[i] = frame.CodeUnspecified
		case !existed[i]:
			c.unsubscribed[i] = 0x11 // no subscription existed
		}
	}
	if err != nil {
		h.k.log.Error("unsubscribe not made", "client", c.id, "err", err)
	}
	return pk
}
