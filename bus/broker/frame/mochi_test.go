package frame

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The other side of the gate: mochi's codec must read what this package accepts and writes, and
// this package must accept what mochi's encoder writes.

// mochiDecode reads p as mochi's client loop does.
func mochiDecode(p []byte, version byte) (pk packets.Packet, err error) {
	h, ok, herr := ReadHeader(p)
	if !ok || herr != nil || h.Len != len(p) {
		return pk, errors.New("no whole packet")
	}
	if err := pk.FixedHeader.Decode(p[0]); err != nil {
		return pk, err
	}
	n, _, err := packets.DecodeLength(bytes.NewReader(p[1:]))
	if err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining = n
	pk.ProtocolVersion = version
	body := bytes.Clone(p[h.Body:])
	switch h.Type {
	case TypeConnect:
		err = pk.ConnectDecode(body)
	case TypePublish:
		if err = pk.PublishDecode(body); err == nil {
			if code := pk.PublishValidate(65535); code != packets.CodeSuccess {
				err = code
			}
		}
	case TypePuback:
		err = pk.PubackDecode(body)
	case TypePubrec:
		err = pk.PubrecDecode(body)
	case TypePubrel:
		err = pk.PubrelDecode(body)
	case TypePubcomp:
		err = pk.PubcompDecode(body)
	case TypeSubscribe:
		if err = pk.SubscribeDecode(body); err == nil {
			if code := pk.SubscribeValidate(); code != packets.CodeSuccess {
				err = code
			}
		}
	case TypeUnsubscribe:
		if err = pk.UnsubscribeDecode(body); err == nil {
			if code := pk.UnsubscribeValidate(); code != packets.CodeSuccess {
				err = code
			}
		}
	case TypePingreq:
		err = pk.PingreqDecode(body)
	case TypeDisconnect:
		err = pk.DisconnectDecode(body)
	case TypeAuth:
		if err = pk.AuthDecode(body); err == nil {
			if code := pk.AuthValidate(); code != packets.CodeSuccess {
				err = code
			}
		}
	default:
		err = fmt.Errorf("type %d", h.Type)
	}
	return pk, err
}

// mochiAgrees fails unless mochi reads the same from an accepted packet.
func mochiAgrees(t *testing.T, p []byte, version byte) {
	t.Helper()
	pk, err := mochiDecode(p, version)
	if err != nil {
		t.Errorf("version %d %.100x: accepted, but mochi says %v", version, p, err)
		return
	}
	switch p[0] >> 4 {
	case TypeConnect:
		c, _ := ParseConnect(p)
		if c.Bridge { // mochi takes the bit as a part of the version
			pk.ProtocolVersion &^= bridgeLevel
		}
		sameConnect(t, &c, &pk)
	case TypePublish:
		var pub Publish
		ParsePublish(bytes.Clone(p), version, &pub)
		if string(pub.Topic) != pk.TopicName || !bytes.Equal(pub.Payload, pk.Payload) || pub.PacketID != pk.PacketID ||
			pub.QoS != pk.FixedHeader.Qos || pub.Dup != pk.FixedHeader.Dup || pub.Retain != pk.FixedHeader.Retain ||
			pub.Alias != pk.Properties.TopicAlias || pub.Expiry != pk.Properties.MessageExpiryInterval {
			t.Errorf("%.100x: %+v, mochi %+v", p, pub, pk)
		}
		sameForwarded(t, pub.Props, &pk.Properties)
	case TypePuback, TypePubrec, TypePubrel, TypePubcomp:
		a, _ := ParseAck(p, version)
		if a.PacketID != pk.PacketID || a.Reason != pk.ReasonCode || a.Type != pk.FixedHeader.Type {
			t.Errorf("%x: %+v, mochi %+v", p, a, pk)
		}
	}
}

// sameForwarded has mochi read the property bytes alone, and compares the result with the same
// properties in the packet.
func sameForwarded(t *testing.T, forward []byte, all *packets.Properties) {
	t.Helper()
	var got packets.Properties
	if _, err := got.Decode(packets.Publish, bytes.NewBuffer(props(forward))); err != nil {
		t.Errorf("forwarded properties %x: %v", forward, err)
		return
	}
	a := fmt.Sprintf("%q %q %q %v %v %q", got.ContentType, got.ResponseTopic, got.CorrelationData, got.PayloadFormat, got.PayloadFormatFlag, got.User)
	b := fmt.Sprintf("%q %q %q %v %v %q", all.ContentType, all.ResponseTopic, all.CorrelationData, all.PayloadFormat, all.PayloadFormatFlag, all.User)
	if a != b {
		t.Errorf("forwarded %s, mochi read %s", a, b)
	}
	if got.MessageExpiryInterval != 0 || got.TopicAliasFlag || len(got.SubscriptionIdentifier) != 0 {
		t.Errorf("forwarded properties %x hold what ends at the broker", forward)
	}
}

