package frame

import (
	"fmt"
	"strings"
	"testing"
)

func sub(parts ...any) []byte   { return pkt(0x82, cat(parts...)) }
func unsub(parts ...any) []byte { return pkt(0xA2, cat(parts...)) }

type guardCase struct {
	name    string
	version byte
	p       []byte
	code    byte
}

// guardCases: the name contains the statement that the refusal must carry; code 0 is acceptance.
var guardCases = []guardCase{
	// PUBLISH, MQTT 5
	{"QoS 0", 5, pkt(0x30, str("a/b"), props(), "x"), 0},
	{"QoS 0 retained", 5, pkt(0x31, str("a/b"), props(), "x"), 0},
	{"QoS 1", 5, pkt(0x32, str("a/b"), u16(1), props(), "x"), 0},
	{"QoS 1 DUP", 5, pkt(0x3A, str("a/b"), u16(65535), props(), "x"), 0},
	{"QoS 2 DUP retained", 5, pkt(0x3D, str("a/b"), u16(2), props(), "x"), 0},
	{"no payload", 5, pkt(0x30, str("a/b"), props()), 0},
	{"topic of one character", 5, pkt(0x30, str("/"), props()), 0},
	{"topic starting with $", 5, pkt(0x30, str("$SYS/x"), props()), 0},
	{"topic with control characters is allowed", 5, pkt(0x30, str("a\x01\x7f\u009f"), props()), 0},
	{"topic with a non-character is allowed", 5, pkt(0x30, str("a\uFFFF\U0010FFFF"), props()), 0},
	{"topic with U+FEFF [MQTT-1.5.4-3]", 5, pkt(0x30, str("\uFEFFa"), props()), 0},
	{"topic with U+2A6D4", 5, pkt(0x30, str("A\U0002A6D4"), props()), 0},
	{"topic of 65,535 bytes", 5, pkt(0x30, str(strings.Repeat("t", 65535)), props()), 0},
	{"alias with topic", 5, pkt(0x30, str("a"), props(0x23, u16(1))), 0},
	{"alias without topic", 5, pkt(0x30, str(""), props(0x23, u16(65535))), 0},
	{"all properties", 5, pkt(0x30, str("a"), props(0x01, 1, 0x02, u32(5), 0x03, str("t"), 0x08, str("r"), 0x09, str("\x00\xff"), 0x23, u16(1), user("k", "v")), "x"), 0},
	{"message expiry 0", 5, pkt(0x30, str("a"), props(0x02, u32(0))), 0},
	{"empty content type", 5, pkt(0x30, str("a"), props(0x03, str(""))), 0},
	{"empty correlation data", 5, pkt(0x30, str("a"), props(0x09, str(""))), 0},
	{"user properties with the same key [MQTT-3.3.2-17]", 5, pkt(0x30, str("a"), props(user("k", "1"), user("k", "2"))), 0},
	{"empty user property", 5, pkt(0x30, str("a"), props(user("", ""))), 0},
	{"payload format 0 with any payload", 5, pkt(0x30, str("a"), props(0x01, 0), "\xff"), 0},
	{"payload format 1 with UTF-8", 5, pkt(0x30, str("a"), props(0x01, 1), "é\x00"), 0},
	{"[MQTT-3.3.1-4] QoS 3", 5, pkt(0x36, str("a"), u16(1), props()), 0x81},
	{"[MQTT-3.3.1-4] QoS 3 and DUP", 5, pkt(0x3E, str("a"), u16(1), props()), 0x81},
	{"[MQTT-3.3.1-2] DUP with QoS 0", 5, pkt(0x38, str("a"), props()), 0x81},
	{"[MQTT-2.2.1-3] packet identifier 0, QoS 1", 5, pkt(0x32, str("a"), u16(0), props()), 0x82},
	{"[MQTT-2.2.1-3] packet identifier 0, QoS 2", 5, pkt(0x34, str("a"), u16(0), props()), 0x82},
	{"[3.3.2.1] empty topic without alias", 5, pkt(0x30, str(""), props(), "x"), 0x82},
	{"[MQTT-3.3.2-2] topic with +", 5, pkt(0x30, str("+opic"), props()), 0x90},
	{"[MQTT-3.3.2-2] topic with #", 5, pkt(0x30, str("a/#"), props()), 0x90},
	{"[MQTT-1.5.4-2] topic with U+0000", 5, pkt(0x30, str("to\x00"), props()), 0x81},
	{"[MQTT-1.5.4-1] topic with U+D800", 5, pkt(0x30, str("\xED\xA0\x80"), props()), 0x81},
	{"[MQTT-1.5.4-1] topic with U+DFFF", 5, pkt(0x30, str("\xED\xBF\xBF"), props()), 0x81},
	{"[MQTT-1.5.4-1] topic with an overlong form", 5, pkt(0x30, str("\xC0\xAF"), props()), 0x81},
	{"[MQTT-1.5.4-1] topic with overlong U+0000", 5, pkt(0x30, str("\xC0\x80"), props()), 0x81},
	{"[MQTT-1.5.4-1] topic past U+10FFFF", 5, pkt(0x30, str("\xF4\x90\x80\x80"), props()), 0x81},
	{"[MQTT-1.5.4-1] topic ends in the middle of a character", 5, pkt(0x30, str("\xC3"), props()), 0x81},
	{"[1.5] empty body", 5, pkt(0x30), 0x81},
	{"[1.5] half a topic length", 5, pkt(0x30, 0), 0x81},
	{"[1.5] topic runs past the end", 5, pkt(0x30, 0, 9, "a"), 0x81},
	{"[1.5] no packet identifier", 5, pkt(0x32, str("a")), 0x81},
	{"[1.5] half a packet identifier", 5, pkt(0x32, str("a"), 1), 0x81},
	{"[1.5] no property length", 5, pkt(0x30, str("a")), 0x81},
	{"[2.2.2.1] properties run past the end", 5, pkt(0x30, str("a"), 5, 0x01, 1), 0x81},
	{"[2.2.2.1] property length claims 268,435,455 bytes", 5, pkt(0x30, str("a"), 0xFF, 0xFF, 0xFF, 0x7F), 0x81},
	{"[MQTT-1.5.5-1] property length is not minimal", 5, pkt(0x30, str("a"), 0x80, 0x00), 0x81},
	{"[MQTT-1.5.5-1] property length of three bytes is not minimal", 5, pkt(0x30, str("a"), 0x82, 0x80, 0x00, 0x01, 1), 0x81},
	{"[1.5.5] property length of five bytes", 5, pkt(0x30, str("a"), 0x80, 0x80, 0x80, 0x80, 0x01), 0x81},
	{"[1.5] property value cut off by the property length", 5, pkt(0x30, str("a"), 1, 0x01, 1), 0x81},
	{"[1.5] payload format without value", 5, pkt(0x30, str("a"), props(0x01)), 0x81},
	{"[1.5] message expiry of three bytes", 5, pkt(0x30, str("a"), props(0x02, 0, 0, 1)), 0x81},
	{"[1.5] content type without length", 5, pkt(0x30, str("a"), props(0x03)), 0x81},
	{"[1.5] response topic runs past the properties", 5, pkt(0x30, str("a"), props(0x08, 0, 5, "r"), "payload"), 0x81},
	{"[1.5] correlation data runs past the properties", 5, pkt(0x30, str("a"), props(0x09, 0, 5, "r"), "payload"), 0x81},
	{"[1.5] topic alias of one byte", 5, pkt(0x30, str("a"), props(0x23, 1)), 0x81},
	{"[1.5] user property without value", 5, pkt(0x30, str("a"), props(0x26, str("k")), "payload"), 0x81},
	{"[1.5] user property without key", 5, pkt(0x30, str("a"), props(0x26), "payload"), 0x81},
	{"[1.5] subscription identifier without value", 5, pkt(0x30, str("a"), props(0x0B)), 0x81},
	{"[MQTT-1.5.5-1] subscription identifier is not minimal", 5, pkt(0x30, str("a"), props(0x0B, 0x80, 0x00)), 0x81},
	{"[1.5.5] subscription identifier of five bytes", 5, pkt(0x30, str("a"), props(0x0B, 0x80, 0x80, 0x80, 0x80, 0x01)), 0x81},
	{"[MQTT-3.3.4-6] subscription identifier from a client", 5, pkt(0x30, str("a"), props(0x0B, 1)), 0x82},
	{"[3.8.2.1.2] subscription identifier 0 from a client", 5, pkt(0x30, str("a"), props(0x0B, 0)), 0x82},
	{"[MQTT-3.3.2-8] topic alias 0", 5, pkt(0x30, str("a"), props(0x23, u16(0))), 0x94},
	{"[MQTT-3.3.2-8] topic alias 0 without topic", 5, pkt(0x30, str(""), props(0x23, u16(0))), 0x94},
	{"[2.2.2.2] payload format 2", 5, pkt(0x30, str("a"), props(0x01, 2)), 0x82},
	{"[3.3.2.3.2] payload format 1 without UTF-8", 5, pkt(0x30, str("a"), props(0x01, 1), "\xff"), 0x99},
	{"[MQTT-3.3.2-14] response topic with +", 5, pkt(0x30, str("a"), props(0x08, str("r/+"))), 0x82},
	{"[MQTT-3.3.2-14] response topic with #", 5, pkt(0x30, str("a"), props(0x08, str("#"))), 0x82},
	{"[MQTT-4.7.3-1] empty response topic", 5, pkt(0x30, str("a"), props(0x08, str(""))), 0x82},
	{"[MQTT-1.5.4-1] response topic is not UTF-8", 5, pkt(0x30, str("a"), props(0x08, str("\xff"))), 0x81},
	{"[MQTT-1.5.4-1] content type is not UTF-8", 5, pkt(0x30, str("a"), props(0x03, str("\xff"))), 0x81},
	{"[MQTT-1.5.4-2] content type with U+0000", 5, pkt(0x30, str("a"), props(0x03, str("\x00"))), 0x81},
	{"[MQTT-1.5.4-1] user property key is not UTF-8", 5, pkt(0x30, str("a"), props(user("\xff", "v"))), 0x81},
	{"[MQTT-1.5.4-1] user property value is not UTF-8", 5, pkt(0x30, str("a"), props(user("k", "\xff"))), 0x81},
	{"[2.2.2.2] duplicate payload format", 5, pkt(0x30, str("a"), props(0x01, 1, 0x01, 1)), 0x82},
	{"[2.2.2.2] duplicate message expiry", 5, pkt(0x30, str("a"), props(0x02, u32(1), 0x02, u32(1))), 0x82},
	{"[2.2.2.2] duplicate content type", 5, pkt(0x30, str("a"), props(0x03, str("t"), 0x03, str("t"))), 0x82},
	{"[2.2.2.2] duplicate response topic", 5, pkt(0x30, str("a"), props(0x08, str("t"), 0x08, str("t"))), 0x82},
	{"[2.2.2.2] duplicate correlation data", 5, pkt(0x30, str("a"), props(0x09, str("t"), 0x09, str("t"))), 0x82},
	{"[2.2.2.2] duplicate topic alias", 5, pkt(0x30, str("a"), props(0x23, u16(1), 0x23, u16(2))), 0x82},
	{"[1.5] second topic alias is cut off", 5, pkt(0x30, str("a"), props(0x23, u16(1), 0x23, 0)), 0x81},

	// PUBLISH, MQTT 3
	{"3.1.1 QoS 0", 4, pkt(0x30, str("a/b"), "x"), 0},
	{"3.1.1 QoS 1", 4, pkt(0x32, str("a/b"), u16(1), "x"), 0},
	{"3.1.1 QoS 2 DUP", 4, pkt(0x3C, str("a/b"), u16(1)), 0},
	{"3.1 QoS 1", 3, pkt(0x32, str("a/b"), u16(1), "x"), 0},
	{"3.1.1 payload that looks like properties", 4, pkt(0x30, str("a"), 0xFF, 0xFF), 0},
	{"[MQTT-3.3.1-4] 3.1.1 QoS 3", 4, pkt(0x36, str("a"), u16(1)), 0x81},
	{"[MQTT-3.3.1-2] 3.1.1 DUP with QoS 0", 4, pkt(0x38, str("a")), 0x81},
	{"[MQTT-2.3.1-1] 3.1.1 packet identifier 0", 4, pkt(0x32, str("a"), u16(0)), 0x82},
	{"[MQTT-4.7.3-1] 3.1.1 empty topic", 4, pkt(0x30, str(""), "x"), 0x82},
	{"[MQTT-3.3.2-2] 3.1.1 topic with +", 4, pkt(0x30, str("a+")), 0x90},
	{"[MQTT-1.5.3-2] 3.1.1 topic with U+0000", 4, pkt(0x30, str("\x00")), 0x81},
	{"[MQTT-1.5.3-1] 3.1.1 topic with a surrogate", 4, pkt(0x30, str("\xED\xA0\x80")), 0x81},
	{"[MQTT-3.3.2-2] 3.1 topic with #", 3, pkt(0x30, str("#")), 0x90},
	{"[1.5] 3.1.1 no packet identifier", 4, pkt(0x34, str("a")), 0x81},

	// Acknowledgements
	{"PUBACK", 5, pkt(0x40, u16(1)), 0},
	{"PUBREC", 5, pkt(0x50, u16(1)), 0},
	{"PUBREL", 5, pkt(0x62, u16(1)), 0},
	{"PUBCOMP", 5, pkt(0x70, u16(1)), 0},
	{"PUBACK with reason", 5, pkt(0x40, u16(1), 0x00), 0},
	{"PUBACK with error", 5, pkt(0x40, u16(1), 0x97), 0},
	{"PUBACK with 0x10", 5, pkt(0x40, u16(1), 0x10), 0},
	{"PUBACK with no properties", 5, pkt(0x40, u16(1), 0x00, props()), 0},
	{"PUBACK with properties", 5, pkt(0x40, u16(1), 0x80, props(0x1F, str("no"), user("k", "v"), user("k", "v"))), 0},
	{"PUBREC with error and properties", 5, pkt(0x50, u16(1), 0x99, props(0x1F, str("no"))), 0},
	{"PUBREL with 0x92", 5, pkt(0x62, u16(1), 0x92), 0},
	{"PUBCOMP with 0x92", 5, pkt(0x70, u16(1), 0x92, props()), 0},
	{"3.1.1 PUBACK", 4, pkt(0x40, u16(65535)), 0},
	{"3.1.1 PUBREL", 4, pkt(0x62, u16(1)), 0},
	{"3.1 PUBCOMP", 3, pkt(0x70, u16(1)), 0},
	{"[MQTT-2.1.3-1] PUBACK flags", 5, pkt(0x42, u16(1)), 0x81},
	{"[MQTT-2.1.3-1] PUBREC flags", 5, pkt(0x51, u16(1)), 0x81},
	{"[MQTT-3.6.1-1] PUBREL flags 0000", 5, pkt(0x60, u16(1)), 0x81},
	{"[MQTT-3.6.1-1] PUBREL flags 0011", 4, pkt(0x63, u16(1)), 0x81},
	{"[MQTT-2.1.3-1] PUBCOMP flags", 4, pkt(0x72, u16(1)), 0x81},
	{"[MQTT-2.2.1-3] PUBACK identifier 0", 5, pkt(0x40, u16(0)), 0x82},
	{"[MQTT-2.3.1-1] 3.1.1 PUBREL identifier 0", 4, pkt(0x62, u16(0)), 0x82},
	{"[1.5] PUBACK without identifier", 5, pkt(0x40), 0x81},
	{"[1.5] PUBACK with half an identifier", 4, pkt(0x40, 1), 0x81},
	{"[4.13] 3.1.1 PUBACK of three bytes", 4, pkt(0x40, u16(1), 0), 0x81},
	{"[4.13] 3.1 PUBREC of four bytes", 3, pkt(0x50, u16(1), 0, 0), 0x81},
	{"[MQTT-3.4.2-1] PUBACK reason 0x92", 5, pkt(0x40, u16(1), 0x92), 0x82},
	{"[MQTT-3.4.2-1] PUBACK reason 0x01", 5, pkt(0x40, u16(1), 0x01), 0x82},
	{"[MQTT-3.5.2-1] PUBREC reason 0x81", 5, pkt(0x50, u16(1), 0x81), 0x82},
	{"[MQTT-3.6.2-1] PUBREL reason 0x80", 5, pkt(0x62, u16(1), 0x80), 0x82},
	{"[MQTT-3.7.2-1] PUBCOMP reason 0x10", 5, pkt(0x70, u16(1), 0x10), 0x82},
	{"[2.2.2.1] PUBACK properties run past the end", 5, pkt(0x40, u16(1), 0, 9), 0x81},
	{"[4.13] PUBACK with bytes after its properties", 5, pkt(0x40, u16(1), 0, 0, 0), 0x81},
	{"[2.2.2.2] PUBACK with two reason strings", 5, pkt(0x40, u16(1), 0, props(0x1F, str("a"), 0x1F, str("a"))), 0x82},
	{"[2.2.2.2] PUBACK with a topic alias", 5, pkt(0x40, u16(1), 0, props(0x23, u16(1))), 0x81},
	{"[2.2.2.2] PUBREL with session expiry", 5, pkt(0x62, u16(1), 0, props(0x11, u32(1))), 0x81},
	{"[MQTT-1.5.4-1] PUBREC reason string is not UTF-8", 5, pkt(0x50, u16(1), 0, props(0x1F, str("\xff"))), 0x81},

	// SUBSCRIBE
	{"one filter", 5, sub(u16(1), props(), str("a/#"), 0x01), 0},
	{"three filters", 5, sub(u16(1), props(), str("a"), 0, str("b"), 1, str("+/c"), 2), 0},
	{"all options", 5, sub(u16(1), props(), str("a"), 0x2E), 0},
	{"Retain Handling 1", 5, sub(u16(1), props(), str("a"), 0x10), 0},
	{"subscription identifier", 5, sub(u16(1), props(0x0B, 0xFF, 0xFF, 0xFF, 0x7F, user("k", "v")), str("a"), 0), 0},
	{"shared", 5, sub(u16(1), props(), str("$share/g/a"), 0x01), 0},
	{"a misplaced wildcard is for SUBACK", 5, sub(u16(1), props(), str("a#"), 0, str("a+/b"), 0), 0},
	{"a bad share name is for SUBACK", 5, sub(u16(1), props(), str("$share//a"), 0), 0},
	{"3.1.1 one filter", 4, sub(u16(1), str("a"), 0), 0},
	{"3.1.1 two filters", 4, sub(u16(1), str("a"), 2, str("#"), 1), 0},
	{"3.1 one filter", 3, sub(u16(1), str("a"), 1), 0},
	{"[MQTT-3.8.1-1] flags 0000", 5, pkt(0x80, u16(1), props(), str("a"), 0), 0x81},
	{"[MQTT-3.8.1-1] flags 0011", 4, pkt(0x83, u16(1), str("a"), 0), 0x81},
	{"[MQTT-3.8.1-1] flags with DUP", 3, pkt(0x8A, u16(1), str("a"), 0), 0x81},
	{"[MQTT-2.2.1-3] SUBSCRIBE identifier 0", 5, sub(u16(0), props(), str("a"), 0), 0x82},
	{"[MQTT-2.3.1-1] 3.1.1 SUBSCRIBE identifier 0", 4, sub(u16(0), str("a"), 0), 0x82},
	{"[MQTT-3.8.3-2] no filter", 5, sub(u16(1), props()), 0x82},
	{"[MQTT-3.8.3-3] 3.1.1 no filter", 4, sub(u16(1)), 0x82},
	{"[1.5] SUBSCRIBE without identifier", 5, sub(), 0x81},
	{"[1.5] SUBSCRIBE without property length", 5, sub(u16(1)), 0x81},
	{"[1.5] SUBSCRIBE without options (killed mochi)", 5, sub(u16(1), props(), str("a")), 0x81},
	{"[1.5] second filter without options", 5, sub(u16(1), props(), str("a"), 0, str("b")), 0x81},
	{"[1.5] filter runs past the end", 5, sub(u16(1), props(), 0, 9, "a", 0), 0x81},
	{"[1.5] half a filter length", 4, sub(u16(1), str("a"), 0, 0), 0x81},
	{"[1.5] 3.1.1 no QoS", 4, sub(u16(1), str("a")), 0x81},
	{"[MQTT-4.7.3-1] filter is empty", 5, sub(u16(1), props(), str(""), 0), 0x81},
	{"[MQTT-4.7.3-1] 3.1.1 filter is empty", 4, sub(u16(1), str(""), 0), 0x81},
	{"[MQTT-1.5.4-2] filter with U+0000", 5, sub(u16(1), props(), str("a\x00"), 0), 0x81},
	{"[MQTT-1.5.4-1] filter is not UTF-8", 5, sub(u16(1), props(), str("\xff"), 0), 0x81},
	{"[MQTT-1.5.3-1] 3.1.1 filter is not UTF-8", 4, sub(u16(1), str("\xff"), 0), 0x81},
	{"[3.8.3.1] subscription with QoS 3", 5, sub(u16(1), props(), str("a"), 3), 0x82},
	{"[MQTT-3.8.3-4] 3.1.1 subscription with QoS 3", 4, sub(u16(1), str("a"), 3), 0x81},
	{"[3.8.3.1] Retain Handling 3", 5, sub(u16(1), props(), str("a"), 0x30), 0x82},
	{"[MQTT-3.8.3-5] reserved bit 6", 5, sub(u16(1), props(), str("a"), 0x40), 0x81},
	{"[MQTT-3.8.3-5] reserved bit 7", 5, sub(u16(1), props(), str("a"), 0x80), 0x81},
	{"[MQTT-3.8.3-4] 3.1.1 No Local", 4, sub(u16(1), str("a"), 4), 0x81},
	{"[MQTT-3.8.3-4] 3.1.1 reserved bit 7", 4, sub(u16(1), str("a"), 0x80), 0x81},
	{"[MQTT-3.8.3-4] No Local on a shared subscription", 5, sub(u16(1), props(), str("$share/g/a"), 4), 0x82},
	{"[3.8.2.1.2] subscription identifier 0 in SUBSCRIBE", 5, sub(u16(1), props(0x0B, 0), str("a"), 0), 0x82},
	{"[2.2.2.2] two subscription identifiers", 5, sub(u16(1), props(0x0B, 1, 0x0B, 2), str("a"), 0), 0x82},
	{"[1.5.5] subscription identifier of five bytes in SUBSCRIBE", 5, sub(u16(1), props(0x0B, 0xFF, 0xFF, 0xFF, 0xFF, 1), str("a"), 0), 0x81},
	{"[2.2.2.2] reason string in SUBSCRIBE", 5, sub(u16(1), props(0x1F, str("x")), str("a"), 0), 0x81},

	// UNSUBSCRIBE
	{"UNSUBSCRIBE one filter", 5, unsub(u16(1), props(), str("a")), 0},
	{"UNSUBSCRIBE two filters and user property", 5, unsub(u16(1), props(user("k", "v")), str("a"), str("#")), 0},
	{"3.1.1 UNSUBSCRIBE", 4, unsub(u16(1), str("a"), str("b")), 0},
	{"3.1 UNSUBSCRIBE", 3, unsub(u16(1), str("a")), 0},
	{"[MQTT-3.10.1-1] UNSUBSCRIBE flags 0000", 5, pkt(0xA0, u16(1), props(), str("a")), 0x81},
	{"[MQTT-2.2.1-3] UNSUBSCRIBE identifier 0", 5, unsub(u16(0), props(), str("a")), 0x82},
	{"[MQTT-3.10.3-2] UNSUBSCRIBE without filter", 5, unsub(u16(1), props()), 0x82},
	{"[MQTT-3.10.3-2] 3.1.1 UNSUBSCRIBE without filter", 4, unsub(u16(1)), 0x82},
	{"[MQTT-4.7.3-1] UNSUBSCRIBE with an empty filter", 5, unsub(u16(1), props(), str("")), 0x81},
	{"[1.5] UNSUBSCRIBE filter runs past the end", 4, unsub(u16(1), 0, 2, "a"), 0x81},
	{"[2.2.2.2] subscription identifier in UNSUBSCRIBE", 5, unsub(u16(1), props(0x0B, 1), str("a")), 0x81},
	{"[MQTT-1.5.4-1] UNSUBSCRIBE filter is not UTF-8", 5, unsub(u16(1), props(), str("\xff")), 0x81},

	// PINGREQ
	{"PINGREQ", 5, pkt(0xC0), 0},
	{"3.1.1 PINGREQ", 4, pkt(0xC0), 0},
	{"[4.13] PINGREQ with a body", 5, pkt(0xC0, 0), 0x81},
	{"[4.13] 3.1.1 PINGREQ with a body", 4, pkt(0xC0, 0), 0x81},
	{"[MQTT-2.1.3-1] PINGREQ flags", 4, pkt(0xC1), 0x81},

	// DISCONNECT
	{"DISCONNECT", 5, pkt(0xE0), 0},
	{"DISCONNECT with reason", 5, pkt(0xE0, 0x04), 0},
	{"DISCONNECT with no properties", 5, pkt(0xE0, 0x00, props()), 0},
	{"DISCONNECT with properties", 5, pkt(0xE0, 0x00, props(0x11, u32(0), 0x1F, str("bye"), user("k", "v"))), 0},
	{"DISCONNECT with an error", 5, pkt(0xE0, 0x93), 0},
	{"3.1.1 DISCONNECT", 4, pkt(0xE0), 0},
	{"3.1 DISCONNECT", 3, pkt(0xE0), 0},
	{"[MQTT-3.14.1-1] DISCONNECT flags", 5, pkt(0xE1), 0x81},
	{"[MQTT-3.14.2-1] DISCONNECT reason 0x01", 5, pkt(0xE0, 0x01), 0x82},
	{"[MQTT-3.14.2-1] DISCONNECT reason only a server has (0x8E)", 5, pkt(0xE0, 0x8E), 0x82},
	{"[MQTT-3.14.2-1] DISCONNECT reason only a server has (0x87)", 5, pkt(0xE0, 0x87, props()), 0x82},
	{"[4.13] 3.1.1 DISCONNECT with a body", 4, pkt(0xE0, 0), 0x81},
	{"[2.2.2.2] DISCONNECT with two session expiries", 5, pkt(0xE0, 0, props(0x11, u32(0), 0x11, u32(0))), 0x82},
	{"[2.2.2.2] DISCONNECT with a Receive Maximum", 5, pkt(0xE0, 0, props(0x21, u16(1))), 0x81},
	{"[4.13] DISCONNECT with bytes after its properties", 5, pkt(0xE0, 0, 0, 0), 0x81},
	{"[2.2.2.1] DISCONNECT properties run past the end", 5, pkt(0xE0, 0, 4), 0x81},

	// AUTH
	{"AUTH continue", 5, pkt(0xF0, 0x18, props(0x15, str("m"), 0x16, str("d"))), 0},
	{"AUTH again", 5, pkt(0xF0, 0x19, props(0x15, str("m"), 0x1F, str("r"), user("k", "v"))), 0},
	{"[2.1.2] AUTH in 3.1.1", 4, pkt(0xF0), 0x82},
	{"[3.15.2.2.2] AUTH without a body", 5, pkt(0xF0), 0x82},
	{"[MQTT-3.15.2-1] AUTH reason 0x00 is the server's", 5, pkt(0xF0, 0x00, props(0x15, str("m"))), 0x82},
	{"[MQTT-3.15.2-1] AUTH reason 0x1A", 5, pkt(0xF0, 0x1A, props(0x15, str("m"))), 0x82},
	{"[1.5] AUTH without property length", 5, pkt(0xF0, 0x18), 0x81},
	{"[3.15.2.2.2] AUTH without method", 5, pkt(0xF0, 0x18, props()), 0x82},
	{"[3.1.2.11.10] AUTH with data and no method", 5, pkt(0xF0, 0x18, props(0x16, str("d"))), 0x82},
	{"[2.2.2.2] AUTH with two methods", 5, pkt(0xF0, 0x18, props(0x15, str("m"), 0x15, str("m"))), 0x82},
	{"[4.13] AUTH with bytes after its properties", 5, pkt(0xF0, 0x18, props(0x15, str("m")), 0), 0x81},
	{"[MQTT-3.15.1-1] AUTH flags", 5, pkt(0xF2, 0x18, props(0x15, str("m"))), 0x81},

	// Packets that a client must not send, and fixed headers
	{"[MQTT-3.1.0-2] second CONNECT", 5, connect5(0x02, props(), str("c")), 0x82},
	{"[MQTT-3.1.0-2] 3.1.1 second CONNECT", 4, connect4(0x02, str("c")), 0x82},
	{"[2.1.2] CONNACK", 5, pkt(0x20, 0, 0, 0), 0x82},
	{"[2.1.2] SUBACK", 4, pkt(0x90, u16(1), 0), 0x82},
	{"[2.1.2] UNSUBACK", 4, pkt(0xB0, u16(1)), 0x82},
	{"[2.1.2] PINGRESP", 5, pkt(0xD0), 0x82},
	{"[2.1.2] type 0", 5, []byte{0x00, 0x00}, 0x81},
	{"[MQTT-1.5.5-1] remaining length is not minimal", 5, []byte{0xC0, 0x80, 0x00}, 0x81},
	{"[MQTT-1.5.5-1] remaining length of four bytes is not minimal", 4, []byte{0x40, 0x82, 0x80, 0x80, 0x00, 0, 1}, 0x81},
	{"[1.5.5] remaining length of five bytes", 5, []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x01}, 0x81},
	{"[1.5.5] remaining length without end", 4, []byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF}, 0x81},
	{"[2.1.4] no bytes", 5, nil, 0x81},
	{"[2.1.4] half a header", 5, []byte{0x30}, 0x81},
	{"[2.1.4] the body is missing", 5, []byte{0x30, 0x05}, 0x81},
	{"[2.1.4] the remaining length claims 256 MB", 5, []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, 'a', 0}, 0x81},
}

