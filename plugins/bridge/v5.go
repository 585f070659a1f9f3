// This file is MQTT 5, with the packets of paho.golang.

package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	v5 "github.com/eclipse/paho.golang/packets"

	"github.com/postbus/postbus/bus/topic"
)

// five is the codec of MQTT 5.
type five struct{}

// errNotFive means that the remote speaks MQTT, but not version 5.
var errNotFive = errors.New("it does not support MQTT 5")

// The user properties of an event's route; bus/broker has the same ones. See
// docs/adr/0011-bridges-speak-mqtt-5.md.
const (
	hopsProp   = "postbus-hops"
	originProp = "postbus-origin"
	askBridge  = "postbus-bridge" // in CONNECT, asks whether the broker trusts us; a postbus answers true or false
)

// connect writes CONNECT. It asks the remote to keep our session for as long as the remote allows.
func (five) connect(w io.Writer, l *link, clean bool) error {
	c := v5.NewControlPacket(v5.CONNECT)
	p := c.Content.(*v5.Connect)
	p.CleanStart, p.ClientID, p.KeepAlive = clean, l.clientID, uint16(l.keepAlive/time.Second)
	if !clean {
		p.Properties.SessionExpiryInterval = new(uint32)
		*p.Properties.SessionExpiryInterval = math.MaxUint32
	}
	p.Properties.User = []v5.User{{Key: askBridge, Value: "1"}}
	if l.user != "" {
		p.UsernameFlag, p.Username = true, l.user
		p.PasswordFlag, p.Password = l.password != "", []byte(l.password)
	}
	_, err := c.WriteTo(w)
	return err
}

// connack reads the answer to CONNECT. A remote that doesn't know MQTT 5 answers in an earlier
// version, which has no properties, or with the reason code for an unsupported version.
func (five) connack(b []byte) (terms, error) {
	if b[0]>>4 != v5.CONNACK {
		return terms{}, errNotMQTT
	}
	if len(b) == 4 {
		return terms{}, errNotFive
	}
	c, err := v5.ReadPacket(bytes.NewReader(b))
	if err != nil {
		return terms{}, malformed(err)
	}
	a := c.Content.(*v5.Connack)
	switch {
	case a.ReasonCode == v5.ConnackUnsupportedProtocolVersion:
		return terms{}, errNotFive
	case a.ReasonCode >= 0x80:
		return terms{}, &reason{"it refuses us", a.ReasonCode, a.Properties.ReasonString}
	}
	h := terms3(a.SessionPresent)
	p := a.Properties
	if p.ReceiveMaximum != nil && *p.ReceiveMaximum > 0 {
		h.inflight = int(*p.ReceiveMaximum)
	}
	if p.MaximumPacketSize != nil {
		h.size = int(min(*p.MaximumPacketSize, math.MaxInt32))
	}
	if p.MaximumQOS != nil {
		h.qos = *p.MaximumQOS
	}
	h.retain = p.RetainAvailable == nil || *p.RetainAvailable != 0
	if p.ServerKeepAlive != nil && *p.ServerKeepAlive > 0 {
		h.keepAlive = time.Duration(*p.ServerKeepAlive) * time.Second
	}
	for _, u := range p.User {
		if u.Key == askBridge {
			h.trusts = u.Value
		}
	}
	return h, nil
}

func (five) encode(w io.Writer, p *packet) error {
	if p.kind == publish {
		_, err := v5Publish(p).ToControlPacket().WriteTo(w)
		return err
	}
	c := v5.NewControlPacket(byte(p.kind))
	switch a := c.Content.(type) {
	case *v5.Puback:
		a.PacketID = p.id
	case *v5.Pubrec:
		a.PacketID = p.id
	case *v5.Pubrel:
		a.PacketID = p.id
	case *v5.Pubcomp:
		a.PacketID = p.id
	case *v5.Subscribe:
		a.PacketID = p.id
		for _, r := range p.rules { // as a bridge: the remote does not send back what we published, and RETAIN stays unchanged
			a.Subscriptions = append(a.Subscriptions, v5.SubOptions{Topic: r.Filter, QoS: r.QoS.Level(), NoLocal: true, RetainAsPublished: true})
		}
	case *v5.Pingreq, *v5.Disconnect:
	default:
		return fmt.Errorf("a bridge does not send %s", kindNames[p.kind])
	}
	_, err := c.WriteTo(w)
	return err
}

// v5Publish makes a PUBLISH of a message whose route is set.
func v5Publish(p *packet) *v5.Publish {
	m := p.msg
	props := v5.Properties{}
	if m.props != nil {
		props = *m.props
		props.User = slices.Clone(m.props.User)
	}
	if !m.expires.IsZero() {
		props.MessageExpiry = new(uint32)
		*props.MessageExpiry = uint32(min(max(1, math.Ceil(time.Until(m.expires).Seconds())), math.MaxUint32))
	}
	if m.hops > 0 {
		props.User = append(props.User, v5.User{Key: hopsProp, Value: strconv.Itoa(m.hops)})
	}
	if m.origin != "" {
		props.User = append(props.User, v5.User{Key: originProp, Value: m.origin})
	}
	return &v5.Publish{Topic: m.topic, Payload: m.payload, QoS: m.qos, Retain: m.retain, Duplicate: m.dup, PacketID: p.id, Properties: &props}
}

