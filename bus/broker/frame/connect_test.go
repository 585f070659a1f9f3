package frame

import (
	"fmt"
	"strings"
	"testing"
)

// will flags
const (
	wf0 = 0x06 // clean, will QoS 0
	wf1 = 0x0E
	wf2 = 0x16
	wf3 = 0x1E
)

// connectCases: the name contains the statement that the refusal must carry; code 0 is acceptance.
var connectCases = []struct {
	name string
	p    []byte
	code byte
}{
	{"5: the smallest", connect5(0x02, props(), str("c")), 0},
	{"5: empty client id, clean", connect5(0x02, props(), str("")), 0},
	{"5: empty client id, not clean, is the broker's to answer", connect5(0x00, props(), str("")), 0},
	{"5: user name and password", connect5(0xC2, props(), str("c"), str("u"), str("p")), 0},
	{"5: empty user name and password", connect5(0xC2, props(), str("c"), str(""), str("")), 0},
	{"5: password without user name", connect5(0x42, props(), str("c"), str("p")), 0},
	{"5: binary password", connect5(0xC2, props(), str("c"), str("u"), str("\x00\xff")), 0},
	{"5: will QoS 0", connect5(wf0, props(), str("c"), props(), str("w"), str("x")), 0},
	{"5: will QoS 1", connect5(wf1, props(), str("c"), props(), str("w"), str("x")), 0},
	{"5: will QoS 2, retained", connect5(wf2|0x20, props(), str("c"), props(), str("w"), str("x")), 0},
	{"5: empty will payload", connect5(wf0, props(), str("c"), props(), str("w"), str("")), 0},
	{"5: client id of 1,000 bytes", connect5(0x02, props(), str(strings.Repeat("c", 1000))), 0},
	{"5: client id with U+FEFF [MQTT-1.5.4-3]", connect5(0x02, props(), str("\uFEFFc")), 0},
	{"5: all properties", connect5(0x02, props(0x11, u32(10), 0x21, u16(1), 0x27, u32(1), 0x22, u16(0), 0x19, 1, 0x17, 0, user("k", "v"), 0x15, str("m"), 0x16, str("d")), str("c")), 0},
	{"5: user property twice", connect5(0x02, props(user("k", "v"), user("k", "v")), str("c")), 0},
	{"5: authentication data before its method", connect5(0x02, props(0x16, str("d"), 0x15, str("m")), str("c")), 0},
	{"5: all will properties", connect5(wf0, props(), str("c"), props(0x18, u32(5), 0x01, 1, 0x02, u32(9), 0x03, str("t"), 0x08, str("r"), 0x09, str("\x00"), user("k", "v")), str("w"), str("x")), 0},
	{"5: will payload with U+0000 is character data", connect5(wf0, props(), str("c"), props(0x01, 1), str("w"), str("\x00")), 0},
	{"3.1.1: the smallest", connect4(0x02, str("c")), 0},
	{"3.1.1: empty client id, clean", connect4(0x02, str("")), 0},
	{"3.1.1: empty client id, not clean, is the broker's to answer", connect4(0x00, str("")), 0},
	{"3.1.1: will, user name and password", connect4(0xE6, str("c"), str("w"), str("x"), str("u"), str("p")), 0},
	{"3.1.1: user name only", connect4(0x82, str("c"), str("u")), 0},
	{"3.1: the smallest", connect3(0x02, str("c")), 0},
	{"3.1: client id of 24 bytes", connect3(0x02, str(strings.Repeat("c", 24))), 0},
	{"3.1: will, user name and password", connect3(0xE6, str("c"), str("w"), str("x"), str("u"), str("p")), 0},

	{"[MQTT-3.1.2-1] unknown protocol name", connect("MQTX", 5, 2, props(), str("c")), 0x84},
	{"[MQTT-3.1.2-1] empty protocol name", connect("", 5, 2, props(), str("c")), 0x84},
	{"[MQTT-3.1.2-1] protocol name in lower case", connect("mqtt", 4, 2, str("c")), 0x84},
	{"[MQTT-3.1.2-2] MQTT with level 3", connect("MQTT", 3, 2, str("c")), 0x84},
	{"[MQTT-3.1.2-2] MQTT with level 6", connect("MQTT", 6, 2, props(), str("c")), 0x84},
	{"[MQTT-3.1.2-2] MQTT with the level of a bridge of 3.1", connect("MQTT", 0x83, 2, str("c")), 0x84},
	{"[MQTT-3.1.2-2] MQTT with a bridge's bit on level 5", connect("MQTT", 0x85, 2, props(), str("c")), 0x84},
	{"[MQTT-3.1.2-2] MQIsdp with the level of a bridge of 3.1.1", connect("MQIsdp", 0x84, 2, str("c")), 0x84},
	{"[MQTT-3.1.2-2] MQIsdp with level 4", connect("MQIsdp", 4, 2, str("c")), 0x84},
	{"[MQTT-3.1.2-2] MQIsdp with level 5", connect("MQIsdp", 5, 2, props(), str("c")), 0x84},
	{"[MQTT-3.1.2-3] 5: reserved flag", connect5(0x03, props(), str("c")), 0x81},
	{"[MQTT-3.1.2-3] 3.1.1: reserved flag", connect4(0x03, str("c")), 0x81},
	{"[MQTT-3.1.2-12] 5: will QoS 3", connect5(wf3, props(), str("c"), props(), str("w"), str("x")), 0x81},
	{"[MQTT-3.1.2-14] 3.1.1: will QoS 3", connect4(wf3, str("c"), str("w"), str("x")), 0x81},
	{"[MQTT-3.1.2-12] 5: will QoS 3 without will", connect5(0x1A, props(), str("c")), 0x81},
	{"[MQTT-3.1.2-11] 5: will QoS without will", connect5(0x0A, props(), str("c")), 0x81},
	{"[MQTT-3.1.2-13] 3.1.1: will QoS without will", connect4(0x0A, str("c")), 0x81},
	{"[MQTT-3.1.2-13] 5: will retain without will", connect5(0x22, props(), str("c")), 0x81},
	{"[MQTT-3.1.2-15] 3.1.1: will retain without will", connect4(0x22, str("c")), 0x81},
	{"[MQTT-3.1.2-22] 3.1.1: password without user name", connect4(0x42, str("c"), str("p")), 0x81},
	{"[MQTT-3.1.2-22] 3.1: password without user name", connect3(0x42, str("c"), str("p")), 0x81},
	{"[1.5] user name flag without user name", connect4(0x82, str("c")), 0x81},
	{"[1.5] password flag without password", connect4(0xC2, str("c"), str("u")), 0x81},
	{"[1.5] will flag without will", connect4(wf0, str("c")), 0x81},
	{"[1.5] will flag without will payload", connect4(wf0, str("c"), str("w")), 0x81},
	{"[4.13] user name without its flag", connect4(0x02, str("c"), str("u")), 0x81},
	{"[4.13] password without its flag", connect4(0x82, str("c"), str("u"), str("p")), 0x81},
	{"[4.13] will without its flag", connect5(0x02, props(), str("c"), props(), str("w"), str("x")), 0x81},
	{"[1.5] nothing after the header", pkt(0x10), 0x81},
	{"[1.5] protocol name runs past the end", pkt(0x10, 0, 9, "MQTT"), 0x81},
	{"[1.5] no level", pkt(0x10, str("MQTT")), 0x81},
	{"[1.5] no flags", pkt(0x10, str("MQTT"), 5), 0x81},
	{"[1.5] half a keep alive", pkt(0x10, str("MQTT"), 5, 2, 0), 0x81},
	{"[1.5] no property length", pkt(0x10, str("MQTT"), 5, 2, u16(60)), 0x81},
	{"[1.5] no client id", connect5(0x02, props()), 0x81},
	{"[1.5] client id runs past the end", connect4(0x02, 0, 9, "c"), 0x81},
	{"[MQTT-1.5.4-2] 5: client id with U+0000", connect5(0x02, props(), str("c\x00")), 0x81},
	{"[MQTT-1.5.3-2] 3.1.1: client id with U+0000", connect4(0x02, str("c\x00")), 0x81},
	{"[MQTT-1.5.4-1] 5: client id with a surrogate", connect5(0x02, props(), str("\xED\xA0\x80")), 0x81},
	{"[MQTT-1.5.3-1] 3.1.1: client id with a surrogate", connect4(0x02, str("\xED\xA0\x80")), 0x81},
	{"[MQTT-1.5.4-1] 5: user name is not UTF-8", connect5(0x82, props(), str("c"), str("\xff")), 0x81},
	{"[MQTT-1.5.3-1] 3.1.1: user name is not UTF-8", connect4(0x82, str("c"), str("\xC0\x80")), 0x81},
	{"[MQTT-1.5.4-1] 5: will topic is not UTF-8", connect5(wf0, props(), str("c"), props(), str("\xff"), str("x")), 0x81},
	{"[MQTT-1.5.4-2] 5: will topic with U+0000", connect5(wf0, props(), str("c"), props(), str("a\x00"), str("x")), 0x81},
	{"[MQTT-4.7.3-1] 5: will topic is empty", connect5(wf0, props(), str("c"), props(), str(""), str("x")), 0x90},
	{"[MQTT-4.7.3-1] 3.1.1: will topic is empty", connect4(wf0, str("c"), str(""), str("x")), 0x90},
	{"[MQTT-4.7.0-1] 5: will topic with +", connect5(wf0, props(), str("c"), props(), str("a/+"), str("x")), 0x90},
	{"[MQTT-4.7.0-1] 5: will topic with #", connect5(wf0, props(), str("c"), props(), str("#"), str("x")), 0x90},
	{"[MQTT-4.7.1-1] 3.1.1: will topic with #", connect4(wf0, str("c"), str("a/#"), str("x")), 0x90},
	{"[2.2.2.1] properties run past the end", connect5(0x02, 0x7F, str("c")), 0x81},
	{"[MQTT-1.5.5-1] property length is not minimal", connect5(0x02, 0x80, 0x00, str("c")), 0x81},
	{"[1.5.5] property length of five bytes", connect5(0x02, 0x80, 0x80, 0x80, 0x80, 0x01, str("c")), 0x81},
	{"[1.5] property length cut off", connect5(0x02, 0x80), 0x81},
	{"[1.5] property cut off by the property length", connect5(0x02, 3, 0x11, u32(1), str("c")), 0x81},
	{"[2.2.2.2] property 0", connect5(0x02, props(0x00, 1), str("c")), 0x81},
	{"[2.2.2.2] unknown property 0x7F", connect5(0x02, props(0x7F, 1), str("c")), 0x81},
	{"[2.2.2.2] property identifier of two bytes", connect5(0x02, props(0x91, 0x00, u32(1)), str("c")), 0x81},
	{"[2.2.2.2] topic alias in CONNECT", connect5(0x02, props(0x23, u16(1)), str("c")), 0x81},
	{"[2.2.2.2] reason string in CONNECT", connect5(0x02, props(0x1F, str("x")), str("c")), 0x81},
	{"[2.2.2.2] will delay in CONNECT", connect5(0x02, props(0x18, u32(1)), str("c")), 0x81},
	{"[2.2.2.2] server keep alive in CONNECT", connect5(0x02, props(0x13, u16(1)), str("c")), 0x81},
	{"[2.2.2.2] assigned client id in CONNECT", connect5(0x02, props(0x12, str("x")), str("c")), 0x81},
	{"[2.2.2.2] Session Expiry Interval twice", connect5(0x02, props(0x11, u32(1), 0x11, u32(1)), str("c")), 0x82},
	{"[2.2.2.2] Receive Maximum twice", connect5(0x02, props(0x21, u16(1), 0x21, u16(1)), str("c")), 0x82},
	{"[2.2.2.2] Maximum Packet Size twice", connect5(0x02, props(0x27, u32(1), 0x27, u32(1)), str("c")), 0x82},
	{"[2.2.2.2] Topic Alias Maximum twice", connect5(0x02, props(0x22, u16(1), 0x22, u16(1)), str("c")), 0x82},
	{"[2.2.2.2] Request Response Information twice", connect5(0x02, props(0x19, 1, 0x19, 1), str("c")), 0x82},
	{"[2.2.2.2] Request Problem Information twice", connect5(0x02, props(0x17, 1, 0x17, 1), str("c")), 0x82},
	{"[2.2.2.2] authentication method twice", connect5(0x02, props(0x15, str("m"), 0x15, str("m")), str("c")), 0x82},
	{"[2.2.2.2] authentication data twice", connect5(0x02, props(0x15, str("m"), 0x16, str("d"), 0x16, str("d")), str("c")), 0x82},
	{"[3.1.2.11.3] Receive Maximum 0", connect5(0x02, props(0x21, u16(0)), str("c")), 0x82},
	{"[3.1.2.11.4] Maximum Packet Size 0", connect5(0x02, props(0x27, u32(0)), str("c")), 0x82},
	{"[2.2.2.2] Request Response Information 2", connect5(0x02, props(0x19, 2), str("c")), 0x82},
	{"[2.2.2.2] Request Problem Information 2", connect5(0x02, props(0x17, 2), str("c")), 0x82},
	{"[3.1.2.11.10] authentication data without method", connect5(0x02, props(0x16, str("d")), str("c")), 0x82},
	{"[MQTT-1.5.4-1] authentication method is not UTF-8", connect5(0x02, props(0x15, str("\xff")), str("c")), 0x81},
	{"[MQTT-1.5.4-1] user property key is not UTF-8", connect5(0x02, props(user("\xff", "v")), str("c")), 0x81},
	{"[MQTT-1.5.4-2] user property value with U+0000", connect5(0x02, props(user("k", "\x00")), str("c")), 0x81},
	{"[1.5] user property without value", connect5(0x02, props(0x26, str("k")), str("c")), 0x81},
	{"[2.2.2.2] session expiry in the will", connect5(wf0, props(), str("c"), props(0x11, u32(1)), str("w"), str("x")), 0x81},
	{"[2.2.2.2] topic alias in the will", connect5(wf0, props(), str("c"), props(0x23, u16(1)), str("w"), str("x")), 0x81},
	{"[2.2.2.2] will delay twice", connect5(wf0, props(), str("c"), props(0x18, u32(1), 0x18, u32(1)), str("w"), str("x")), 0x82},
	{"[2.2.2.2] will payload format 2", connect5(wf0, props(), str("c"), props(0x01, 2), str("w"), str("x")), 0x82},
	{"[MQTT-3.3.2-14] will response topic with a wildcard", connect5(wf0, props(), str("c"), props(0x08, str("a/#")), str("w"), str("x")), 0x82},
	{"[3.1.3.2.3] will payload is not UTF-8", connect5(wf0, props(), str("c"), props(0x01, 1), str("w"), str("\xff")), 0x99},
	{"[MQTT-2.1.3-1] header flags", connectHeader(0x11), 0x81},
	{"[2.1.4] one byte more than the remaining length", append(connect4(0x02, str("c")), 0), 0x81},
	{"[2.1.2] another packet instead", pkt(0xC0), 0x82},
	{"[2.1.4] no bytes", nil, 0x81},
}

