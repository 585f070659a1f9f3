package frame

// This file checks the packets that go to the protocol front after CONNECT, and the small packets
// among them: PINGREQ, DISCONNECT and AUTH. MQTT 5 sections 3.12, 3.14 and 3.15.

// Check checks p, which must be exactly one packet that a client may send after its CONNECT. A
// second CONNECT and packets that only a server sends are protocol errors. Check does not change p,
// and the valid path allocates nothing. It also checks PUBLISH and acknowledgements, for a caller
// that does not parse them.
func Check(p []byte, version byte) *Error {
	if len(p) == 0 {
		return malformed("2.1.4", "packet is empty")
	}
	typ := p[0] >> 4
	h, err := whole(p, typ)
	if err != nil {
		return err
	}
	r := reader{b: p, i: h.Body, version: version}
	switch typ {
	case TypePublish:
		var pub Publish
		return parsePublish(p, version, &pub, false)
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp:
		_, err := ParseAck(p, version)
		return err
	case TypeSubscribe:
		return r.subscribe()
	case TypeUnsubscribe:
		return r.unsubscribe()
	case TypePingreq:
		return r.end()
	case TypeDisconnect:
		return r.disconnect()
	case TypeAuth:
		return r.auth()
	case TypeConnect:
		return violation("MQTT-3.1.0-2", "second CONNECT")
	}
	return violation("2.1.2", "packet type that only a server sends")
}

func (r *reader) disconnect() *Error {
	if r.version < V5 || r.left() == 0 {
		return r.end()
	}
	code, err := r.u8()
	if err != nil {
		return err
	}
	if !disconnectReasonValid(code) {
		return violation("MQTT-3.14.2-1", "reason code is not one a client may disconnect with")
	}
	if r.left() == 0 { // no property length means no properties (3.14.2.2.1)
		return nil
	}
	var ps properties
	if err := r.properties(inDisconnect, false, &ps); err != nil {
		return err
	}
	return r.end()
}

// disconnectReasonValid follows the column "Sent by" of the reason codes in 3.14.2.1.
func disconnectReasonValid(code byte) bool {
	switch code {
	case CodeSuccess, CodeDisconnectWithWill, CodeUnspecified, CodeMalformed, CodeProtocolError,
		CodeImplementation, CodeTopicNameInvalid, CodeReceiveMaxExceeded, CodeTopicAliasInvalid,
		CodePacketTooLarge, CodeMessageRateTooHigh, CodeQuotaExceeded, CodeAdministrative,
		CodePayloadFormatInvalid:
		return true
	}
	return false
}

func (r *reader) auth() *Error {
	if r.version < V5 {
		return violation("2.1.2", "AUTH before MQTT 5")
	}
	if r.left() == 0 { // means success (3.15.2.1), which only a server sends, and has no method
		return violation("3.15.2.2.2", "AUTH without an authentication method")
	}
	code, err := r.u8()
	if err != nil {
		return err
	}
	if code != CodeContinueAuth && code != CodeReauthenticate {
		return violation("MQTT-3.15.2-1", "reason code is not one a client may authenticate with")
	}
	var ps properties
	if err := r.properties(inAuth, false, &ps); err != nil {
		return err
	}
	if !ps.has(propAuthMethod) {
		return violation("3.15.2.2.2", "AUTH without an authentication method")
	}
	return r.end()
}