func sameConnect(t *testing.T, c *Connect, pk *packets.Packet) {
	t.Helper()
	var user *string
	if pk.Connect.UsernameFlag {
		s := string(pk.Connect.Username)
		user = &s
	}
	ps := &pk.Properties
	a := fmt.Sprintf("%d %v %q %d %v %d %v %d %d %v %q %v", c.Version, c.CleanStart, c.ClientID, c.KeepAlive, c.HasPassword,
		c.SessionExpiry, c.HasSessionExpiry, c.MaximumPacketSize, c.TopicAliasMaximum, c.RequestResponseInfo, c.AuthMethod, c.Will != nil)
	b := fmt.Sprintf("%d %v %q %d %v %d %v %d %d %v %q %v", pk.ProtocolVersion, pk.Connect.Clean, pk.Connect.ClientIdentifier, pk.Connect.Keepalive, pk.Connect.PasswordFlag,
		ps.SessionExpiryInterval, ps.SessionExpiryIntervalFlag, ps.MaximumPacketSize, ps.TopicAliasMaximum, ps.RequestResponseInfo == 1, ps.AuthenticationMethod, pk.Connect.WillFlag)
	if a != b {
		t.Errorf("connect %s, mochi %s", a, b)
	}
	if (user == nil) != (c.Username == nil) || user != nil && *user != *c.Username {
		t.Errorf("user names differ")
	}
	if c.Will == nil || !pk.Connect.WillFlag {
		return
	}
	w, m := c.Will, &pk.Connect
	if string(w.Topic) != m.WillTopic || !bytes.Equal(w.Payload, m.WillPayload) || w.QoS != m.WillQos || w.Retain != m.WillRetain ||
		w.DelayInterval != m.WillProperties.WillDelayInterval || w.Expiry != m.WillProperties.MessageExpiryInterval {
		t.Errorf("will %+v, mochi %+v", w, m)
	}
	sameForwarded(t, w.Props, &m.WillProperties)
}

func TestMochiReadsWhatIsAccepted(t *testing.T) {
	for _, c := range guardCases {
		if c.code == 0 {
			mochiAgrees(t, c.p, c.version)
		}
	}
	for _, c := range connectCases {
		if c.code == 0 {
			mochiAgrees(t, c.p, 0)
		}
	}
}

func TestMochiReadsAppendPublish(t *testing.T) {
	for _, version := range []byte{V31, V311, V5} {
		for i, o := range outCases() {
			if version < V5 && len(o.Topic) == 0 {
				continue
			}
			mochiAgrees(t, AppendPublish(nil, version, &o), version)
			// Properties that only a server sends.
			o.SubIDs = []uint32{1, 127, 128, 268_435_455}
			p := AppendPublish(nil, version, &o)
			if n := PublishSize(version, &o); n != len(p) {
				t.Errorf("%d/%d: PublishSize %d, length %d", version, i, n, len(p))
			}
			pk := packets.Packet{ProtocolVersion: version}
			h, _, _ := ReadHeader(p)
			if err := pk.FixedHeader.Decode(p[0]); err != nil {
				t.Fatal(err)
			}
			if err := pk.PublishDecode(p[h.Body:]); err != nil {
				t.Errorf("%d/%d: %v", version, i, err)
			}
			want := "[]"
			if version == V5 {
				want = "[1 127 128 268435455]"
			}
			if got := fmt.Sprint(pk.Properties.SubscriptionIdentifier); got != want || !bytes.Equal(pk.Payload, o.Payload) {
				t.Errorf("%d/%d: subscription identifiers %s, want %s", version, i, got, want)
			}
		}
	}
}

func TestMochiReadsSmallPackets(t *testing.T) {
	for _, typ := range []byte{TypePuback, TypePubrec, TypePubrel, TypePubcomp} {
		for _, reason := range []byte{0, 0x92, 0x97} {
			p := AppendAck(nil, V5, typ, 4711, reason)
			pk, err := mochiDecode(p, V5)
			if err != nil || pk.PacketID != 4711 || pk.ReasonCode != reason {
				t.Errorf("%x: %v %+v", p, err, pk)
			}
		}
	}
	pk, err := mochiDecode(AppendDisconnect(nil, V5, 0x82, "no"), V5)
	if err != nil || pk.ReasonCode != 0x82 || pk.Properties.ReasonString != "no" {
		t.Errorf("%v %+v", err, pk)
	}
}

