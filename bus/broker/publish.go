package broker

// This file is the clients' publishes and their acknowledgements, and the deliveries of the bus.

import (
	"errors"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker/frame"
	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

// publish processes a PUBLISH. At QoS 1 and 2 its acknowledgement waits behind the barrier.
func (c *conn) publish(packet []byte) error {
	p := &c.pub
	if ferr := frame.ParsePublish(packet, c.version, p); ferr != nil {
		if ferr.Code != frame.CodePayloadFormatInvalid || p.QoS == 0 {
			return ferr
		}
		c.deny(p, ferr.Code, ferr.Reason)
		return nil
	}
	if p.Alias != 0 {
		if ferr := c.alias(p); ferr != nil {
			return ferr
		}
	}
	o := c.broker.o.Load()
	c.takeRate(o, len(packet))
	// The string shares the packet's memory, which suffices because no code below keeps it.
	topic := unsafe.String(unsafe.SliceData(p.Topic), len(p.Topic))
	if !c.mayPublish(*c.identity.Load(), topic, p.Payload) {
		return c.forbidden(p, topic)
	}
	var hops byte
	if len(p.Props) > 0 {
		var ours bool
		if p.Props, hops, ours = c.takeRoute(p.Props); ours {
			c.broker.log.Debug("event ignored: it returned to this bus through bridges", "client", c.id, "topic", topic)
			return c.ignore(p)
		}
	}
	r := &c.record // nothing below keeps it
	*r = journal.Record{Kind: journal.KindEvent, Flags: p.QoS | hops<<bus.HopsShift, Expiry: journal.NoExpiry,
		Source: c.idBytes, Topic: p.Topic, Props: p.Props, Payload: p.Payload}
	if p.Retain {
		r.Flags |= 0x04
	}
	if p.HasExpiry {
		r.Expiry = min(p.Expiry, journal.NoExpiry-1)
	}
	c.broker.count.messagesIn.Add(1)
	c.eventsIn.Add(1)
	c.share(p.QoS, len(packet))
	if p.QoS == 0 {
		var err error
		if p.Retain {
			c.endTurn()
			_, err = c.append(r, len(packet))
		} else {
			err = c.broker.bus.PublishNow(r)
		}
		return c.refusedNow(err)
	}
	if p.QoS == 2 {
		c.restore()
		if c.received.has(p.PacketID) { // [MQTT-4.3.3-10]
			c.answer(p, frame.CodeSuccess, journal.Commit{}) // behind the first PUBREC, and so behind its commit
			return nil
		}
		r.ID = p.PacketID
	}
	commit, err := c.append(r, len(packet))
	if err != nil {
		return c.noSpace(p, err)
	}
	if p.QoS == 2 {
		c.received.add(p.PacketID)
	}
	c.answer(p, frame.CodeSuccess, commit)
	return nil
}

// answer acknowledges a PUBLISH once commit is done.
func (c *conn) answer(p *frame.Publish, code byte, commit journal.Commit) {
	c.acknowledge(ackType(p), p.PacketID, code, commit)
}

// deny refuses a PUBLISH of an MQTT 5 client with a reason.
func (c *conn) deny(p *frame.Publish, code byte, why string) {
	c.refusePublish(ackType(p), p.PacketID, code, why)
}

func ackType(p *frame.Publish) byte {
	if p.QoS == 2 {
		return frame.TypePubrec
	}
	return frame.TypePuback
}

// restore loads the QoS 2 identifiers that an earlier connection of the session received, once.
func (c *conn) restore() {
	if c.restored {
		return
	}
	c.restored = true
	c.received = new(idSet)
	for _, id := range c.session.Received() {
		c.received.add(id)
	}
}

func (c *conn) alias(p *frame.Publish) *frame.Error {
	if p.Alias > topicAliasMaximum {
		return &frame.Error{Code: frame.CodeTopicAliasInvalid, Reason: "topic alias above the maximum", Statement: "MQTT-3.3.2-9"}
	}
	if len(p.Topic) > 0 {
		if c.aliases == nil {
			c.aliases = map[uint16]string{}
		}
		c.aliases[p.Alias] = string(p.Topic)
		return nil
	}
	name, ok := c.aliases[p.Alias]
	if !ok {
		return &frame.Error{Code: frame.CodeProtocolError, Reason: "topic alias was never set", Statement: "MQTT-3.3.2-12"}
	}
	p.Topic = []byte(name)
	return nil
}

// mayPublish is the one check of topics, for publishes and for wills.
func (c *conn) mayPublish(id Identity, name string, payload []byte) bool {
	if topic.Reserved(name) {
		return c.ownState(name, payload)
	}
	return id.MayPublish(name)
}

// forbidden answers a publish without permission. MQTT 3 has no reason code for it: the event is
// acknowledged as Mosquitto does, but the loss is reported on $bus/lost.
func (c *conn) forbidden(p *frame.Publish, topic string) error {
	c.broker.count.refusedEvents.Add(1)
	c.broker.log.Debug("publish not allowed", "client", c.id, "user", c.user, "topic", topic)
	c.broker.o.Load().Audit.Refused(c.id, "publish refused", "client", c.id, "user", c.user, "topic", shortened(topic))
	if c.version == frame.V5 && p.QoS > 0 {
		c.deny(p, frame.CodeNotAuthorized, "the user may not publish to this topic")
		return nil
	}
	c.broker.bus.ReportLoss(c.id, "publish not allowed", 1) // MQTT has no reason code for it here
	return c.ignore(p)
}

// ignore acknowledges a publish that has no effect.
func (c *conn) ignore(p *frame.Publish) error {
	if p.QoS == 0 {
		return nil
	}
	if p.QoS == 2 {
		c.restore()
		c.received.add(p.PacketID)
	}
	c.answer(p, frame.CodeSuccess, journal.Commit{})
	return nil
}

// refusedNow counts an event of QoS 0 that the bus refuses. Its client gets no answer; the loss is
// reported unless the disk is at fault, which refuses everything.
func (c *conn) refusedNow(err error) error {
	if err == nil {
		return nil
	}
	c.broker.count.refusedEvents.Add(1)
	if limit := (*bus.LimitError)(nil); errors.As(err, &limit) {
		c.broker.bus.ReportLoss(c.id, limit.Error(), 1) // which is logged
	}
	return nil
}

// beyond answers a publish that a limit refuses, as forbidden does for the rules: to try again would
// not help.
func (c *conn) beyond(p *frame.Publish, limit *bus.LimitError) error {
	c.broker.count.refusedEvents.Add(1)
	c.broker.quiet.Warn(c.broker.log, c.id, "event refused by a limit",
		"client", c.id, "user", c.user, "topic", shortened(string(p.Topic)), "err", limit)
	if c.version == frame.V5 {
		code := frame.CodeQuotaExceeded
		if limit.Key == bus.LimitTopicLevels {
			code = frame.CodeTopicNameInvalid
		}
		c.deny(p, code, limit.Error())
		return nil
	}
	c.broker.bus.ReportLoss(c.id, limit.Error(), 1)
	return c.ignore(p)
}

// shortened is a topic for a log line.
func shortened(topic string) string {
	const most = 200
	if len(topic) <= most {
		return topic
	}
	return strings.ToValidUTF8(topic[:most], "") + "…"
}

// noSpace answers a publish that the disk refuses. MQTT 5 clients get the reason; others are
// disconnected without an acknowledgement and retry.
func (c *conn) noSpace(p *frame.Publish, err error) error {
	if limit := (*bus.LimitError)(nil); errors.As(err, &limit) {
		return c.beyond(p, limit)
	}
	c.broker.count.refusedEvents.Add(1)
	code, reason := frame.CodeQuotaExceeded, err.Error()
	var u *journal.Unavailable
	if !errors.As(err, &u) {
		code = frame.CodeImplementation
	}
	if c.version == frame.V5 {
		c.deny(p, code, reason)
		return nil
	}
	return &frame.Error{Code: code, Reason: reason}
}

// kick continues the session's deliveries after the input in the buffer was processed: once for
// many acknowledgements.
func (c *conn) kick() {
	if c.acked {
		c.acked = false
		c.session.Kick()
	}
}

// Deliver implements bus.Sink.
func (c *conn) Deliver(d *bus.Delivery) bus.Verdict {
	e := d.Event
	if id := c.identity.Load(); !(*id).MayRead(unsafe.String(unsafe.SliceData(e.Topic), len(e.Topic))) {
		return bus.Forbidden
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return bus.Full
	}
	limit := c.broker.o.Load().OutputBuffer
	if d.QoS == 0 {
		c.crowdLocked(limit)
	}
	if len(c.out) >= limit || c.hold && (d.QoS > 0 || d.Initial) {
		c.wantRoom = true
		return bus.Full
	}
	o := frame.Out{Topic: e.Topic, Payload: e.Payload, PacketID: d.ID, QoS: d.QoS, Dup: d.Dup, Retain: d.Retain}
	if c.version == frame.V5 {
		o.Props, o.SubIDs = e.Props, d.SubIDs
		c.enrich(&o, d)
	}
	if !c.shorten(&o) {
		return bus.TooLarge
	}
	c.queueBuffer()
	c.out = frame.AppendPublish(c.out, c.version, &o)
	if d.QoS == 2 {
		c.setPhaseLocked(d.ID, awaitsPubrec)
	}
	c.broker.count.messagesOut.Add(1)
	c.eventsOut++
	c.startFlush()
	return bus.Sent
}

// enrich adds properties of MQTT 5: the remaining expiry, and the bus's own user properties.
func (c *conn) enrich(o *frame.Out, d *bus.Delivery) {
	e := d.Event
	if e.Expiry != journal.NoExpiry { // [MQTT-3.3.2-6]
		gone := max(0, time.Now().UnixNano()-e.Time) / int64(time.Second)
		o.HasExpiry, o.Expiry = true, uint32(max(0, int64(e.Expiry)-gone))
	}
	if c.trusted() {
		c.addRoute(o, e)
	}
	if d.Gap > 0 {
		o.User = append(o.User, frame.UserProp{Key: "gap", Value: strconv.FormatUint(d.Gap, 10)})
	}
	if d.Meta {
		addOrigin(o, e)
		o.User = append(o.User,
			frame.UserProp{Key: "seq", Value: strconv.FormatUint(e.Seq, 10)},
			frame.UserProp{Key: "time", Value: time.Unix(0, e.Time).UTC().Format(time.RFC3339Nano)},
			frame.UserProp{Key: "source", Value: string(e.Source)})
	}
}

// addOrigin adds which bus of the fleet accepted an event first, and when. The source tells these properties
// from those of the publisher: no client's begins so.
func addOrigin(o *frame.Out, e *journal.Record) {
	origin := bus.OriginOf(e)
	if origin.Bus == "" {
		return
	}
	o.User = append(o.User, frame.UserProp{Key: "origin", Value: origin.Bus})
	if !origin.Time.IsZero() {
		o.User = append(o.User, frame.UserProp{Key: "origin-time", Value: origin.Time.UTC().Format(time.RFC3339Nano)})
	}
}

// shorten replaces a topic that the client knows by its alias [MQTT-3.1.2-26]. It reports whether
// the client accepts a packet of this size.
func (c *conn) shorten(o *frame.Out) bool {
	if c.connect.TopicAliasMaximum == 0 {
		return c.fits(o)
	}
	if a, ok := c.outAlias[string(o.Topic)]; ok {
		o.Alias, o.Topic = a, nil
		return c.fits(o)
	}
	if n := len(c.outAlias); n < min(int(c.connect.TopicAliasMaximum), topicAliasMaximum) {
		if o.Alias = uint16(n + 1); c.fits(o) {
			if c.outAlias == nil {
				c.outAlias = map[string]uint16{}
			}
			c.outAlias[string(o.Topic)] = o.Alias
			return true
		}
		o.Alias = 0 // a new alias takes three bytes more
	}
	return c.fits(o)
}

// fits reports whether a packet is within the client's maximum [MQTT-3.1.2-24].
func (c *conn) fits(o *frame.Out) bool {
	m := c.connect.MaximumPacketSize
	return m == 0 || frame.PublishSize(c.version, o) <= int(m)
}

// Release implements bus.Sink.
func (c *conn) Release(id uint16) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return false
	}
	if len(c.out) >= c.broker.o.Load().OutputBuffer {
		c.wantRoom = true
		return false
	}
	c.queueBuffer()
	c.out = frame.AppendAck(c.out, c.version, frame.TypePubrel, id, frame.CodeSuccess)
	c.setPhaseLocked(id, awaitsPubcomp)
	c.startFlush()
	return true
}
