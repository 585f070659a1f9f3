package attack

// This file is as much of MQTT 5 as an attacker needs.

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// patience is how long an attacker waits for an answer.
const patience = 10 * time.Second

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func size(n int) (b []byte) {
	for {
		d := byte(n % 128)
		if n /= 128; n == 0 {
			return append(b, d)
		}
		b = append(b, d|128)
	}
}

func packet(first byte, parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	return append(append([]byte{first}, size(len(body))...), body...)
}

// login is what an attacker says of itself.
type login struct {
	client, user, password string
	expiry                 uint32 // of the session, in seconds
	will                   []byte // payload of a last will on topic, delayed for an hour
	topic                  string
}

func (l login) packet() []byte {
	flags := byte(0x02)
	props := append([]byte{0x11}, binary.BigEndian.AppendUint32(nil, l.expiry)...)
	payload := text(l.client)
	if l.will != nil {
		flags |= 0x04
		delay := append([]byte{0x18}, binary.BigEndian.AppendUint32(nil, 3600)...)
		payload = append(payload, append(size(len(delay)), delay...)...)
		payload = append(payload, text(l.topic)...)
		payload = append(payload, text(string(l.will))...)
	}
	if l.user != "" {
		flags |= 0xC0
		payload = append(payload, text(l.user)...)
		payload = append(payload, text(l.password)...)
	}
	return packet(0x10, text("MQTT"), []byte{5, flags, 0, 60}, append(size(len(props)), props...), payload)
}

// raw is one connection of an attacker.
type raw struct {
	net.Conn
	in *bufio.Reader
}

func dial(address string) (*raw, error) {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	return &raw{c, bufio.NewReader(c)}, nil
}

// connect logs in. An error says why that is refused.
func connect(address string, l login) (*raw, error) {
	c, err := dial(address)
	if err != nil {
		return nil, err
	}
	if _, err = c.Write(l.packet()); err == nil {
		var body []byte
		if _, body, err = c.read(); err == nil && (len(body) < 2 || body[1] != 0) {
			err = fmt.Errorf("CONNACK %x", body)
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *raw) read() (first byte, body []byte, err error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if first, err = c.in.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, shift := 0, 0
	for {
		b, err := c.in.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		n |= int(b&127) << shift
		if shift += 7; b < 128 {
			break
		}
	}
	body = make([]byte, n)
	_, err = io.ReadFull(c.in, body)
	return first, body, err
}

func subscribe(id uint16, filters ...string) []byte {
	var list []byte
	for _, f := range filters {
		list = append(append(list, text(f)...), 1)
	}
	return packet(0x82, binary.BigEndian.AppendUint16(nil, id), []byte{0}, list)
}

// publish is QoS 1 with an identifier, QoS 0 without.
func publish(topic string, payload []byte, id uint16, retain bool) []byte {
	first := byte(0x30)
	var number []byte
	if id != 0 {
		first |= 0x02
		number = binary.BigEndian.AppendUint16(nil, id)
	}
	if retain {
		first |= 0x01
	}
	return packet(first, text(topic), number, []byte{0}, payload)
}
