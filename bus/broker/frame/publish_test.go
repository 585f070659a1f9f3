package frame

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
)

// TestParsePublishCompactsProperties: the forwarded properties are contiguous and in their order,
// wherever the others are between them.
func TestParsePublishCompactsProperties(t *testing.T) {
	var (
		format  = cat(0x01, 1)
		expiry  = cat(0x02, u32(77))
		content = cat(0x03, str("text"))
		reply   = cat(0x08, str("r"))
		corr    = cat(0x09, str("\x00\x01"))
		alias   = cat(0x23, u16(9))
		u1, u2  = user("k", "1"), user("k", "2")
	)
	for _, c := range []struct {
		name        string
		props, want []byte
	}{
		{"none", nil, nil},
		{"only what ends here", cat(expiry, alias), nil},
		{"only what travels on", cat(u2, format, corr, reply, content, u1), cat(u2, format, corr, reply, content, u1)},
		{"in front", cat(expiry, alias, content, u1, u2), cat(content, u1, u2)},
		{"in between", cat(u1, expiry, content, alias, u2), cat(u1, content, u2)},
		{"at the end", cat(u1, content, alias, expiry), cat(u1, content)},
		{"long after short", cat(alias, u1, u1, u1, expiry, u2, u2, u2), cat(u1, u1, u1, u2, u2, u2)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pkt(0x33, str("a/b"), u16(7), props(c.props), "payload")
			var pub Publish
			if err := ParsePublish(p, V5, &pub); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(pub.Props, c.want) {
				t.Errorf("props %x, want %x", pub.Props, c.want)
			}
			hasExpiry := bytes.Contains(c.props, expiry)
			got := fmt.Sprintf("%s %s %d %d %v %v %v %d", pub.Topic, pub.Payload, pub.PacketID, pub.QoS, pub.Dup, pub.Retain, pub.HasExpiry, pub.Expiry)
			want := fmt.Sprintf("a/b payload 7 1 false true %v %d", hasExpiry, map[bool]int{true: 77}[hasExpiry])
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if bytes.Contains(c.props, alias) != (pub.Alias == 9) {
				t.Errorf("alias %d", pub.Alias)
			}
			if extended := append(pub.Props, 0xEE); !bytes.Equal(pub.Payload, []byte("payload")) {
				t.Errorf("append to Props (%x) ran into the payload", extended)
			}
		})
	}
}

func TestParsePublishForgetsWhatWasInPub(t *testing.T) {
	pub := Publish{Props: []byte("old"), Alias: 5, HasExpiry: true, Expiry: 3, PacketID: 4, Dup: true, QoS: 2}
	if err := ParsePublish(pkt(0x30, str("a"), "x"), V311, &pub); err != nil {
		t.Fatal(err)
	}
	if pub.Props != nil || pub.Alias != 0 || pub.HasExpiry || pub.Expiry != 0 || pub.PacketID != 0 || pub.Dup || pub.QoS != 0 {
		t.Errorf("%+v", pub)
	}
}

// TestParsePublishIsCompleteWithPayloadFormatInvalid: a caller that answers 0x99 in PUBACK needs
// the identifier.
func TestParsePublishIsCompleteWithPayloadFormatInvalid(t *testing.T) {
	var pub Publish
	err := ParsePublish(pkt(0x32, str("a"), u16(9), props(0x01, 1), "\xff"), V5, &pub)
	if err == nil || err.Code != CodePayloadFormatInvalid || pub.PacketID != 9 || string(pub.Topic) != "a" || string(pub.Payload) != "\xff" || pub.QoS != 1 {
		t.Errorf("%v %+v", err, pub)
	}
}

