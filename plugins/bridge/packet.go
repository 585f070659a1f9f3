// This file is a control packet of either version of MQTT, as the rest of the package sees it.
// v3.go and v5.go encode and decode it.

package bridge

import (
	"io"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"
)

// packetKind is a packet's type, numbered as in MQTT.
type packetKind byte

const (
	publish    packetKind = 3
	puback     packetKind = 4
	pubrec     packetKind = 5
	pubrel     packetKind = 6
	pubcomp    packetKind = 7
	subscribe  packetKind = 8
	suback     packetKind = 9
	unsuback   packetKind = 11
	pingreq    packetKind = 12
	pingresp   packetKind = 13
	disconnect packetKind = 14
)

var kindNames = map[packetKind]string{1: "CONNECT", 2: "CONNACK", publish: "PUBLISH", puback: "PUBACK", pubrec: "PUBREC", pubrel: "PUBREL", pubcomp: "PUBCOMP",
	subscribe: "SUBSCRIBE", suback: "SUBACK", 10: "UNSUBSCRIBE", unsuback: "UNSUBACK", pingreq: "PINGREQ", pingresp: "PINGRESP", disconnect: "DISCONNECT", 15: "AUTH"}

// packet is one control packet after CONNACK.
type packet struct {
	kind  packetKind
	id    uint16
	code  byte     // MQTT 5: the reason code of an acknowledgement or a DISCONNECT; 0 is success, from 0x80 an error
	text  string   // MQTT 5: the remote's reason string
	codes []byte   // of SUBACK
	msg   *message // of PUBLISH
	rules []In     // of SUBSCRIBE
}

// message is the content of a PUBLISH.
type message struct {
	topic   string
	payload []byte
	qos     byte
	retain  bool
	dup     bool

	// The fields below exist only in MQTT 5.
	props     *v5.Properties // payload format, content type, response topic, correlation data, user properties; nil: none
	expires   time.Time      // zero: never
	hops      int            // how many plugins and bridges it has passed
	origin    string         // the bus where it was published first; empty: unknown
	malformed string         // why it can't be stored; empty: it can be
}

// codec is one version of MQTT.
type codec interface {
	encode(w io.Writer, p *packet) error
	decode(b []byte) (*packet, error) // decodes one whole packet; it may panic
}

// terms are the remote's limits and features from CONNACK.
type terms struct {
	present   bool          // it has a session of ours
	inflight  int           // unacknowledged messages that it accepts from us at a time
	size      int           // bytes of the largest packet that it accepts; 0: any
	qos       byte          // the highest QoS that it supports
	retain    bool          // it supports retained messages
	keepAlive time.Duration // the keep-alive interval that it wants; 0: ours
	trusts    string        // a postbus's answer to the question whether it trusts us as a bridge: true or false
}

// terms3 are the terms of MQTT 3.1.1.
func terms3(present bool) terms {
	return terms{present: present, inflight: 65535, qos: 2, retain: true}
}
