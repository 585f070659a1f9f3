package broker_test

// This file is the cases about topic names and filters, access rules, $SYS and $bus.

import (
	"fmt"
	"testing"

	"github.com/postbus/postbus/bus/broker"
)

func TestFilters(t *testing.T) {
	var cases []script
	for _, c := range []struct {
		statement, filter, topic string
		match                    bool
	}{
		{"MQTT-4.7.1-1", "#", "a", true},
		{"MQTT-4.7.1-1", "#", "a/b/c", true},
		{"MQTT-4.7.1-1", "#", "/", true},
		{"MQTT-4.7.1-1", "a/#", "a", true},
		{"MQTT-4.7.1-1", "a/#", "a/", true},
		{"MQTT-4.7.1-1", "a/#", "a/b/c", true},
		{"MQTT-4.7.1-1", "a/#", "ab", false},
		{"MQTT-4.7.1-1", "a/#", "b/a", false},
		{"MQTT-4.7.1-1", "a/#", "/a", false},
		{"MQTT-4.7.1-1", "/#", "/a", true},
		{"MQTT-4.7.1-1", "/#", "a", false},
		{"MQTT-4.7.1-2", "+", "a", true},
		{"MQTT-4.7.1-2", "+", "a/b", false},
		{"MQTT-4.7.1-2", "+", "/a", false},
		{"MQTT-4.7.1-2", "+/+", "/a", true},
		{"MQTT-4.7.1-2", "/+", "/a", true},
		{"MQTT-4.7.1-2", "/+", "a", false},
		{"MQTT-4.7.1-2", "a/+", "a", false},
		{"MQTT-4.7.1-2", "a/+", "a/", true},
		{"MQTT-4.7.1-2", "a/+", "a/b/c", false},
		{"MQTT-4.7.1-2", "a/+/c", "a//c", true},
		{"MQTT-4.7.1-2", "a/+/#", "a/b", true},
		{"MQTT-4.7.1-2", "a/+/#", "a", false},
		{"MQTT-4.7.1-2", "+/#", "a", true},
		{"MQTT-4.7.1-2", "+/b/#", "a/b", true},
		{"MQTT-4.7.1-2", "+/+/c", "a/b/c", true},
		{"MQTT-4.7.2-1", "#", "$d", false},
		{"MQTT-4.7.2-1", "+", "$d", false},
		{"MQTT-4.7.2-1", "+/a", "$d/a", false},
		{"MQTT-4.7.2-1", "$d/#", "$d/a", true},
		{"MQTT-4.7.2-1", "$d/+", "$d/a", true},
		{"MQTT-4.7.2-1", "$d/#", "$d", true},
		{"MQTT-4.7.2-1", "a/#", "a/$x", true},
		{"4.7.1.1", "//", "//", true},
		{"4.7.1.1", "//", "/", false},
		{"4.7.1.1", "/a", "a", false},
		{"4.7.3", "a", "A", false},
		{"4.7.3", "Grüße/+", "Grüße/ß", true},
		{"4.7.3", "a\u0301", "\u00e1", false}, // no normalization
		{"MQTT-1.5.4-3", "\ufeffa", "\ufeffa", true},
		{"MQTT-1.5.4-3", "a", "\ufeffa", false},
		{"MQTT-4.7.3-4", "😀/#", "😀/x", true},
	} {
		is, live, kept := "does not match", "", ""
		if c.match {
			is = "matches"
			live = "s< PUBLISH * now q0\ns< PUBLISH * live q1 id=$x\ns< PUBLISH * kept q1 id=$y"
			kept = "r< PUBLISH * kept q1 id=$z retain"
		}
		cases = append(cases, script{statement: c.statement, title: c.filter + " " + is + " " + c.topic, text: fmt.Sprintf(`
			a full
			s full
			s> SUBSCRIBE 1 %[1]s,1
			s< SUBACK 1 01
			a> PUBLISH %[2]s now && PINGREQ
			a< PINGRESP
			a> PUBLISH %[2]s live q1 id=1
			a< PUBACK 1
			a> PUBLISH %[2]s kept q1 id=1 retain
			a< PUBACK 1
			%[3]s
			s< nothing
			r full
			r> SUBSCRIBE 1 %[1]s,1
			r< SUBACK 1 01
			%[4]s
			r< nothing`, c.filter, c.topic, live, kept)})
	}
	runScripts(t, only5, cases)
}

