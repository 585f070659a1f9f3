package frame

import (
	"bytes"
	"unicode/utf8"

	"github.com/postbus/postbus/bus/topic"
)

// CONNECT: MQTT 5 section 3.1.

// Connect is the content of a CONNECT packet that the broker needs. It shares no memory with the
// packet.
type Connect struct {
	Version byte // V31, V311 or V5
	// MQTT 3: the client is another broker. It sets the highest bit of the protocol level, as
	// Mosquitto's bridge does.
	Bridge     bool
	CleanStart bool // Clean Session before MQTT 5
	// ClientID may be empty; the broker decides what to answer.
	ClientID    string
	Username    *string // nil if absent
	HasPassword bool
	KeepAlive   uint16 // seconds; 0 turns it off
	Will        *Will  // nil if absent

	// The following fields exist in MQTT 5 only. Before it they have the values that absence means.
	SessionExpiry       uint32 // seconds; 0xFFFFFFFF never expires
	HasSessionExpiry    bool
	ReceiveMaximum      uint16 // 1..65,535; 65,535 if absent
	MaximumPacketSize   uint32 // bytes; 0 if absent: no limit
	TopicAliasMaximum   uint16 // 0 if absent: the broker may send no alias
	RequestProblemInfo  bool   // true if absent
	RequestResponseInfo bool
	AuthMethod          string // empty if absent, see HasAuthMethod
	HasAuthMethod       bool
}

// Will is the message that the broker publishes when the client's connection has ended.
type Will struct {
	Topic         []byte // a valid topic name
	Payload       []byte // may be empty
	Props         []byte // as Publish.Props
	DelayInterval uint32 // seconds
	Expiry        uint32 // seconds, if HasExpiry
	QoS           byte
	Retain        bool
	HasExpiry     bool
}

// CheckConnect checks p, which must be exactly one CONNECT packet, and does not change it. version
// is V31, V311 or V5 as soon as the packet names one of them, even if the rest is refused, so that
// the caller knows the form of its answer. Otherwise it is 0.
func CheckConnect(p []byte) (version byte, err *Error) {
	f, err := readConnect(p)
	return f.version, err
}

// ParseConnect checks p as CheckConnect does and returns its content. It does not change p.
func ParseConnect(p []byte) (Connect, *Error) {
	f, err := readConnect(p)
	if err != nil {
		return Connect{Version: f.version}, err
	}
	c := Connect{
		Version:             f.version,
		Bridge:              f.bridge,
		CleanStart:          f.flags&flagCleanStart != 0,
		ClientID:            string(f.clientID),
		HasPassword:         f.flags&flagPassword != 0,
		KeepAlive:           f.keepAlive,
		SessionExpiry:       f.props.sessionExpiry,
		HasSessionExpiry:    f.props.has(propSessionExpiry),
		ReceiveMaximum:      65_535,
		MaximumPacketSize:   f.props.maximumPacket,
		TopicAliasMaximum:   f.props.aliasMaximum,
		RequestProblemInfo:  !f.props.has(propRequestProblem) || f.props.requestProblem == 1,
		RequestResponseInfo: f.props.requestResponse == 1,
		AuthMethod:          string(f.props.authMethod),
		HasAuthMethod:       f.props.has(propAuthMethod),
	}
	if f.props.has(propReceiveMaximum) {
		c.ReceiveMaximum = f.props.receiveMaximum
	}
	if f.flags&flagUsername != 0 {
		name := string(f.username)
		c.Username = &name
	}
	if f.flags&flagWill != 0 {
		w := &Will{
			Topic:         bytes.Clone(f.willTopic),
			Payload:       bytes.Clone(f.willPayload),
			DelayInterval: f.willProps.willDelay,
			Expiry:        f.willProps.messageExpiry,
			HasExpiry:     f.willProps.has(propMessageExpiry),
			QoS:           f.flags >> 3 & 3,
			Retain:        f.flags&flagWillRetain != 0,
		}
		if f.willProps.seen&forwarded != 0 {
			// Compacting overwrites memory, and p still goes to the protocol front: work on a copy.
			var ps properties
			r := reader{b: bytes.Clone(f.willPropArea), version: f.version}
			if err := r.properties(inWill, true, &ps); err != nil {
				return Connect{Version: f.version}, err
			}
			w.Props = ps.forward
		}
		c.Will = w
	}
	return c, nil
}

const (
	flagReserved   = 0x01
	flagCleanStart = 0x02
	flagWill       = 0x04
	flagWillQoS    = 0x18
	flagWillRetain = 0x20
	flagPassword   = 0x40
	flagUsername   = 0x80
)