// TestMochiEncoderIsAccepted: packets of mochi's encoder are accepted and read back unchanged.
func TestMochiEncoderIsAccepted(t *testing.T) {
	users := []packets.UserProperty{{Key: "k", Val: "1"}, {Key: "k", Val: ""}}
	mods := packets.Mods{AllowResponseInfo: true}
	message := packets.Properties{PayloadFormat: 1, PayloadFormatFlag: true, MessageExpiryInterval: 9, ContentType: "t",
		ResponseTopic: "r/s", CorrelationData: []byte{0, 1}, User: users}
	will := message
	will.WillDelayInterval = 3
	withAlias := message
	withAlias.TopicAlias, withAlias.TopicAliasFlag = 4, true
	reason := packets.Properties{ReasonString: "why", User: users}
	n := 0
	accept := func(pk packets.Packet, encode func(*packets.Packet, *bytes.Buffer) error) {
		t.Helper()
		var buf bytes.Buffer
		if err := encode(&pk, &buf); err != nil {
			t.Fatal(err)
		}
		p := buf.Bytes()
		var err *Error
		if pk.FixedHeader.Type == TypeConnect {
			_, err = judgeConnect(t, p)
		} else {
			err = judge(t, pk.ProtocolVersion, p)
		}
		if err != nil {
			t.Errorf("%x: %v", p, err)
			return
		}
		mochiAgrees(t, p, pk.ProtocolVersion)
		n++
	}
	header := func(typ byte) packets.FixedHeader { return packets.FixedHeader{Type: typ} }
	for _, version := range []byte{V31, V311, V5} {
		name := "MQTT"
		if version == V31 {
			name = "MQIsdp"
		}
		for bits := range 64 {
			c := packets.ConnectParams{ProtocolName: []byte(name), Clean: bits&1 != 0, Keepalive: uint16(bits), ClientIdentifier: "id"}
			if bits&2 != 0 {
				c.WillFlag, c.WillTopic, c.WillPayload, c.WillQos, c.WillRetain = true, "w/t", []byte("gone"), byte(bits>>2&3)%3, bits&16 != 0
				c.WillProperties = will
			}
			if bits&32 != 0 {
				c.UsernameFlag, c.Username, c.PasswordFlag, c.Password = true, []byte("u"), true, []byte("p")
			}
			ps := packets.Properties{SessionExpiryInterval: 5, SessionExpiryIntervalFlag: true, ReceiveMaximum: 8, MaximumPacketSize: 99,
				TopicAliasMaximum: 2, RequestProblemInfo: 1, RequestProblemInfoFlag: true, RequestResponseInfo: 1,
				AuthenticationMethod: "m", AuthenticationData: []byte{1}, User: users}
			accept(packets.Packet{FixedHeader: header(TypeConnect), ProtocolVersion: version, Connect: c, Properties: ps, Mods: mods}, (*packets.Packet).ConnectEncode)
		}
		for bits := range 48 {
			pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: TypePublish, Qos: byte(bits>>2) % 3, Retain: bits&1 != 0}, ProtocolVersion: version,
				TopicName: "a/b", Payload: []byte("payload"), Mods: mods}
			if pk.FixedHeader.Qos > 0 {
				pk.PacketID, pk.FixedHeader.Dup = 77, bits&2 != 0
			}
			if bits&16 != 0 {
				pk.Properties = message
			}
			if bits&32 != 0 {
				pk.Properties = withAlias
				if version == V5 {
					pk.TopicName = ""
				}
			}
			accept(pk, (*packets.Packet).PublishEncode)
		}
		for _, ps := range []packets.Properties{{}, reason} {
			accept(packets.Packet{FixedHeader: header(TypePuback), ProtocolVersion: version, PacketID: 3, ReasonCode: 0x80, Properties: ps}, (*packets.Packet).PubackEncode)
			accept(packets.Packet{FixedHeader: header(TypePubrec), ProtocolVersion: version, PacketID: 3, ReasonCode: 0x99, Properties: ps}, (*packets.Packet).PubrecEncode)
			rel := packets.FixedHeader{Type: TypePubrel, Qos: 1}
			accept(packets.Packet{FixedHeader: rel, ProtocolVersion: version, PacketID: 3, ReasonCode: 0x92, Properties: ps}, (*packets.Packet).PubrelEncode)
			accept(packets.Packet{FixedHeader: header(TypePubcomp), ProtocolVersion: version, PacketID: 3, ReasonCode: 0, Properties: ps}, (*packets.Packet).PubcompEncode)
			accept(packets.Packet{FixedHeader: header(TypeDisconnect), ProtocolVersion: version, ReasonCode: 4, Properties: ps}, (*packets.Packet).DisconnectEncode)
		}
		filters := packets.Subscriptions{{Filter: "a/#", Qos: 1}, {Filter: "$share/g/b", Qos: 2}, {Filter: "c", NoLocal: true, RetainAsPublished: true, RetainHandling: 2}}
		ps := packets.Properties{SubscriptionIdentifier: []int{200}, User: users}
		accept(packets.Packet{FixedHeader: packets.FixedHeader{Type: TypeSubscribe, Qos: 1}, ProtocolVersion: version, PacketID: 3, Filters: filters, Properties: ps}, (*packets.Packet).SubscribeEncode)
		accept(packets.Packet{FixedHeader: packets.FixedHeader{Type: TypeUnsubscribe, Qos: 1}, ProtocolVersion: version, PacketID: 3, Filters: filters, Properties: ps}, (*packets.Packet).UnsubscribeEncode)
		accept(packets.Packet{FixedHeader: header(TypePingreq), ProtocolVersion: version}, (*packets.Packet).PingreqEncode)
	}
	accept(packets.Packet{FixedHeader: header(TypeAuth), ProtocolVersion: V5, ReasonCode: 0x18,
		Properties: packets.Properties{AuthenticationMethod: "m", AuthenticationData: []byte{1}, ReasonString: "r", User: users}}, (*packets.Packet).AuthEncode)
	t.Logf("%d packets of mochi's encoder", n)
}