func TestTopics(t *testing.T) {
	runScripts(t, both, []script{
		{statement: "MQTT-4.7.1-1", title: "filters with misplaced wildcards are refused one by one", text: `
			s full
			s> SUBSCRIBE 1 a#,1 a/#/b,1 #a,1 a+,1 +a/b,1 a/b+,1 a,1 a/+b/c,1 ##,1 ++,1
			s< SUBACK 1 8f 8f 8f 8f 8f 8f 01 8f 8f 8f`, versions: only5},
		{statement: "MQTT-4.7.1-1", title: "filters with misplaced wildcards are refused one by one", text: `
			s full
			s> SUBSCRIBE 1 a#,1 a/#/b,1 a,1 a+,2
			s< SUBACK 1 80 80 01 80`, versions: only4},
		{statement: "3.11.3", title: "UNSUBACK has a reason code for each invalid filter", text: `
			s full
			s> SUBSCRIBE 1 a,1
			s< SUBACK 1 01
			s> UNSUBSCRIBE 2 a b a#
			s< UNSUBACK 2 00 11 8f`},
		{statement: "MQTT-4.7.3-1", title: "an empty filter is refused", text: `
			s full
			s> SUBSCRIBE 1 "",1
			s< DISCONNECT 81
			s< closed`},
		{statement: "MQTT-4.7.3-2", title: "a filter with U+0000 is refused", text: `
			s full
			s> SUBSCRIBE 1 a\x00,1
			s< DISCONNECT 81
			s< closed`},
		{statement: "MQTT-3.8.3-1", title: "a filter that is not UTF-8 is refused", text: `
			s full
			s> SUBSCRIBE 1 a\xed\xa0\x80,1
			s< DISCONNECT 81
			s< closed`},
		{statement: "MQTT-3.8.3-2", title: "SUBSCRIBE without a filter is a protocol error", text: `
			s full
			s> SUBSCRIBE 1
			s< DISCONNECT 82
			s< closed`},
		{statement: "MQTT-3.10.3-2", title: "UNSUBSCRIBE without a filter is a protocol error", text: `
			s full
			s> UNSUBSCRIBE 1
			s< DISCONNECT 82
			s< closed`},
		{statement: "MQTT-3.8.1-1", title: "SUBSCRIBE with other flags is malformed", text: `
			s full
			s> HEX 80 07 00 01 00 00 01 74 00
			s< DISCONNECT 81
			s< closed`},
		{statement: "MQTT-4.7.3-3", title: "a topic of 65535 bytes works", text: `
			s full
			s> SUBSCRIBE 1 t*65535,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t*65535 x q1 id=1
			a< PUBACK 1
			s< PUBLISH t*65535 x q1 id=$x`},
		{statement: "3.3.2.1", title: "a topic of many levels works", text: `
			s full
			s> SUBSCRIBE 1 /*127,1 +/#,0
			s< SUBACK 1 01 00
			a full
			a> PUBLISH /*127 x q1 id=1
			s< PUBLISH /*127 x q1 id=$x`},
		{statement: "4.7.2", title: "publishing to $SYS or $bus is refused", text: `
			s full
			s> SUBSCRIBE 1 $SYS/x,1 $bus/x,1 $other/x,1
			s< SUBACK 1 01 01 01
			a full
			a> PUBLISH $SYS/x 1 q1 id=1 && PUBLISH $bus/x 2 q2 id=2 && PUBLISH $SYS/x 3 && PUBLISH $other/x 4 q1 id=3
			a< PUBACK 1 87 reason=the_user_may_not_publish_to_this_topic
			a< PUBREC 2 87 reason=the_user_may_not_publish_to_this_topic
			a< PUBACK 3
			s< PUBLISH $other/x 4 q1 id=$x
			s< nothing`, versions: only5},
		{statement: "MQTT-3.3.5-2", title: "MQTT 3 has no refusal: a forbidden publish is acknowledged and dropped", text: `
			s full
			s> SUBSCRIBE 1 $SYS/x,1 $bus/lost,1
			s< SUBACK 1 01 01
			a full
			a> PUBLISH $SYS/x 1 q1 id=1
			a< PUBACK 1
			s< PUBLISH $bus/lost * q0
			a> PUBLISH $SYS/x 2 q2 id=2 && PUBREL 2
			a< PUBREC 2
			a< PUBCOMP 2
			s< PUBLISH $bus/lost * q0
			s< nothing`, versions: only4},
		{statement: "5.4.2", title: "a client without the right to subscribe, publish or read gets a reason code and no event", options: broker.Options{Authenticate: guests}, text: `
			s full
			s> SUBSCRIBE 1 private,1 hidden,1 public,1
			s< SUBACK 1 87 01 01
			s> PUBLISH private x q1 id=1 && PUBLISH hidden x q1 id=2 && PUBLISH public x q1 id=3
			s< PUBACK 1 87 reason=the_user_may_not_publish_to_this_topic | PUBACK 2 | PUBACK 3 | PUBLISH public x q1 id=$x user=gap:1
			s< nothing`, versions: only5},
		{statement: "postbus", title: "$SYS has Mosquitto's names", text: `
			s full
			s> SUBSCRIBE 1 $SYS/broker/clients/+,0
			s< SUBACK 1 00
			s< PUBLISH $SYS/broker/clients/total * q0 retain | PUBLISH $SYS/broker/clients/connected * q0 retain | PUBLISH $SYS/broker/clients/disconnected * q0 retain | PUBLISH $SYS/broker/clients/active * q0 retain | PUBLISH $SYS/broker/clients/inactive * q0 retain | PUBLISH $SYS/broker/clients/maximum * q0 retain
			s> SUBSCRIBE 2 $SYS/broker/uptime,0
			s< SUBACK 2 00
			s< PUBLISH $SYS/broker/uptime * q0 retain
			s> SUBSCRIBE 3 $SYS/broker/load/messages/received/+,0
			s< SUBACK 3 00
			s< PUBLISH $SYS/broker/load/messages/received/1min * q0 retain | PUBLISH $SYS/broker/load/messages/received/5min * q0 retain | PUBLISH $SYS/broker/load/messages/received/15min * q0 retain`},
		{statement: "postbus", title: "$bus/state reports that the bus accepts events", text: `
			s full
			s> SUBSCRIBE 1 $bus/state,1
			s< SUBACK 1 01
			s< PUBLISH $bus/state * q0 retain`},
		{statement: "postbus", title: "$bus/lost reports an event that was too large", text: `
			w full
			w> SUBSCRIBE 1 $bus/lost,1
			w< SUBACK 1 01
			s full maxpacket=50
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t x*100 q1 id=1
			a< PUBACK 1
			w< PUBLISH $bus/lost {\"events\":1,\"reason\":\"too_large\",\"session\":\"s\"} q0`, versions: only5},
	})
}
