package broker

// This file is the client's half of a delivery, and the release of its own QoS 2 publishes.
//
//	delivery of QoS 1: PUBLISH ─▶ PUBACK
//	delivery of QoS 2: PUBLISH ─▶ PUBREC ─▶ PUBREL ─▶ PUBCOMP
//
// Each identifier in flight accepts exactly one kind of acknowledgement. Another kind is a protocol
// error, because client and broker disagree about what was delivered [MQTT-4.3.2-3] [MQTT-4.3.3-4].
// An identifier that is not in flight is tolerated: its acknowledgement may have crossed a
// reconnect.

import (
	"fmt"

	"github.com/postbus/postbus/bus/broker/frame"
	"github.com/postbus/postbus/bus/journal"
)

// phase is the acknowledgement that a QoS 2 delivery waits for.
type phase byte

const (
	awaitsPubrec phase = iota + 1
	awaitsPubcomp
)

// setPhaseLocked records that a QoS 2 delivery was sent or released. At most Options.Inflight of
// them are in flight. The caller holds mu.
func (c *conn) setPhaseLocked(id uint16, p phase) {
	if c.phases == nil {
		c.phases = map[uint16]phase{}
	}
	c.phases[id] = p
	c.qos2InFlight.Store(int32(len(c.phases)))
}

// phaseOf returns what a QoS 2 delivery waits for; 0 when no QoS 2 delivery has the identifier.
func (c *conn) phaseOf(id uint16) phase {
	if c.qos2InFlight.Load() == 0 { // most clients have no QoS 2: their acknowledgements take no lock
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.phases[id]
}

// clearPhase forgets a QoS 2 delivery that has ended. Call it before Session.Ack, which frees the
// identifier for the next delivery.
func (c *conn) clearPhase(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.phases, id)
	c.qos2InFlight.Store(int32(len(c.phases)))
}

// acknowledged processes an acknowledgement of a delivery, or the release of the client's own
// publish.
func (c *conn) acknowledged(packet []byte) error {
	a, ferr := frame.ParseAck(packet, c.version)
	if ferr != nil {
		return ferr
	}
	switch a.Type {
	case frame.TypePuback:
		if c.phaseOf(a.PacketID) != 0 {
			return wrongAck("PUBACK", a.PacketID, 2)
		}
		if c.session.Ack(a.PacketID) {
			c.acked = true
		}
	case frame.TypePubrec:
		return c.pubrec(a)
	case frame.TypePubcomp:
		return c.pubcomp(a)
	case frame.TypePubrel:
		return c.pubrel(a)
	}
	return nil
}

// pubrec processes a PUBREC. It answers a second one for the same delivery again.
func (c *conn) pubrec(a frame.Ack) error {
	if c.phaseOf(a.PacketID) == 0 {
		if c.isQoS1(a.PacketID) {
			return wrongAck("PUBREC", a.PacketID, 1)
		}
		if a.Reason < frame.CodeUnspecified {
			c.acknowledge(frame.TypePubrel, a.PacketID, frame.CodePacketIDNotFound, journal.Commit{})
		}
		return nil
	}
	if a.Reason >= frame.CodeUnspecified { // the client refuses the event: there is no PUBREL [MQTT-4.3.3-4]
		c.clearPhase(a.PacketID)
		c.acked = c.session.Ack(a.PacketID) || c.acked
		return nil
	}
	c.session.Receive(a.PacketID)
	c.mu.Lock()
	c.setPhaseLocked(a.PacketID, awaitsPubcomp)
	c.mu.Unlock()
	c.acknowledge(frame.TypePubrel, a.PacketID, frame.CodeSuccess, journal.Commit{})
	return nil
}

func (c *conn) pubcomp(a frame.Ack) error {
	switch c.phaseOf(a.PacketID) {
	case awaitsPubcomp:
		c.clearPhase(a.PacketID)
		c.acked = c.session.Ack(a.PacketID) || c.acked
	case awaitsPubrec:
		return wrongAck("PUBCOMP before PUBREC", a.PacketID, 2)
	default:
		if c.isQoS1(a.PacketID) {
			return wrongAck("PUBCOMP", a.PacketID, 1)
		}
	}
	return nil
}

// isQoS1 reports whether an identifier without a phase belongs to a delivery of QoS 1. It looks up
// the phase again after the session: meanwhile a QoS 2 delivery may have taken an identifier that
// was free.
func (c *conn) isQoS1(id uint16) bool {
	return c.session.InFlight(id) && c.phaseOf(id) == 0
}

func wrongAck(what string, id uint16, qos int) *frame.Error {
	return &frame.Error{Code: frame.CodeProtocolError, Statement: "4.13.1",
		Reason: fmt.Sprintf("%s for packet identifier %d, which is a delivery of QoS %d", what, id, qos)}
}

// pubrel processes the release of a QoS 2 publish of the client. PUBCOMP waits until the release is
// durable.
func (c *conn) pubrel(a frame.Ack) error {
	c.restore()
	if !c.received.has(a.PacketID) {
		c.acknowledge(frame.TypePubcomp, a.PacketID, frame.CodePacketIDNotFound, journal.Commit{})
		return nil
	}
	commit, err := c.session.Release(a.PacketID)
	if err != nil {
		return &frame.Error{Code: frame.CodeUnspecified, Reason: err.Error()}
	}
	c.received.remove(a.PacketID)
	c.acknowledge(frame.TypePubcomp, a.PacketID, frame.CodeSuccess, commit)
	return nil
}