func connectHeader(first byte) []byte {
	p := connect4(0x02, str("c"))
	p[0] = first
	return p
}

func TestConnect(t *testing.T) {
	for _, c := range connectCases {
		t.Run(c.name, func(t *testing.T) {
			version, err := judgeConnect(t, c.p)
			expect(t, c.name, err, c.code)
			if err == nil {
				h, _, _ := ReadHeader(c.p)
				if version != c.p[h.Body+2+int(c.p[h.Body+1])] {
					t.Errorf("version %d", version)
				}
				cutAndExtend(t, c.p, func(p []byte) *Error { _, err := judgeConnect(t, p); return err }, true)
			}
		})
	}
}

// expect fails unless err has that code, or is nil for 0, and the name contains its statement.
func expect(t *testing.T, name string, err *Error, code byte) {
	t.Helper()
	switch {
	case err == nil && code == 0:
	case err == nil:
		t.Errorf("accepted, want %#x", code)
	case err.Code != code:
		t.Errorf("refused with %#x (%v), want %#x", err.Code, err, code)
	case !strings.HasPrefix(name, "["+err.Statement+"]"):
		t.Errorf("statement is %q (%s)", err.Statement, err.Reason)
	case err.Reason == "" || !strings.Contains(err.Error(), err.Statement):
		t.Errorf("error text: %q", err)
	}
}

