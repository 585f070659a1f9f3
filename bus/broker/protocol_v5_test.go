package broker_test

// This file is the cases that only MQTT 5 has: properties that are forwarded, expiry, aliases,
// packet sizes, flow control, subscription options and identifiers.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus/broker"
)

// publishes writes PUBLISH packets in one line, the i-th with id i and payload i.
func publishes(qos, from, to int) string {
	var all []string
	for i := from; i <= to; i++ {
		all = append(all, fmt.Sprintf("PUBLISH t %d q%d id=%d", i, qos, i))
	}
	return strings.Join(all, " && ")
}

// lines repeats a line with # replaced by each number.
func lines(from, to int, line string) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		b.WriteString("\n" + strings.ReplaceAll(line, "#", fmt.Sprint(i)))
	}
	return b.String()
}

const subscribed = `
			s full
			s> SUBSCRIBE 1 t/#,2
			s< SUBACK 1 02
			a full`

func TestV5(t *testing.T) {
	runScripts(t, only5, []script{
		{statement: "MQTT-3.3.2-4", title: "payload format and content type reach the subscriber unaltered", text: subscribed + `
			a> PUBLISH t x q1 id=1 format=1 content=text/plain
			s< PUBLISH t x q1 id=$x format=1 content=text/plain
			a> PUBLISH t x format=0
			s< PUBLISH t x q0 format=0`},
		{statement: "MQTT-3.3.2-15", title: "response topic and correlation data reach the subscriber unaltered", text: subscribed + `
			a> PUBLISH t x q1 id=1 response=a/b/c correlation=\x00\xff\x01
			s< PUBLISH t x q1 id=$x response=a/b/c correlation=\x00\xff\x01`},
		{statement: "MQTT-3.3.2-17", title: "user properties keep their order, also with the same name", text: subscribed + `
			a> PUBLISH t x q1 id=1 user=b:1 user=a:2 user=b:3 user=:
			s< PUBLISH t x q1 id=$x user=b:1 user=a:2 user=b:3 user="":""`},
		{statement: "MQTT-3.3.2-18", title: "properties survive while the client is offline, and a restart", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s drop
			a full
			a> PUBLISH t x q1 id=1 user=b:1 response=r expiry=1000 content=c correlation=d user=a:2 format=1
			a< PUBACK 1
			restart
			s full keep sessionexpiry=60
			s< PUBLISH t x q1 id=$x user=b:1 response=r expiry=* content=c correlation=d user=a:2 format=1`},
		{statement: "MQTT-3.3.2-13", title: "a response topic that is not UTF-8 is malformed", text: subscribed + `
			a> PUBLISH t x q1 id=1 response=a\xff
			a< DISCONNECT 81
			a< closed`},
		{statement: "MQTT-3.3.2-14", title: "a response topic with a wildcard is a protocol error", text: subscribed + `
			a> PUBLISH t x q1 id=1 response=a/#
			a< DISCONNECT 82
			a< closed`},
		{statement: "3.3.2.3.2", title: "a payload that is not the UTF-8 it claims to be gets PUBACK 99, and the session continues", text: subscribed + `
			a> PUBLISH t \xff q1 id=1 format=1 && PUBLISH t \xff q2 id=2 format=1
			a< PUBACK 1 99 reason=payload_is_not_the_UTF-8_its_format_indicator_says
			a< PUBREC 2 99 reason=payload_is_not_the_UTF-8_its_format_indicator_says
			s< nothing
			a> PUBLISH t x q2 id=2
			s< PUBLISH t x q2 id=$x`},
		{statement: "MQTT-3.3.4-6", title: "a subscription identifier in a client's PUBLISH is a protocol error", text: subscribed + `
			a> PUBLISH t x q1 id=1 sid=5
			a< DISCONNECT 82
			a< closed`},
		{statement: "2.2.2.2", title: "a property that PUBLISH does not have is malformed", text: subscribed + `
			a> PUBLISH t x q1 id=1 recvmax=5
			a< DISCONNECT 81
			a< closed`},
		{statement: "2.2.2.2", title: "the expiry twice is a protocol error", text: subscribed + `
			a> PUBLISH t x q1 id=1 expiry=5 expiry=6
			a< DISCONNECT 82
			a< closed`},
		{statement: "MQTT-3.3.2-6", title: "the expiry that is sent is the remaining one", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s drop
			a full
			a> PUBLISH t x q1 id=1 expiry=100
			a< PUBACK 1
			wait 1100ms
			s full keep sessionexpiry=60
			s< PUBLISH t x q1 id=$x expiry=9*`},
		{statement: "MQTT-3.3.2-5", title: "an expired message is not delivered, and the next one reports the gap", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s drop
			a full
			a> PUBLISH t x q1 id=1 expiry=1 && PUBLISH t y q1 id=2
			a< PUBACK 1
			a< PUBACK 2
			wait 1200ms
			s full keep sessionexpiry=60
			s< PUBLISH t y q1 id=$x user=gap:1
			s> PUBACK $x
			s< nothing`},
		{statement: "4.3.2", title: "a message that was sent before it expired is redelivered", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t x q1 id=1 expiry=1
			s< PUBLISH t x q1 id=$x expiry=*
			s drop
			wait 1200ms
			s full keep sessionexpiry=60
			s< PUBLISH t x q1 id=$x dup expiry=0`},
		{statement: "3.3.2.3.3", title: "a message with expiry 0 reaches connected subscribers", text: subscribed + `
			a> PUBLISH t x expiry=0
			s< PUBLISH t x q0 expiry=0`},
		{statement: "MQTT-3.3.2-7", title: "aliases stand for the topic and end with the connection", text: subscribed + `
			a> PUBLISH t/1 a q1 id=1 alias=1 && PUBLISH "" b q1 id=2 alias=1 && PUBLISH t/2 c q1 id=3 alias=1 && PUBLISH "" d alias=1
			a< PUBACK 1
			a< PUBACK 2
			a< PUBACK 3
			s< PUBLISH t/1 a q1 id=$x | PUBLISH t/1 b q1 id=$y | PUBLISH t/2 c q1 id=$z | PUBLISH t/2 d q0
			a full keep
			a> PUBLISH "" e alias=1
			a< DISCONNECT 82
			a< closed`},
		{statement: "MQTT-3.3.2-8", title: "alias 0 is invalid", text: subscribed + `
			a> PUBLISH t x alias=0
			a< DISCONNECT 94
			a< closed`},
		{statement: "MQTT-3.3.2-9", title: "an alias above the server's maximum is invalid", text: subscribed + `
			a> PUBLISH t x alias=64
			s< PUBLISH t x q0
			a> PUBLISH t x alias=65
			a< DISCONNECT 94
			a< closed`},
		{statement: "MQTT-3.3.2-12", title: "an alias that was never set is a protocol error", text: subscribed + `
			a> PUBLISH "" x q1 id=1 alias=3
			a< DISCONNECT 82
			a< closed`},
		{statement: "MQTT-3.1.2-26", title: "the server uses aliases up to the client's maximum", text: `
			s full aliasmax=1
			s> SUBSCRIBE 1 t/#,0
			s< SUBACK 1 00
			a full
			a> PUBLISH t/1 a
			s< PUBLISH t/1 a q0 alias=1
			a> PUBLISH t/1 b && PUBLISH t/2 c && PUBLISH t/1 d
			s< PUBLISH "" b q0 alias=1
			s< PUBLISH t/2 c q0
			s< PUBLISH "" d q0 alias=1`},
		{statement: "MQTT-3.1.2-27", title: "a client without alias maximum gets none", text: subscribed + `
			a> PUBLISH t/1 a && PUBLISH t/1 b
			s< PUBLISH t/1 a q0
			s< PUBLISH t/1 b q0`},
		{statement: "MQTT-3.3.2-7", title: "aliases of the server are per connection", text: `
			s full keep sessionexpiry=60 aliasmax=9
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1 && PUBLISH t 2 q1 id=2
			s< PUBLISH t 1 q1 id=$x alias=1
			s< PUBLISH "" 2 q1 id=$y alias=1
			s drop
			s full keep sessionexpiry=60 aliasmax=9
			s< PUBLISH t 1 q1 id=$x dup alias=1
			s< PUBLISH "" 2 q1 id=$y dup alias=1`},
		{statement: "MQTT-3.1.2-24", title: "a larger message is skipped, and the next one reports the gap", text: `
			s full maxpacket=100
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t x*200 q1 id=1 && PUBLISH t y*300 q1 id=2 && PUBLISH t z q1 id=3 && PUBLISH t u q1 id=4
			a< PUBACK 1
			a< PUBACK 2
			s< PUBLISH t z q1 id=$x user=gap:2
			s< PUBLISH t u q1 id=$y`},
		{statement: "MQTT-3.1.2-24", title: "a packet of exactly the client's maximum is sent", text: `
			s full maxpacket=100
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t x*92 q1 id=1 && PUBLISH t y*93 q1 id=2 && PUBLISH t z q1 id=3
			s< PUBLISH t x*92 q1 id=$x
			s< PUBLISH t z q1 id=$y user=gap:1`},
		{statement: "MQTT-3.1.2-24", title: "an alias does not make a packet too large", text: `
			s full maxpacket=100 aliasmax=9
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t x*91 q1 id=1 && PUBLISH t y q1 id=2
			s< PUBLISH t x*91 q1 id=$x
			s< PUBLISH t y q1 id=$y alias=1`},
		{statement: "MQTT-3.1.2-24", title: "an unacknowledged message that is too large for the next connection is skipped", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t x*200 q1 id=1 && PUBLISH t y q1 id=2
			s< PUBLISH t x*200 q1 id=$x
			s< PUBLISH t y q1 id=$y
			s drop
			s full keep sessionexpiry=60 maxpacket=100
			s< PUBLISH t y q1 id=$y dup user=gap:1`},
		{statement: "MQTT-3.3.4-9", title: "as many QoS 1 publishes in flight as the server's Receive Maximum", text: `
			a full
			a> ` + publishes(1, 1, 1024) + lines(1, 1024, `a< PUBACK #`)},
		{statement: "MQTT-3.3.4-9", title: "as many QoS 2 publishes in flight as the server's Receive Maximum", text: `
			a full
			a> ` + publishes(2, 1, 1024) + lines(1, 1024, `a< PUBREC #`) + `
			a> PUBREL 1
			a< PUBCOMP 1
			a> PUBLISH t x q2 id=1025
			a< PUBREC 1025`},
		{statement: "MQTT-3.3.4-9", title: "a client that bursts past 1,024 stays connected, and its PUBREL is answered", text: `
			a full
			a> ` + publishes(2, 1, 1500) + lines(1, 1500, `a< PUBREC #`) + `
			a> ` + publishes(1, 1501, 3000) + lines(1501, 3000, `a< PUBACK #`) + `
			a> PUBLISH t 7 q2 id=7 dup
			a< PUBREC 7
			a> PUBREL 7
			a< PUBCOMP 7`},
		{statement: "MQTT-3.3.4-9", title: "publishes of an earlier connection do not count", text: `
			a full keep sessionexpiry=60
			a> ` + publishes(2, 1, 600) + lines(1, 600, `a< PUBREC #`) + `
			a drop
			a full keep sessionexpiry=60
			a> PUBREL 1
			a< PUBCOMP 1
			a> ` + publishes(2, 1001, 2000) + lines(1001, 2000, `a< PUBREC #`)},
		{statement: "MQTT-3.8.3-3", title: "No Local: a client does not get its own", text: `
			s full
			s> SUBSCRIBE 1 t,1n
			s< SUBACK 1 01
			s> PUBLISH t own q1 id=1 && PUBLISH t own
			s< PUBACK 1
			s< nothing
			a full
			a> PUBLISH t other q1 id=1
			s< PUBLISH t other q1 id=$x`},
		{statement: "MQTT-3.8.3-3", title: "No Local on one filter does not affect another", text: `
			s full
			s> SUBSCRIBE 1 sid=1 t/a,2n
			s< SUBACK 1 02
			s> SUBSCRIBE 2 sid=2 t/+,0
			s< SUBACK 2 00
			s> PUBLISH t/a x q1 id=1
			s< PUBACK 1 | PUBLISH t/a x q0 sid=2
			s< nothing`},
		{statement: "MQTT-3.8.3-4", title: "No Local on a shared subscription is a protocol error", text: `
			s full
			s> SUBSCRIBE 1 $share/g/t,1n
			s< DISCONNECT 82
			s< closed`},
		{statement: "MQTT-3.8.3-5", title: "reserved bits of the subscription options are malformed", text: `
			s full
			s> HEX 82 07 00 01 00 00 01 74 41
			s< DISCONNECT 81
			s< closed`},
		{statement: "3.8.3.1", title: "Retain Handling 3 and QoS 3 are protocol errors", text: `
			s full
			s> SUBSCRIBE 1 t,13
			s< DISCONNECT 82
			s< closed
			s full
			s> SUBSCRIBE 1 t,3
			s< DISCONNECT 82
			s< closed`},
		{statement: "MQTT-3.3.4-2", title: "overlapping filters deliver one copy with the highest QoS", text: `
			s full
			s> SUBSCRIBE 1 t/a,1 t/+,2 #,0
			s< SUBACK 1 01 02 00
			a full
			a> PUBLISH t/a x q2 id=1
			s< PUBLISH t/a x q2 id=$x
			s< nothing`},
		{statement: "MQTT-3.3.4-4", title: "one copy carries all the subscription identifiers", text: `
			s full
			s> SUBSCRIBE 1 sid=1 t/a,1
			s< SUBACK 1 01
			s> SUBSCRIBE 2 sid=268435455 t/+,2
			s< SUBACK 2 02
			s> SUBSCRIBE 3 #,0
			s< SUBACK 3 00
			s> SUBSCRIBE 4 sid=1 t/a/#,0
			s< SUBACK 4 00
			a full
			a> PUBLISH t/a x q2 id=1
			s< PUBLISH t/a x q2 id=$x sid=1 sid=268435455 sid=1
			a> PUBLISH t/b x
			s< PUBLISH t/b x q0 sid=268435455
			a> PUBLISH u x
			s< PUBLISH u x q0`},
		{statement: "3.8.2.1.2", title: "SUBSCRIBE replaces the identifier", text: `
			s full
			s> SUBSCRIBE 1 sid=1 t,1
			s< SUBACK 1 01
			s> SUBSCRIBE 2 sid=2 t,1
			s< SUBACK 2 01
			a full
			a> PUBLISH t x
			s< PUBLISH t x q0 sid=2
			s> SUBSCRIBE 3 t,1
			s< SUBACK 3 01
			a> PUBLISH t x
			s< PUBLISH t x q0`},
		{statement: "3.8.2.1.2", title: "subscription identifier 0 is a protocol error", text: `
			s full
			s> SUBSCRIBE 1 sid=0 t,1
			s< DISCONNECT 82
			s< closed`},
		{statement: "MQTT-3.3.4-3", title: "missed messages carry the identifier too, also after a restart", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 sid=7 t,1
			s< SUBACK 1 01
			s drop
			a full
			a> PUBLISH t x q1 id=1
			a< PUBACK 1
			restart
			s full keep sessionexpiry=60
			s< PUBLISH t x q1 id=$x sid=7`},
		{statement: "MQTT-3.1.2-29", title: "without Request Problem Information, acknowledgements have no reason string", text: `
			s full probleminfo=0
			s> SUBSCRIBE 1 user=a:b t,1 a#,1
			s< SUBACK 1 01 8f
			s> PUBLISH $SYS/x x q1 id=1 user=a:b
			s< PUBACK 1 87`},
		{statement: "3.9.2.1.2", title: "user properties of SUBSCRIBE and UNSUBSCRIBE are not sent back", text: `
			s full
			s> SUBSCRIBE 1 user=a:b t,1
			s< SUBACK 1 01
			s> UNSUBSCRIBE 1 user=a:b t
			s< UNSUBACK 1 00`},
		{statement: "postbus", title: "meta on SUBSCRIBE adds sequence, time and source", text: `
			s full
			s> SUBSCRIBE 1 user=meta: t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t x q1 id=1 user=k:v
			s< PUBLISH t x q1 id=$x user=k:v user=seq:* user=time:2* user=source:a`},
		{statement: "postbus", title: "meta on SUBSCRIBE adds the origin of an event that another bus accepted first: live, retained and in history", text: `
			s full
			s> SUBSCRIBE 1 user=meta: t/#,1
			s< SUBACK 1 01
			imported t/a x
			s< PUBLISH t/a x q1 id=$a user=origin:attic user=origin-time:2001-09-09T01:46:40.5Z user=seq:* user=time:2* user=source:@fleet/attic/lamp
			imported t/b y retain
			s< PUBLISH t/b y q1 id=$b user=origin:attic user=origin-time:2001-09-09T01:46:40.5Z user=seq:* user=time:2* user=source:@fleet/attic/lamp
			restart
			r full
			r> SUBSCRIBE 1 user=meta: t/b,1
			r< SUBACK 1 01
			r< PUBLISH t/b y q1 id=$c retain user=origin:attic user=origin-time:2001-09-09T01:46:40.5Z user=seq:* user=time:2* user=source:@fleet/attic/lamp
			h full
			h> SUBSCRIBE 1 user=meta: $replay/1h/t/a,1
			h< SUBACK 1 01
			h< PUBLISH t/a x q1 id=$d user=origin:attic user=origin-time:2001-09-09T01:46:40.5Z user=seq:* user=time:2* user=source:@fleet/attic/lamp
			n full
			n> SUBSCRIBE 1 t/b,1
			n< SUBACK 1 01
			n< PUBLISH t/b y q1 id=$e retain`},
		{statement: "postbus", title: "meta on CONNECT requests the journal's last sequence, which is sent only on request and if it fits", text: `
			a> CONNECT
			a< CONNACK 00 !user=seq:* !user=epoch:*
			b> CONNECT user=meta:
			b< CONNACK 00 user=seq:* user=epoch:*
			c> CONNECT user=meta: maxpacket=60
			c< CONNACK 00 !user=seq:* !user=epoch:*`},
		{statement: "4.3.2", title: "a client that reads nothing gets all of it when it reads", options: broker.Options{OutputBuffer: 4096}, text: `
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> ` + publishes(1, 1, 900) + lines(1, 900, `a< PUBACK #`) + lines(1, 100, `s< PUBLISH t # q1 id=$i#`) + `
			s< nothing
			s> PUBACK $i1 && PUBACK $i2
			s< PUBLISH t 101 q1 id=$z
			s< PUBLISH t 102 q1 id=$u`},
	})
}
