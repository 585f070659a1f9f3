package attack

// This file is as much of MQTT 5 as an attacker needs.

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
)

// patience is how long an attacker waits for an answer.
const patience = 10 * time.Second

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
	payload := programtest.Text(l.client)
	if l.will != nil {
		flags |= 0x04
		delay := append([]byte{0x18}, binary.BigEndian.AppendUint32(nil, 3600)...)
		payload = append(payload, append(programtest.Size(len(delay)), delay...)...)
		payload = append(payload, programtest.Text(l.topic)...)
		payload = append(payload, programtest.Text(string(l.will))...)
	}
	if l.user != "" {
		flags |= 0xC0
		payload = append(payload, programtest.Text(l.user)...)
		payload = append(payload, programtest.Text(l.password)...)
	}
	return programtest.Packet(0x10, programtest.Text("MQTT"), []byte{5, flags, 0, 60}, append(programtest.Size(len(props)), props...), payload)
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
	return programtest.ReadPacket(c.in)
}

func subscribe(id uint16, filters ...string) []byte {
	var list []byte
	for _, f := range filters {
		list = append(append(list, programtest.Text(f)...), 1)
	}
	return programtest.Packet(0x82, binary.BigEndian.AppendUint16(nil, id), []byte{0}, list)
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
	return programtest.Packet(first, programtest.Text(topic), number, []byte{0}, payload)
}