func TestGuard(t *testing.T) {
	for _, c := range guardCases {
		t.Run(fmt.Sprintf("%d/%s", c.version, c.name), func(t *testing.T) {
			err := judge(t, c.version, c.p)
			expect(t, c.name, err, c.code)
			if err == nil && len(c.p) < 1000 {
				fixed := true // otherwise one more byte may be payload, a reason code or a property length
				switch typ := c.p[0] >> 4; {
				case typ == TypePublish, c.version == V5 && (typ <= TypePubcomp || typ == TypeDisconnect):
					fixed = false
				}
				cutAndExtend(t, c.p, func(p []byte) *Error { return judge(t, c.version, p) }, fixed)
			}
		})
	}
}

// TestReasonCodes tries every reason code that a client may send, and no other.
func TestReasonCodes(t *testing.T) {
	ack := "00 10 80 83 87 90 91 97 99"
	for _, c := range []struct {
		first byte
		body  []byte // before the code
		rest  []byte // after it
		codes string
	}{
		{0x40, u16(1), nil, ack},
		{0x50, u16(1), nil, ack},
		{0x62, u16(1), nil, "00 92"},
		{0x70, u16(1), nil, "00 92"},
		{0xE0, nil, nil, "00 04 80 81 82 83 90 93 94 95 96 97 98 99"},
		{0xF0, nil, props(0x15, str("m")), "18 19"},
	} {
		var got []string
		for code := range 256 {
			if Check(pkt(c.first, c.body, code, c.rest), V5) == nil {
				got = append(got, fmt.Sprintf("%02x", code))
			}
		}
		if s := strings.Join(got, " "); s != c.codes {
			t.Errorf("packet %#x: accepts %s, want %s", c.first, s, c.codes)
		}
	}
}

