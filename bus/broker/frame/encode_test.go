package frame

import (
	"bytes"
	"strings"
	"testing"
)

func outCases() []Out {
	p := cat(0x01, 1, 0x03, str("text"), user("k", "v"))
	return []Out{
		{Topic: []byte("a")},
		{Topic: []byte("a/b"), Payload: []byte("x"), Retain: true},
		{Topic: []byte("a/b"), Payload: []byte("x"), QoS: 1, PacketID: 1},
		{Topic: []byte("a/b"), Payload: []byte("x"), QoS: 2, PacketID: 65535, Dup: true, Retain: true},
		{Topic: []byte("a/b"), Payload: []byte("x"), QoS: 1, PacketID: 258, Props: p},
		{Topic: []byte("a/b"), Payload: []byte("x"), Expiry: 0, HasExpiry: true},
		{Topic: []byte("a/b"), Payload: []byte("x"), Expiry: 1 << 31, HasExpiry: true, Props: p},
		{Topic: []byte("a/b"), Payload: []byte("x"), Alias: 7},
		{Topic: nil, Payload: []byte("x"), Alias: 65535, Props: p},
		{Topic: []byte("a/b"), User: []UserProp{{"gap", "12"}, {"", ""}, {"seq", "1"}}, Props: p},
		{Topic: []byte(strings.Repeat("t", 65535)), Payload: bytes.Repeat([]byte("p"), 70_000)},
		{Topic: []byte("a"), Payload: bytes.Repeat([]byte("p"), 123)}, // around one and two bytes of remaining length
		{Topic: []byte("a"), Payload: bytes.Repeat([]byte("p"), 124)},
		{Topic: []byte("a"), Payload: bytes.Repeat([]byte("p"), 125)},
		{Topic: []byte("a"), Payload: bytes.Repeat([]byte("p"), 16380)},
		{Topic: []byte("a"), Payload: bytes.Repeat([]byte("p"), 16381)},
		{Topic: []byte("a"), Payload: bytes.Repeat([]byte("p"), 2_097_148)}, // around three and four
		{Topic: []byte("a"), Payload: bytes.Repeat([]byte("p"), 2_097_149)},
		{Topic: []byte("a"), User: []UserProp{{"k", strings.Repeat("v", 121)}}},
		{Topic: []byte("a"), User: []UserProp{{"k", strings.Repeat("v", 122)}}},
		{Topic: []byte("a"), User: []UserProp{{"k", strings.Repeat("v", 20_000)}}},
	}
}

func TestAppendPublishRoundTrip(t *testing.T) {
	for _, version := range []byte{V31, V311, V5} {
		for i, o := range outCases() {
			if version < V5 && len(o.Topic) == 0 {
				continue
			}
			dst := AppendPublish([]byte("before"), version, &o)
			p, ok := bytes.CutPrefix(dst, []byte("before"))
			if !ok {
				t.Errorf("%d/%d: dst was changed", version, i)
			}
			if n := PublishSize(version, &o); n != len(p) {
				t.Errorf("%d/%d: PublishSize %d, length %d", version, i, n, len(p))
			}
			var got Publish
			if err := ParsePublish(p, version, &got); err != nil {
				t.Errorf("%d/%d: %v", version, i, err)
				continue
			}
			want := Publish{Topic: o.Topic, Payload: o.Payload, PacketID: o.PacketID, QoS: o.QoS, Dup: o.Dup, Retain: o.Retain}
			if version == V5 {
				want.Alias, want.Expiry, want.HasExpiry, want.Props = o.Alias, o.Expiry, o.HasExpiry, bytes.Clone(o.Props)
				for _, u := range o.User {
					want.Props = append(want.Props, user(u.Key, u.Value)...)
				}
			}
			samePublish(t, &got, &want)
		}
	}
}

func samePublish(t *testing.T, got, want *Publish) {
	t.Helper()
	if !bytes.Equal(got.Topic, want.Topic) || !bytes.Equal(got.Props, want.Props) || !bytes.Equal(got.Payload, want.Payload) ||
		got.PacketID != want.PacketID || got.QoS != want.QoS || got.Dup != want.Dup || got.Retain != want.Retain ||
		got.Alias != want.Alias || got.Expiry != want.Expiry || got.HasExpiry != want.HasExpiry {
		t.Errorf("got %.300v\nwant %.300v", got, want)
	}
}