// cutAndExtend cuts the valid packet p at each byte, and adds one byte. A cut whose remaining
// length still claims the whole packet is refused; with a corrected length it may be valid (a
// payload) but must not panic.
func cutAndExtend(t *testing.T, p []byte, judge func([]byte) *Error, fixed bool) {
	t.Helper()
	for n := range p {
		if judge(p[:n:n]) == nil {
			t.Errorf("accepted when cut at %d", n)
		}
	}
	h, _, _ := ReadHeader(p)
	for n := range p[h.Body:] {
		judge(pkt(p[0], p[h.Body:h.Body+n]))
	}
	if judge(append(p[:len(p):len(p)], 0)) == nil {
		t.Errorf("accepted with a byte after the end")
	}
	if fixed && judge(pkt(p[0], p[h.Body:], 0)) == nil {
		t.Errorf("accepted with a byte after the last field")
	}
}

func TestCheckConnectNamesTheVersionOfARefusedPacket(t *testing.T) {
	for _, c := range []struct {
		p    []byte
		want byte
	}{
		{connect5(0x02, props(0x21, u16(0)), str("c")), 5},
		{connect4(0x03, str("c")), 4},
		{connect3(0x02, str("\xff")), 3},
		{connect("MQTT", 9, 0x02, str("c")), 0},
		{pkt(0x10, str("MQTT"), 5), 5},
		{pkt(0x10, str("MQTT")), 0},
	} {
		if v, err := CheckConnect(c.p); v != c.want || err == nil {
			t.Errorf("%x: version %d, error %v; want version %d and an error", c.p, v, err, c.want)
		}
	}
}