// TestMochiTestPackets uses mochi's own test packets: those that are valid there and that a client
// may send are accepted, except these.
func TestMochiTestPackets(t *testing.T) {
	want := map[string]string{
		"3 dup":                      "MQTT-3.3.1-2",
		"3 mqtt v5":                  "MQTT-3.3.4-6",  // as a server sends it
		"3 subscription identifiers": "2.2.2.2",       // as a server sends it
		"14 takeover":                "MQTT-3.14.2-1", // only a server's reason
		"14 shutting down":           "MQTT-3.14.2-1", // only a server's reason
		"15 auth":                    "MQTT-3.15.2-1", // only a server's reason
	}
	accepted := 0
	for typ, cases := range packets.TPacketData {
		switch typ {
		case TypeConnect, TypePublish, TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeSubscribe,
			TypeUnsubscribe, TypePingreq, TypeDisconnect, TypeAuth:
		default:
			continue
		}
		for _, c := range cases {
			if c.FailFirst != nil || c.Expect != nil || c.Packet == nil || len(c.RawBytes) == 0 || c.Group != "" {
				continue
			}
			p := bytes.Clone(c.RawBytes)
			var err *Error
			if typ == TypeConnect {
				_, err = judgeConnect(t, p)
			} else {
				err = judge(t, c.Packet.ProtocolVersion, p)
			}
			name := fmt.Sprint(typ, " ", c.Desc)
			switch {
			case err == nil && (want[name] == "" || len(c.Packet.Properties.SubscriptionIdentifier) == 0):
				mochiAgrees(t, p, c.Packet.ProtocolVersion)
				accepted++
			case err == nil:
				t.Errorf("%s: accepted", name)
			case err.Statement != want[name]:
				t.Errorf("%s: refused: %v, %x", name, err, p)
			}
		}
	}
	if accepted < 40 {
		t.Errorf("only %d packets were tried", accepted)
	}
}

// TestMochiRefusesValidConnects lists valid CONNECTs that mochi refuses after decoding. The broker
// must know them: to accept such a client it has to remove the will or the empty password before
// mochi sees the packet.
func TestMochiRefusesValidConnects(t *testing.T) {
	want := map[string]bool{"5: empty will payload": true, "5: empty user name and password": true}
	for _, c := range connectCases {
		if c.code != 0 {
			continue
		}
		pk, err := mochiDecode(c.p, 0)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if refused := pk.ConnectValidate() != packets.CodeSuccess; refused != want[c.name] {
			t.Errorf("%s: mochi refuses: %v", c.name, refused)
		}
	}
}
