// This file: a control packet of either version of MQTT, as the rest of the package sees it. v3.go and v5.go turn it into bytes and back.

package bridge

import (
	"io"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"
)

// kind is a packet's type, by its number in MQTT.
type kind byte

const (
	publish    kind = 3
	puback     kind = 4
	pubrec     kind = 5
	pubrel     kind = 6
	pubcomp    kind = 7
	subscribe  kind = 8
	suback     kind = 9
	unsuback   kind = 11
	pingreq    kind = 12
	pingresp   kind = 13
	disconnect kind = 14
)

var kindNames = map[kind]string{1: "CONNECT", 2: "CONNACK", publish: "PUBLISH", puback: "PUBACK", pubrec: "PUBREC", pubrel: "PUBREL", pubcomp: "PUBCOMP",
	subscribe: "SUBSCRIBE", suback: "SUBACK", 10: "UNSUBSCRIBE", unsuback: "UNSUBACK", pingreq: "PINGREQ", pingresp: "PINGRESP", disconnect: "DISCONNECT", 15: "AUTH"}

// packet is one control packet after CONNACK.
type packet struct {
	kind  kind
	id    uint16
	code  byte     // MQTT 5: why, of an acknowledgement or a DISCONNECT; success is 0, from 0x80 on it is an error
	text  string   // MQTT 5: the same in the remote's words
	codes []byte   // of SUBACK
	msg   *message // of PUBLISH
	rules []In     // of SUBSCRIBE
}

// message is what a PUBLISH says.
type message struct {
	topic   string
	payload []byte
	qos     byte
	retain  bool
	dup     bool

	// What only MQTT 5 has.
	props     *v5.Properties // payload format, content type, response topic, correlation data, user properties; nil: none
	expires   time.Time      // zero: never
	hops      int            // through so many plugins and bridges it came
	origin    string         // the bus where it was published first; empty: not known
	malformed string         // why it can't be stored; empty: it can
}

// codec is one version of MQTT.
type codec interface {
	encode(w io.Writer, p *packet) error
	decode(b []byte) (*packet, error) // of one whole packet; it may panic
}

// terms are what the remote said in CONNACK.
type terms struct {
	present   bool          // it has a session of ours
	inflight  int           // unacknowledged messages that it takes from us at a time
	size      int           // bytes of the largest packet that it takes; 0: any
	qos       byte          // the highest it takes
	retain    bool          // it keeps retained messages
	keepAlive time.Duration // it wants this one; 0: ours
	trusts    string        // what a postbus answers when it is asked whether it knows us as a bridge: true or false
}

// terms3 is what MQTT 3.1.1 promises.
func terms3(present bool) terms {
	return terms{present: present, inflight: 65535, qos: 2, retain: true}
}