// TestClaimedLengthsCostNothing: a length that a client claims costs nothing. Only errors allocate,
// and those a fixed amount.
func TestClaimedLengthsCostNothing(t *testing.T) {
	for _, p := range [][]byte{
		{0x30, 0xFF, 0xFF, 0xFF, 0x7F},
		{0x10, 0xFF, 0xFF, 0xFF, 0x7F},
		pkt(0x30, 0xFF, 0xFF),
		pkt(0x30, str("a"), 0xFF, 0xFF, 0xFF, 0x7F),
		pkt(0x30, str("a"), props(0x26, 0xFF, 0xFF)),
		connect5(0x02, 0xFF, 0xFF, 0xFF, 0x7F),
	} {
		var pub Publish
		const rounds = 1000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			ReadHeader(p)
			ParsePublish(p, V5, &pub)
			ParseConnect(p)
			Check(p, V5)
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / rounds; n > 512 {
			t.Errorf("%x: %d bytes allocated", p, n)
		}
	}
}

var samplePublish = cat(pkt(0x32, str("home/kitchen/sensor/1/temperature"), u16(1234), props(), bytes.Repeat([]byte("x"), 128)))

func sampleProps() []byte {
	return pkt(0x32, str("home/kitchen/sensor/1/temperature"), u16(1234),
		props(0x01, 1, 0x02, u32(60), 0x03, str("application/json"), user("unit", "celsius")), bytes.Repeat([]byte("x"), 128))
}

func TestValidPathAllocatesNothing(t *testing.T) {
	var pub Publish
	p := sampleProps()
	scratch := make([]byte, len(p))
	out := Out{Topic: []byte("a/b"), Payload: p, QoS: 1, PacketID: 1, HasExpiry: true, SubIDs: []uint32{1}, User: []UserProp{{"gap", "3"}}}
	dst := make([]byte, 0, 4096)
	connect := connect5(wf0, props(0x11, u32(1)), str("c"), props(user("k", "v")), str("w"), str("x"))
	subscribe := sub(u16(1), props(0x0B, 1), str("a"), 0, str("b"), 1)
	for name, f := range map[string]func(){
		"ParsePublish":     func() { copy(scratch, p); ParsePublish(scratch, V5, &pub) },
		"ParseAck":         func() { ParseAck(pkt4, V5) },
		"CheckConnect":     func() { CheckConnect(connect) },
		"Check":            func() { Check(subscribe, V5) },
		"AppendPublish":    func() { AppendPublish(dst, V5, &out) },
		"AppendAck":        func() { AppendAck(dst, V5, TypePuback, 1, 0x97) },
		"AppendDisconnect": func() { AppendDisconnect(dst, V5, 0x82, "topic name is empty") },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

var pkt4 = pkt(0x40, u16(1))

func BenchmarkParsePublish(b *testing.B) {
	var pub Publish
	b.Run("v5", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if ParsePublish(samplePublish, V5, &pub) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("v4", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if ParsePublish(samplePublish, V311, &pub) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("v5props", func(b *testing.B) {
		// Compacting shifts the tail, so each round parses a new copy.
		p := sampleProps()
		scratch := make([]byte, len(p))
		b.ReportAllocs()
		for b.Loop() {
			copy(scratch, p)
			if ParsePublish(scratch, V5, &pub) != nil {
				b.Fatal("refused")
			}
		}
	})
}

func BenchmarkParseAck(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseAck(pkt4, V5); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	dst := make([]byte, 0, 1024)
	out := Out{Topic: []byte("home/kitchen/sensor/1/temperature"), Payload: bytes.Repeat([]byte("x"), 128), QoS: 1, PacketID: 1234}
	full := out
	full.HasExpiry, full.Expiry, full.SubIDs = true, 60, []uint32{5}
	full.Props = cat(0x01, 1, 0x03, str("application/json"))
	full.User = []UserProp{{"seq", "123456"}}
	for _, c := range []struct {
		name    string
		version byte
		o       *Out
	}{{"v5", V5, &out}, {"v4", V311, &out}, {"v5props", V5, &full}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				AppendPublish(dst, c.version, c.o)
			}
		})
	}
}
