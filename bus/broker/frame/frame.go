// Package frame is the strict gate for MQTT bytes. It checks every packet of a client against MQTT
// 3.1, 3.1.1 or 5, and encodes the packets of the broker's hot path.
//
// It promises:
//
//   - An accepted packet is well formed in every field: fixed header, lengths, UTF-8, identifiers,
//     flags, properties and reason codes conform to the specification of that version.
//   - A refused packet yields an [Error] with the reason code for the answer and the violated
//     statement.
//   - No input causes a panic, a read past the packet, or an allocation by a length that a client
//     claimed. The valid path of every function except [ParseConnect] allocates nothing.
//
// It does not own: size limits, topic alias tables, sessions, access rules, the order of packets
// (except that CONNECT occurs once), nor any I/O. It keeps no state between packets.
//
// Where the specification names no reason code for a violation, the package chooses: a packet that
// cannot be parsed is [CodeMalformed]; a packet that can be parsed but is not allowed is
// [CodeProtocolError].
package frame

// Packet types, as in the upper four bits of a packet's first byte.
const (
	TypeConnect     byte = 1
	TypeConnack     byte = 2
	TypePublish     byte = 3
	TypePuback      byte = 4
	TypePubrec      byte = 5
	TypePubrel      byte = 6
	TypePubcomp     byte = 7
	TypeSubscribe   byte = 8
	TypeSuback      byte = 9
	TypeUnsubscribe byte = 10
	TypeUnsuback    byte = 11
	TypePingreq     byte = 12
	TypePingresp    byte = 13
	TypeDisconnect  byte = 14
	TypeAuth        byte = 15
)

// Protocol levels, as in CONNECT.
const (
	V31  byte = 3 // MQTT 3.1, protocol name MQIsdp
	V311 byte = 4 // MQTT 3.1.1
	V5   byte = 5 // MQTT 5
)

// Reason codes of MQTT 5 that this package answers with or accepts.
const (
	CodeSuccess               byte = 0x00
	CodeDisconnectWithWill    byte = 0x04
	CodeNoMatchingSubscribers byte = 0x10
	CodeContinueAuth          byte = 0x18
	CodeReauthenticate        byte = 0x19
	CodeUnspecified           byte = 0x80
	CodeMalformed             byte = 0x81
	CodeProtocolError         byte = 0x82
	CodeImplementation        byte = 0x83
	CodeUnsupportedVersion    byte = 0x84
	CodeClientIDInvalid       byte = 0x85
	CodeBadUserOrPassword     byte = 0x86
	CodeNotAuthorized         byte = 0x87
	CodeServerUnavailable     byte = 0x88
	CodeServerBusy            byte = 0x89
	CodeBanned                byte = 0x8A
	CodeTopicFilterInvalid    byte = 0x8F
	CodeTopicNameInvalid      byte = 0x90
	CodePacketIDInUse         byte = 0x91
	CodePacketIDNotFound      byte = 0x92
	CodeReceiveMaxExceeded    byte = 0x93
	CodeTopicAliasInvalid     byte = 0x94
	CodePacketTooLarge        byte = 0x95
	CodeMessageRateTooHigh    byte = 0x96
	CodeQuotaExceeded         byte = 0x97
	CodeAdministrative        byte = 0x98
	CodePayloadFormatInvalid  byte = 0x99
)

// Error is a client's violation of the protocol.
//
// Functions of this package return *Error, not error: compare with nil before you store one in an
// error variable.
type Error struct {
	// Code is the MQTT 5 reason code of the answer: in CONNACK for a CONNECT, in DISCONNECT for
	// other packets.
	Code byte
	// Reason describes the violation, for a log line and for the reason string. It repeats no
	// client bytes.
	Reason string
	// Statement is the violated statement ("MQTT-3.3.1-4"), in the numbering of the packet's
	// version, or a section of the MQTT 5 text ("2.2.2.2") if the text numbers no statement.
	Statement string
}

// Error returns the reason and the statement.
func (e *Error) Error() string { return e.Reason + " [" + e.Statement + "]" }

func malformed(statement, reason string) *Error {
	return &Error{Code: CodeMalformed, Reason: reason, Statement: statement}
}

func violation(statement, reason string) *Error {
	return &Error{Code: CodeProtocolError, Reason: reason, Statement: statement}
}