// connectFields are the fields of a CONNECT as parts of the packet.
type connectFields struct {
	version      byte
	bridge       bool
	flags        byte
	keepAlive    uint16
	props        properties
	clientID     []byte
	willProps    properties
	willPropArea []byte // will properties with their length
	willTopic    []byte
	willPayload  []byte
	username     []byte
}

func readConnect(p []byte) (f connectFields, err *Error) {
	h, err := whole(p, TypeConnect)
	if err != nil {
		return f, err
	}
	r := reader{b: p, i: h.Body}
	if f.version, f.bridge, err = r.protocol(); err != nil {
		return f, err
	}
	r.version = f.version
	if f.flags, err = r.u8(); err != nil {
		return f, err
	}
	if err = connectFlags(f.version, f.flags); err != nil {
		return f, err
	}
	if f.keepAlive, err = r.u16(); err != nil {
		return f, err
	}
	if f.version >= V5 {
		if err = r.properties(inConnect, false, &f.props); err != nil {
			return f, err
		}
	}
	if f.clientID, err = r.text(); err != nil {
		return f, err
	}
	if f.flags&flagWill != 0 {
		if err = r.will(&f); err != nil {
			return f, err
		}
	}
	if f.flags&flagUsername != 0 {
		if f.username, err = r.text(); err != nil {
			return f, err
		}
	}
	if f.flags&flagPassword != 0 {
		if _, err = r.binary(); err != nil {
			return f, err
		}
	}
	return f, r.end()
}

// bridgeLevel is the bit of the protocol level by which a bridge of MQTT 3 declares itself. It is
// not in the specification, but Mosquitto, its forks and other brokers have sent and understood it
// for years.
const bridgeLevel = 0x80

// protocol reads the protocol name and level.
func (r *reader) protocol() (version byte, bridge bool, err *Error) {
	name, err := r.binary()
	if err != nil {
		return 0, false, err
	}
	modern := string(name) == "MQTT"
	if !modern && string(name) != "MQIsdp" {
		return 0, false, &Error{Code: CodeUnsupportedVersion, Reason: "protocol name is neither MQTT nor MQIsdp", Statement: "MQTT-3.1.2-1"}
	}
	level, err := r.u8()
	if err != nil {
		return 0, false, err
	}
	switch {
	case modern && (level == V311 || level == V5) || !modern && level == V31:
		return level, false, nil
	case modern && level == bridgeLevel|V311 || !modern && level == bridgeLevel|V31:
		return level &^ bridgeLevel, true, nil
	}
	return 0, false, &Error{Code: CodeUnsupportedVersion, Reason: "protocol level is not supported", Statement: "MQTT-3.1.2-2"}
}

func connectFlags(version, flags byte) *Error {
	pick := func(v5, v3 string) string { return (&reader{version: version}).statement(v5, v3) }
	switch {
	case flags&flagReserved != 0:
		return malformed("MQTT-3.1.2-3", "reserved flag of CONNECT is set")
	case flags&flagWillQoS == flagWillQoS:
		return malformed(pick("MQTT-3.1.2-12", "MQTT-3.1.2-14"), "will QoS is 3")
	case flags&flagWill == 0 && flags&flagWillQoS != 0:
		return malformed(pick("MQTT-3.1.2-11", "MQTT-3.1.2-13"), "will QoS without a will")
	case flags&flagWill == 0 && flags&flagWillRetain != 0:
		return malformed(pick("MQTT-3.1.2-13", "MQTT-3.1.2-15"), "will retain without a will")
	case version < V5 && flags&flagPassword != 0 && flags&flagUsername == 0:
		return malformed("MQTT-3.1.2-22", "password without a user name")
	}
	return nil
}

func (r *reader) will(f *connectFields) (err *Error) {
	if r.version >= V5 {
		start := r.i
		if err = r.properties(inWill, false, &f.willProps); err != nil {
			return err
		}
		f.willPropArea = r.b[start:r.i]
	}
	if f.willTopic, err = r.text(); err != nil {
		return err
	}
	if len(f.willTopic) == 0 {
		return &Error{Code: CodeTopicNameInvalid, Reason: "will topic is empty", Statement: "MQTT-4.7.3-1"}
	}
	if topic.HasWildcardBytes(f.willTopic) {
		return &Error{Code: CodeTopicNameInvalid, Reason: "will topic contains a wildcard", Statement: r.statement("MQTT-4.7.0-1", "MQTT-4.7.1-1")}
	}
	if f.willPayload, err = r.binary(); err != nil {
		return err
	}
	if f.willProps.payloadFormat == 1 && !utf8.Valid(f.willPayload) {
		return &Error{Code: CodePayloadFormatInvalid, Reason: "will payload is not the UTF-8 its format indicator says", Statement: "3.1.3.2.3"}
	}
	return nil
}