func (five) decode(b []byte) (*packet, error) {
	if len(b) == 2 && packetKind(b[0]>>4) == disconnect { // success without properties; the library requires the reason code
		return &packet{kind: disconnect}, nil
	}
	c, err := v5.ReadPacket(bytes.NewReader(b))
	if err != nil {
		return nil, malformed(err)
	}
	switch c := c.Content.(type) {
	case *v5.Publish:
		return &packet{kind: publish, id: c.PacketID, msg: v5Message(c)}, nil
	case *v5.Puback:
		return &packet{kind: puback, id: c.PacketID, code: c.ReasonCode, text: c.Properties.ReasonString}, nil
	case *v5.Pubrec:
		return &packet{kind: pubrec, id: c.PacketID, code: c.ReasonCode, text: c.Properties.ReasonString}, nil
	case *v5.Pubrel:
		return &packet{kind: pubrel, id: c.PacketID, code: c.ReasonCode}, nil
	case *v5.Pubcomp:
		return &packet{kind: pubcomp, id: c.PacketID, code: c.ReasonCode}, nil
	case *v5.Suback:
		return &packet{kind: suback, id: c.PacketID, codes: c.Reasons}, nil
	case *v5.Unsuback:
		return &packet{kind: unsuback, id: c.PacketID}, nil
	case *v5.Pingresp:
		return &packet{kind: pingresp}, nil
	case *v5.Disconnect:
		return &packet{kind: disconnect, code: c.ReasonCode, text: c.Properties.ReasonString}, nil
	}
	return &packet{kind: packetKind(b[0] >> 4)}, nil
}

// v5Message decodes a PUBLISH: the properties that travel with the message, and its route.
func v5Message(c *v5.Publish) *message {
	m := &message{topic: c.Topic, payload: c.Payload, qos: c.QoS, retain: c.Retain, dup: c.Duplicate}
	p := c.Properties
	if p.MessageExpiry != nil {
		m.expires = time.Now().Add(time.Duration(max(1, *p.MessageExpiry)) * time.Second)
	}
	m.setProps(&v5.Properties{PayloadFormat: p.PayloadFormat, ContentType: p.ContentType, ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData, User: p.User})
	return m
}

// setProps sets the message's properties, and takes the route out of them. It checks the texts,
// which the library does not.
func (m *message) setProps(p *v5.Properties) {
	if p.PayloadFormat != nil && (*p.PayloadFormat > 1 || *p.PayloadFormat == 1 && !utf8.Valid(m.payload)) {
		p.PayloadFormat = nil
	}
	texts := []string{p.ContentType, p.ResponseTopic}
	p.User = slices.DeleteFunc(p.User, func(u v5.User) bool {
		texts = append(texts, u.Key, u.Value)
		switch u.Key {
		case hopsProp:
			if n, err := strconv.ParseUint(u.Value, 10, 32); err == nil {
				m.hops = int(min(n, math.MaxInt32))
			}
			return true
		case originProp:
			m.origin = u.Value
			return true
		}
		return false
	})
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			m.malformed = "a property is not UTF-8"
		}
	}
	if topic.HasWildcard(p.ResponseTopic) {
		m.malformed = "the response topic holds a wildcard"
	}
	m.props = p
}

// unpackProps decodes the properties of one of our events. They have the form of a PUBLISH's,
// without their length.
func unpackProps(b []byte) (*v5.Properties, error) {
	p := new(v5.Properties)
	n := len(b)
	head := []byte{}
	for ; n >= 0x80; n >>= 7 {
		head = append(head, byte(n)|0x80)
	}
	if err := p.Unpack(bytes.NewBuffer(append(append(head, byte(n)), b...)), v5.PUBLISH); err != nil {
		return nil, err
	}
	return p, nil
}

// packProps is the inverse of unpackProps. The origin is among the properties, so that it stays
// with the event for the next bridge.
func packProps(m *message) []byte {
	p := v5.Properties{}
	if m.props != nil {
		p = *m.props
	}
	if m.origin != "" {
		p.User = append(slices.Clip(p.User), v5.User{Key: originProp, Value: m.origin})
	}
	return p.Pack(v5.PUBLISH)
}

// reason is a negative reason code of MQTT 5.
type reason struct {
	what string
	code byte
	text string
}

func (r *reason) Error() string {
	words := reasons[r.code]
	if words == "" {
		words = fmt.Sprintf("reason code %#x", r.code)
	}
	if r.text != "" {
		words += ": " + strings.ToValidUTF8(r.text, "�")
	}
	return r.what + ": " + words
}

// final reports whether the remote would refuse the message again for this reason. The other
// reasons are a state of the remote, such as a full disk.
func final(code byte) bool {
	return code == 0x87 || code == 0x90 || code == 0x95 || code == 0x99
}

var reasons = map[byte]string{
	0x80: "no reason given", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "it can't process it", 0x85: "our client_id",
	0x86: "our user name or password", 0x87: "we are not authorized", 0x88: "it is not available", 0x89: "it is busy", 0x8A: "we are banned",
	0x8B: "it is shutting down", 0x8D: "nothing came from us for too long", 0x8E: "another connection has our client_id", 0x90: "the topic", 0x91: "the packet identifier is in use",
	0x93: "too many messages in flight", 0x95: "the packet is too large", 0x96: "too many messages a second", 0x97: "a quota is used up", 0x98: "an administrator's decision",
	0x99: "the payload is not in the format that it says", 0x9A: "it keeps no retained messages", 0x9B: "the quality of service", 0x9C: "we should use another server",
	0x9D: "it has moved", 0x9F: "too many connections a second", 0xA0: "our connection's time is over",
}