// TestPropertyTable is table 2-4 of MQTT 5: the properties that each packet of a client may
// contain.
func TestPropertyTable(t *testing.T) {
	values := map[int][]byte{
		0x01: {1}, 0x02: u32(1), 0x03: str("x"), 0x08: str("x"), 0x09: str("x"), 0x0B: {1}, 0x11: u32(1),
		0x12: str("x"), 0x13: u16(1), 0x15: str("x"), 0x16: str("x"), 0x17: {1}, 0x18: u32(1), 0x19: {1},
		0x1A: str("x"), 0x1C: str("x"), 0x1F: str("x"), 0x21: u16(1), 0x22: u16(1), 0x23: u16(1), 0x24: {1},
		0x25: {1}, 0x26: cat(str("k"), str("v")), 0x27: u32(1), 0x28: {1}, 0x29: {1}, 0x2A: {1},
	}
	method := cat(0x15, str("m"))
	for _, c := range []struct {
		packet string
		build  func(prop []byte) []byte
		first  bool
		want   string
	}{
		{"CONNECT", func(p []byte) []byte { return connect5(2, props(p), str("c")) }, true, "11 15 17 19 21 22 26 27"},
		{"CONNECT with method", func(p []byte) []byte { return connect5(2, props(method, p), str("c")) }, true, "11 16 17 19 21 22 26 27"},
		{"will", func(p []byte) []byte { return connect5(wf0, props(), str("c"), props(p), str("w"), str("")) }, true, "01 02 03 08 09 18 26"},
		{"PUBLISH", func(p []byte) []byte { return pkt(0x30, str("a"), props(p)) }, false, "01 02 03 08 09 23 26"},
		{"PUBACK", func(p []byte) []byte { return pkt(0x40, u16(1), 0, props(p)) }, false, "1f 26"},
		{"PUBREC", func(p []byte) []byte { return pkt(0x50, u16(1), 0, props(p)) }, false, "1f 26"},
		{"PUBREL", func(p []byte) []byte { return pkt(0x62, u16(1), 0, props(p)) }, false, "1f 26"},
		{"PUBCOMP", func(p []byte) []byte { return pkt(0x70, u16(1), 0, props(p)) }, false, "1f 26"},
		{"SUBSCRIBE", func(p []byte) []byte { return sub(u16(1), props(p), str("a"), 0) }, false, "0b 26"},
		{"UNSUBSCRIBE", func(p []byte) []byte { return unsub(u16(1), props(p), str("a")) }, false, "26"},
		{"DISCONNECT", func(p []byte) []byte { return pkt(0xE0, 0, props(p)) }, false, "11 1c 1f 26"},
		{"AUTH with method", func(p []byte) []byte { return pkt(0xF0, 0x18, props(method, p)) }, false, "16 1f 26"},
	} {
		var got []string
		for id := range 256 {
			value, known := values[id]
			if !known {
				value = []byte{1}
			}
			p := c.build(cat(id, value))
			var err *Error
			if c.first {
				_, err = judgeConnect(t, p)
			} else {
				err = judge(t, V5, p)
			}
			if err == nil {
				got = append(got, fmt.Sprintf("%02x", id))
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: accepts %s, want %s", c.packet, s, c.want)
		}
	}
}

func TestReadHeader(t *testing.T) {
	for _, c := range []struct {
		name      string
		b         []byte
		ok        bool
		len, body int
	}{
		{"no bytes", nil, false, 0, 0},
		{"only the type", []byte{0x30}, false, 0, 0},
		{"length is not complete", []byte{0x30, 0x80}, false, 0, 0},
		{"length is not complete, three bytes", []byte{0x30, 0xFF, 0xFF, 0xFF}, false, 0, 0},
		{"empty body", []byte{0xC0, 0}, true, 2, 2},
		{"body has not come", []byte{0x30, 10}, true, 12, 2},
		{"two bytes", []byte{0x30, 0x80, 0x01}, true, 131, 3},
		{"three bytes", []byte{0x30, 0x80, 0x80, 0x01}, true, 16388, 4},
		{"the largest", []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, true, 5 + MaxRemaining, 5},
	} {
		h, ok, err := ReadHeader(c.b)
		if err != nil || ok != c.ok || (ok && (h.Len != c.len || h.Body != c.body || h.Type != c.b[0]>>4)) {
			t.Errorf("%s: %+v %v %v", c.name, h, ok, err)
		}
	}
	// The first byte alone suffices to refuse: all 256 of them.
	var good []string
	for b := range 256 {
		if _, _, err := ReadHeader([]byte{byte(b)}); err == nil {
			good = append(good, fmt.Sprintf("%02x", b))
		}
	}
	want := "10 20 30 31 32 33 34 35 3a 3b 3c 3d 40 50 62 70 82 90 a2 b0 c0 d0 e0 f0"
	if s := strings.Join(good, " "); s != want {
		t.Errorf("first bytes accepted: %s\nwant %s", s, want)
	}
}
