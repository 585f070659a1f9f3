package frame

import (
	"bytes"
	"testing"

	"github.com/postbus/postbus/bus/topic"
)

// seeds adds every packet of the tables.
func seeds(f *testing.F, only byte) {
	add := func(version byte, p []byte) {
		if len(p) > 0 && len(p) < 1000 && (only == 0 || p[0]>>4 == only) {
			f.Add(version, p)
		}
	}
	for _, c := range guardCases {
		add(c.version, c.p)
	}
	for _, c := range connectCases {
		add(V5, c.p)
	}
}

// FuzzGuard: nothing panics, the entry points agree, and mochi also reads every accepted packet,
// with the same result.
func FuzzGuard(f *testing.F) {
	seeds(f, 0)
	f.Fuzz(func(t *testing.T, version byte, b []byte) {
		version = V31 + version%3
		h, ok, err := ReadHeader(b)
		if err != nil || !ok {
			if Check(b, version) == nil {
				t.Fatal("Check accepted what has no header")
			}
			return
		}
		if h.Len < len(b) {
			b = b[:h.Len:h.Len]
		}
		if h.Type == TypeConnect {
			if _, err := judgeConnect(t, b); err == nil {
				mochiAgrees(t, b, 0)
			}
		}
		if judge(t, version, b) == nil {
			mochiAgrees(t, b, version)
		}
	})
}

// FuzzPublish: every parsed packet can be encoded again and is then the same message; the size is
// exact.
func FuzzPublish(f *testing.F) {
	seeds(f, TypePublish)
	f.Fuzz(func(t *testing.T, version byte, b []byte) {
		version = V31 + version%3
		original := bytes.Clone(b)
		var pub Publish
		if ParsePublish(b, version, &pub) != nil {
			return
		}
		if len(pub.Topic) > 0 && topic.CheckName(string(pub.Topic)) != nil {
			t.Errorf("topic %q", pub.Topic)
		}
		o := Out{Topic: pub.Topic, Props: pub.Props, Payload: pub.Payload, PacketID: pub.PacketID, QoS: pub.QoS, Dup: pub.Dup,
			Retain: pub.Retain, Alias: pub.Alias, Expiry: pub.Expiry, HasExpiry: pub.HasExpiry}
		p := AppendPublish(nil, version, &o)
		if len(p) != len(original) || PublishSize(version, &o) != len(p) {
			t.Errorf("%x became %x, PublishSize %d", original, p, PublishSize(version, &o))
		}
		if version < V5 && !bytes.Equal(p, original) {
			t.Errorf("%x became %x", original, p)
		}
		mochiAgrees(t, p, version)
		var again Publish
		if err := ParsePublish(p, version, &again); err != nil {
			t.Fatal(err)
		}
		samePublish(t, &again, &pub)
	})
}