func TestAppendSmallPackets(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want []byte
	}{
		{"PUBACK", AppendAck(nil, V5, TypePuback, 0x1234, 0), []byte{0x40, 2, 0x12, 0x34}},
		{"PUBACK 3.1.1 ignores the reason", AppendAck(nil, V311, TypePuback, 0x1234, 0x97), []byte{0x40, 2, 0x12, 0x34}},
		{"PUBREC with reason", AppendAck(nil, V5, TypePubrec, 1, 0x97), []byte{0x50, 3, 0, 1, 0x97}},
		{"PUBREL", AppendAck(nil, V5, TypePubrel, 1, 0), []byte{0x62, 2, 0, 1}},
		{"PUBREL with reason", AppendAck(nil, V5, TypePubrel, 1, 0x92), []byte{0x62, 3, 0, 1, 0x92}},
		{"PUBCOMP 3.1", AppendAck([]byte{9}, V31, TypePubcomp, 65535, 0), []byte{9, 0x70, 2, 0xFF, 0xFF}},
		{"DISCONNECT", AppendDisconnect(nil, V5, 0, ""), []byte{0xE0, 0}},
		{"DISCONNECT with reason", AppendDisconnect(nil, V5, 0x8E, ""), []byte{0xE0, 1, 0x8E}},
		{"DISCONNECT with text", AppendDisconnect(nil, V5, 0x82, "no"), []byte{0xE0, 7, 0x82, 5, 0x1F, 0, 2, 'n', 'o'}},
		{"DISCONNECT with success and text", AppendDisconnect(nil, V5, 0, "no"), []byte{0xE0, 7, 0, 5, 0x1F, 0, 2, 'n', 'o'}},
		{"DISCONNECT with long text", AppendDisconnect(nil, V5, 0x82, strings.Repeat("x", 200)), pkt(0xE0, 0x82, props(0x1F, str(strings.Repeat("x", 200))))},
		{"DISCONNECT with text that is not UTF-8", AppendDisconnect(nil, V5, 0x82, "\xff"), []byte{0xE0, 1, 0x82}},
		{"DISCONNECT with text too long", AppendDisconnect(nil, V5, 0x82, strings.Repeat("x", 65536)), []byte{0xE0, 1, 0x82}},
		{"DISCONNECT 3.1.1 does not exist", AppendDisconnect(nil, V311, 0x82, "no"), nil},
		{"CONNACK 5", AppendRefusal(nil, V5, 0x81, ""), []byte{0x20, 3, 0, 0x81, 0}},
		{"CONNACK 5 with text", AppendRefusal(nil, V5, 0x87, "no"), []byte{0x20, 8, 0, 0x87, 5, 0x1F, 0, 2, 'n', 'o'}},
		{"PUBACK 5 with text", AppendAckText(nil, V5, TypePuback, 258, 0x97, "no"), []byte{0x40, 9, 1, 2, 0x97, 5, 0x1F, 0, 2, 'n', 'o'}},
		{"PUBACK 3.1.1 has no text", AppendAckText(nil, V311, TypePuback, 258, 0x97, "no"), []byte{0x40, 2, 1, 2}},
		{"CONNACK 3.1.1 version", AppendRefusal(nil, V311, 0x84, ""), []byte{0x20, 2, 0, 1}},
		{"CONNACK unknown version", AppendRefusal(nil, 0, 0x84, ""), []byte{0x20, 2, 0, 1}},
		{"CONNACK 3.1.1 client id", AppendRefusal(nil, V311, 0x85, ""), []byte{0x20, 2, 0, 2}},
		{"CONNACK 3.1.1 busy", AppendRefusal(nil, V311, 0x89, ""), []byte{0x20, 2, 0, 3}},
		{"CONNACK 3.1.1 password", AppendRefusal(nil, V311, 0x86, ""), []byte{0x20, 2, 0, 4}},
		{"CONNACK 3.1.1 not authorized", AppendRefusal(nil, V311, 0x87, ""), []byte{0x20, 2, 0, 5}},
		{"CONNACK 3.1.1 malformed has no code", AppendRefusal(nil, V311, 0x81, ""), nil},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: %.20x, want %.20x", c.name, c.got, c.want)
		}
	}
}