func TestParseConnectFields(t *testing.T) {
	p := connect5(0xC0|0x24|0x10,
		props(0x11, u32(100), 0x21, u16(7), 0x27, u32(5000), 0x22, u16(3), 0x19, 1, 0x17, 0, 0x15, str("m")),
		str("client"),
		props(0x18, u32(11), 0x01, 1, 0x02, u32(22), user("a", "b"), 0x03, str("t")),
		str("w/t"), str("gone"), str("ann"), str("secret"))
	c, err := ParseConnect(p)
	if err != nil {
		t.Fatal(err)
	}
	for i := range p {
		p[i] = 0xEE // nothing of c may point into p
	}
	w := c.Will
	got := fmt.Sprintf("%d %v %d %q %q %v %d %v %d %d %d %v %v %q | %q %q %x %d %d %v %d %v",
		c.Version, c.CleanStart, c.KeepAlive, c.ClientID, *c.Username, c.HasPassword, c.SessionExpiry, c.HasSessionExpiry,
		c.ReceiveMaximum, c.MaximumPacketSize, c.TopicAliasMaximum, c.RequestProblemInfo, c.RequestResponseInfo, c.AuthMethod,
		w.Topic, w.Payload, w.Props, w.DelayInterval, w.Expiry, w.HasExpiry, w.QoS, w.Retain)
	want := fmt.Sprintf(`5 false 60 "client" "ann" true 100 true 7 5000 3 false true "m" | "w/t" "gone" %x 11 22 true 2 true`,
		cat(0x01, 1, user("a", "b"), 0x03, str("t")))
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}

	c, err = ParseConnect(connect4(0x02, str("c")))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Connect{Version: 4, CleanStart: true, ClientID: "c", KeepAlive: 60, ReceiveMaximum: 65535, RequestProblemInfo: true}); c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
}
