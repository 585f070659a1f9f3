// This file is MQTT 3.1.1, with the packets of paho.mqtt.golang.

package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	v3 "github.com/eclipse/paho.mqtt.golang/packets"
)

// three is the codec of MQTT 3.1.1. The highest bit of the protocol level marks a bridge.
type three struct{}

// connect writes CONNECT with the given protocol level, 4 or 0x84.
func (three) connect(w io.Writer, l *link, clean bool, level byte) error {
	p := v3.NewControlPacket(v3.Connect).(*v3.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.CleanSession = "MQTT", level, clean
	p.ClientIdentifier, p.Keepalive = l.clientID, uint16(l.keepAlive/time.Second)
	if l.user != "" {
		p.UsernameFlag, p.Username = true, l.user
		p.PasswordFlag, p.Password = l.password != "", []byte(l.password)
	}
	return p.Write(w)
}

// connack reads the answer to CONNECT.
func (three) connack(b []byte) (terms, error) {
	p, err := v3.ReadPacket(bytes.NewReader(b))
	if err != nil {
		return terms{}, malformed(err)
	}
	a, ok := p.(*v3.ConnackPacket)
	if !ok {
		return terms{}, errNotMQTT
	}
	if a.ReturnCode != v3.Accepted {
		return terms{}, refusal(a.ReturnCode)
	}
	return terms3(a.SessionPresent), nil
}

func (three) encode(w io.Writer, p *packet) error {
	switch p.kind {
	case publish:
		m := v3.NewControlPacket(v3.Publish).(*v3.PublishPacket)
		m.TopicName, m.Payload, m.Qos, m.Retain, m.Dup, m.MessageID = p.msg.topic, p.msg.payload, p.msg.qos, p.msg.retain, p.msg.dup, p.id
		return m.Write(w)
	case puback:
		a := v3.NewControlPacket(v3.Puback).(*v3.PubackPacket)
		a.MessageID = p.id
		return a.Write(w)
	case pubrec:
		a := v3.NewControlPacket(v3.Pubrec).(*v3.PubrecPacket)
		a.MessageID = p.id
		return a.Write(w)
	case pubrel:
		a := v3.NewControlPacket(v3.Pubrel).(*v3.PubrelPacket)
		a.MessageID = p.id
		return a.Write(w)
	case pubcomp:
		a := v3.NewControlPacket(v3.Pubcomp).(*v3.PubcompPacket)
		a.MessageID = p.id
		return a.Write(w)
	case subscribe:
		s := v3.NewControlPacket(v3.Subscribe).(*v3.SubscribePacket)
		s.MessageID = p.id
		for _, r := range p.rules {
			s.Topics, s.Qoss = append(s.Topics, r.Filter), append(s.Qoss, r.QoS.Level())
		}
		return s.Write(w)
	case pingreq, disconnect:
		return v3.NewControlPacket(byte(p.kind)).Write(w)
	}
	return fmt.Errorf("a bridge does not send %s", kindNames[p.kind])
}

func (three) decode(b []byte) (*packet, error) {
	c, err := v3.ReadPacket(bytes.NewReader(b))
	if err != nil {
		return nil, malformed(err)
	}
	switch c := c.(type) {
	case *v3.PublishPacket:
		return &packet{kind: publish, id: c.MessageID, msg: &message{topic: c.TopicName, payload: c.Payload, qos: c.Qos, retain: c.Retain, dup: c.Dup}}, nil
	case *v3.PubackPacket:
		return &packet{kind: puback, id: c.MessageID}, nil
	case *v3.PubrecPacket:
		return &packet{kind: pubrec, id: c.MessageID}, nil
	case *v3.PubrelPacket:
		return &packet{kind: pubrel, id: c.MessageID}, nil
	case *v3.PubcompPacket:
		return &packet{kind: pubcomp, id: c.MessageID}, nil
	case *v3.SubackPacket:
		return &packet{kind: suback, id: c.MessageID, codes: c.ReturnCodes}, nil
	case *v3.UnsubackPacket:
		return &packet{kind: unsuback, id: c.MessageID}, nil
	case *v3.PingrespPacket:
		return &packet{kind: pingresp}, nil
	}
	return &packet{kind: packetKind(b[0] >> 4)}, nil
}

var errNotMQTT = errors.New("it doesn't speak MQTT")

// malformed is a decoder's error. It isn't wrapped, because an io.EOF in it is not the connection's.
func malformed(err error) error { return fmt.Errorf("it sent a malformed packet: %v", err) }
