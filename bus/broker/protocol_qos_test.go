package broker_test

// This file is the cases about QoS 0, 1 and 2 in both directions, redelivery and order.

import (
	"testing"

	"github.com/postbus/postbus/bus/broker"
)

func TestQoS(t *testing.T) {
	runScripts(t, all, []script{
		{statement: "MQTT-4.3.1-1", title: "a QoS 0 publish is not acknowledged and arrives", text: `
			s full
			s> SUBSCRIBE 1 t,0
			s< SUBACK 1 00
			a full
			a> PUBLISH t x
			a< nothing
			s< PUBLISH t x q0`},
		{statement: "MQTT-4.3.2-2", title: "a QoS 1 publish is acknowledged with its packet identifier", text: `
			a full
			a> PUBLISH t x q1 id=1
			a< PUBACK 1
			a> PUBLISH t x q1 id=65535
			a< PUBACK 65535`},
		{statement: "MQTT-4.3.2-5", title: "after PUBACK the identifier may be used for another event", text: `
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=7
			a< PUBACK 7
			a> PUBLISH t 2 q1 id=7
			a< PUBACK 7
			s< PUBLISH t 1 q1 id=$x
			s< PUBLISH t 2 q1 id=$y`},
		{statement: "MQTT-4.3.2-4", title: "a QoS 1 publish that is repeated with DUP is a new event", text: `
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=7
			a< PUBACK 7
			a> PUBLISH t 1 q1 id=7 dup
			a< PUBACK 7
			s< PUBLISH t 1 q1 id=$x
			s< PUBLISH t 1 q1 id=$y`},
		{statement: "MQTT-3.3.1-3", title: "the DUP flag of a publisher does not reach subscribers", text: `
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=7 dup
			a< PUBACK 7
			s< PUBLISH t 1 q1 id=$x`},
		{statement: "MQTT-4.3.3-8", title: "a QoS 2 publish goes PUBREC, PUBREL, PUBCOMP", text: `
			s full
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t x q2 id=9
			a< PUBREC 9
			a> PUBREL 9
			a< PUBCOMP 9
			s< PUBLISH t x q2 id=$x
			s> PUBREC $x
			s< PUBREL $x
			s> PUBCOMP $x
			s< nothing`},
		{statement: "MQTT-4.3.3-10", title: "before PUBREL the same identifier is the same event", text: `
			s full
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t x q2 id=9
			a< PUBREC 9
			a> PUBLISH t x q2 id=9 dup
			a< PUBREC 9
			a> PUBREL 9
			a< PUBCOMP 9
			s< PUBLISH t x q2 id=$x
			s< nothing`},
		{statement: "MQTT-4.3.3-12", title: "after PUBCOMP the same identifier is a new event", text: `
			s full
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t x q2 id=9
			a< PUBREC 9
			a> PUBREL 9
			a< PUBCOMP 9
			a> PUBLISH t y q2 id=9
			a< PUBREC 9
			s< PUBLISH t x q2 id=$x
			s< PUBLISH t y q2 id=$y`},
		{statement: "MQTT-4.3.3-11", title: "a repeated PUBREL is answered by PUBCOMP", text: `
			a full
			a> PUBLISH t x q2 id=9
			a< PUBREC 9
			a> PUBREL 9
			a< PUBCOMP 9
			a> PUBREL 9
			a< PUBCOMP 9`, versions: three},
		{statement: "3.7.2.1", title: "PUBREL for an identifier that is not known gets PUBCOMP 92", text: `
			a full
			a> PUBREL 5
			a< PUBCOMP 5 92`, versions: only5},
		{statement: "3.6.2.1", title: "PUBREC for an identifier that is not known gets PUBREL 92", text: `
			a full
			a> PUBREC 5
			a< PUBREL 5 92`, versions: only5},
		{statement: "MQTT-4.3.3-4", title: "a second PUBREC gets PUBREL again", text: `
			s full
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t x q2 id=9
			a< PUBREC 9
			s< PUBLISH t x q2 id=$x
			s> PUBREC $x
			s< PUBREL $x
			s> PUBREC $x
			s< PUBREL $x`},
		{statement: "MQTT-4.3.3-4", title: "PUBREC with an error ends the delivery", text: `
			s full recvmax=1
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t 1 q2 id=1 && PUBLISH t 2 q2 id=2
			a< PUBREC 1
			a< PUBREC 2
			s< PUBLISH t 1 q2 id=$x
			s< nothing
			s> PUBREC $x 97
			s< PUBLISH t 2 q2 id=$y`, versions: only5},
		{statement: "3.4.2.1", title: "PUBACK with an error ends the delivery", text: `
			s full keep sessionexpiry=60 recvmax=1
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1 && PUBLISH t 2 q1 id=2
			a< PUBACK 1
			a< PUBACK 2
			s< PUBLISH t 1 q1 id=$x
			s> PUBACK $x 80
			s< PUBLISH t 2 q1 id=$y
			s drop
			s full keep sessionexpiry=60
			s< PUBLISH t 2 q1 id=$y dup`, versions: only5},
		{statement: "MQTT-3.8.4-8", title: "the QoS of a delivery is the lower of the two", text: `
			s full
			s> SUBSCRIBE 1 t0,0 t1,1 t2,2
			s< SUBACK 1 00 01 02
			a full
			a> PUBLISH t0 x q2 id=1 && PUBLISH t1 x q2 id=2 && PUBLISH t2 x q1 id=3 && PUBLISH t2 x
			a< PUBREC 1
			a< PUBREC 2
			a< PUBACK 3
			s< PUBLISH t2 x q0 | PUBLISH t0 x q0 | PUBLISH t1 x q1 id=$x | PUBLISH t2 x q1 id=$y`},
		{statement: "MQTT-3.3.1-4", title: "QoS 3 does not exist", text: `
			a full
			a> PUBLISH t x q3 id=1
			a< DISCONNECT 81
			a< closed`},
		{statement: "MQTT-3.3.1-2", title: "DUP with QoS 0 is refused", text: `
			a full
			a> PUBLISH t x dup
			a< DISCONNECT 81
			a< closed`, versions: three},
		{statement: "MQTT-2.2.1-3", title: "packet identifier 0 is refused", text: `
			a full
			a> PUBLISH t x q1 id=0
			a< DISCONNECT *
			a< closed`, versions: three},
		{statement: "MQTT-2.2.1-3", title: "packet identifier 0 in SUBSCRIBE is refused", text: `
			a full
			a> SUBSCRIBE 0 t,0
			a< closed`, versions: three},
		{statement: "MQTT-3.3.2-2", title: "a topic name with a wildcard is refused", text: `
			a full
			a> PUBLISH a/+ x q1 id=1
			a< DISCONNECT 90
			a< closed`},
		{statement: "MQTT-4.7.3-1", title: "an empty topic name is refused", text: `
			a full
			a> PUBLISH "" x q1 id=1
			a< DISCONNECT 82
			a< closed`},
		{statement: "MQTT-1.5.4-1", title: "a topic name that is not UTF-8 is refused", text: `
			a full
			a> PUBLISH a\xc3 x q1 id=1
			a< DISCONNECT 81
			a< closed`},
		{statement: "MQTT-1.5.4-2", title: "U+0000 in a topic name is refused", text: `
			a full
			a> PUBLISH a\x00b x q1 id=1
			a< DISCONNECT 81
			a< closed`},
		{statement: "MQTT-4.4.0-1", title: "unacknowledged QoS 1 deliveries are redelivered in order, with DUP and their identifiers", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1 && PUBLISH t 2 q1 id=2 && PUBLISH t 3 q1 id=3
			a< PUBACK 1
			a< PUBACK 2
			a< PUBACK 3
			s< PUBLISH t 1 q1 id=$x
			s< PUBLISH t 2 q1 id=$y
			s< PUBLISH t 3 q1 id=$z
			s> PUBACK $y
			s drop
			a> PUBLISH t 4 q1 id=4
			a< PUBACK 4
			s full keep sessionexpiry=60
			s< PUBLISH t 1 q1 id=$x dup
			s< PUBLISH t 3 q1 id=$z dup
			s< PUBLISH t 4 q1 id=$u
			s< nothing`},
		{statement: "MQTT-4.4.0-1", title: "QoS 2 resumes with PUBLISH or PUBREL, in order", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t 1 q2 id=1 && PUBLISH t 2 q2 id=2 && PUBLISH t 3 q2 id=3
			a< PUBREC 1
			a< PUBREC 2
			a< PUBREC 3
			s< PUBLISH t 1 q2 id=$x
			s< PUBLISH t 2 q2 id=$y
			s< PUBLISH t 3 q2 id=$z
			s> PUBREC $x
			s< PUBREL $x
			s> PUBCOMP $x && PUBREC $y
			s< PUBREL $y
			s drop
			s full keep sessionexpiry=60
			s< PUBREL $y
			s< PUBLISH t 3 q2 id=$z dup
			s> PUBCOMP $y && PUBREC $z
			s< PUBREL $z
			s> PUBCOMP $z
			s< nothing
			s drop
			s full keep sessionexpiry=60
			s< nothing`},
		{statement: "MQTT-4.4.0-1", title: "nothing is redelivered within one connection", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1
			a< PUBACK 1
			s< PUBLISH t 1 q1 id=$x
			wait 1200ms
			s< nothing`, versions: both},
		{statement: "MQTT-4.1.0-1", title: "a client's own unacknowledged QoS 2 publish is remembered for its session", text: `
			s full
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full keep sessionexpiry=60
			a> PUBLISH t x q2 id=9
			a< PUBREC 9
			a drop
			a full keep sessionexpiry=60
			a> PUBLISH t x q2 id=9 dup
			a< PUBREC 9
			a> PUBREL 9
			a< PUBCOMP 9
			s< PUBLISH t x q2 id=$x
			s< nothing`},
		{statement: "MQTT-4.1.0-1", title: "and survives a restart of the broker, as deliveries do", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full keep sessionexpiry=60
			a> PUBLISH t x q2 id=9
			a< PUBREC 9
			s< PUBLISH t x q2 id=$x
			restart
			a full keep sessionexpiry=60
			a> PUBLISH t x q2 id=9 dup
			a< PUBREC 9
			a> PUBREL 9
			a< PUBCOMP 9
			a> PUBLISH t y q2 id=9
			a< PUBREC 9
			s full keep sessionexpiry=60
			s< PUBLISH t x q2 id=$x dup
			s< PUBLISH t y q2 id=$y
			s< nothing`},
		{statement: "MQTT-4.3.3-10", title: "a clean session forgets its own QoS 2 publishes", text: `
			s full
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t x q2 id=9
			a< PUBREC 9
			a drop
			a full
			a> PUBLISH t x q2 id=9 dup
			a< PUBREC 9
			s< PUBLISH t x q2 id=$x
			s< PUBLISH t x q2 id=$y`},
		{statement: "MQTT-4.6.0-2", title: "acknowledgements come in the order of the publishes", text: `
			a full
			a> PUBLISH t 1 q1 id=3 && PUBLISH t 2 q2 id=1 && PUBLISH t 3 q1 id=2 && PUBLISH t 4 q2 id=4
			a< PUBACK 3
			a< PUBREC 1
			a< PUBACK 2
			a< PUBREC 4
			a> PUBREL 4 && PUBREL 1
			a< PUBCOMP 4
			a< PUBCOMP 1`},
		{statement: "MQTT-4.6.0-6", title: "each subscriber gets the events in their order", text: `
			s full
			s> SUBSCRIBE 1 t/#,1
			s< SUBACK 1 01
			r full
			r> SUBSCRIBE 1 t/#,2
			r< SUBACK 1 02
			a full
			a> PUBLISH t/1 1 q1 id=3 && PUBLISH t/2 2 q2 id=1 && PUBLISH t/1 3 q1 id=2 && PUBLISH t/2 4 q2 id=4
			s< PUBLISH t/1 1 q1 id=$x
			s< PUBLISH t/2 2 q1 id=$y
			s< PUBLISH t/1 3 q1 id=$z
			s< PUBLISH t/2 4 q1 id=$u
			r< PUBLISH t/1 1 q1 id=$x
			r< PUBLISH t/2 2 q2 id=$y
			r< PUBLISH t/1 3 q1 id=$z
			r< PUBLISH t/2 4 q2 id=$u`},
		{statement: "MQTT-2.2.1-2", title: "a QoS 0 PUBLISH has no packet identifier", text: `
			s full
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			s> PUBLISH t \x00\x01
			s< PUBLISH t \x00\x01 q0`},
		{statement: "2.2.1", title: "packet identifiers of client and server are independent", text: `
			a full
			a> SUBSCRIBE 1 t,1
			a< SUBACK 1 01
			a> PUBLISH t 1 q1 id=1
			a< PUBACK 1 | PUBLISH t 1 q1 id=$x
			a> PUBLISH t 2 q2 id=$x
			a< PUBREC $x | PUBLISH t 2 q1 id=$y
			a> PUBACK $x && PUBREL $x
			a< PUBCOMP $x
			a> PUBACK $y && SUBSCRIBE $y u,0 && UNSUBSCRIBE $x u
			a< SUBACK $y 00
			a< UNSUBACK $x 00`},
		{statement: "MQTT-3.3.4-7", title: "no more deliveries in flight than Receive Maximum", text: `
			s full recvmax=2
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t 1 q1 id=1 && PUBLISH t 2 q2 id=2 && PUBLISH t 3 q2 id=3 && PUBLISH t 4 q1 id=4
			s< PUBLISH t 1 q1 id=$x
			s< PUBLISH t 2 q2 id=$y
			s< nothing
			s> PUBREC $y
			s< PUBREL $y
			s< nothing
			s> PUBCOMP $y
			s< PUBLISH t 3 q2 id=$z
			s< nothing
			s> PUBACK $x
			s< PUBLISH t 4 q1 id=$u`, versions: only5},
		{statement: "4.9", title: "QoS 0 does not wait for Receive Maximum", text: `
			s full recvmax=1
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t 1 q1 id=1 && PUBLISH t 2 q1 id=2
			s< PUBLISH t 1 q1 id=$x
			s< nothing
			a> PUBLISH t 0
			s< PUBLISH t 0 q0
			s> PUBACK $x
			s< PUBLISH t 2 q1 id=$y`, versions: only5},
		{statement: "4.9", title: "Receive Maximum applies to redeliveries too", text: `
			s full keep sessionexpiry=60 recvmax=3
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1 && PUBLISH t 2 q1 id=2 && PUBLISH t 3 q1 id=3 && PUBLISH t 4 q1 id=4
			s< PUBLISH t 1 q1 id=$x
			s< PUBLISH t 2 q1 id=$y
			s< PUBLISH t 3 q1 id=$z
			s drop
			s full keep sessionexpiry=60 recvmax=1
			s< PUBLISH t 1 q1 id=$x dup
			s< nothing
			s> PUBACK $x
			s< PUBLISH t 2 q1 id=$y dup
			s> PUBACK $y
			s< PUBLISH t 3 q1 id=$z dup
			s> PUBACK $z
			s< PUBLISH t 4 q1 id=$u`, versions: only5},
		{statement: "postbus", title: "clients of MQTT 3 have limits.inflight in flight", options: broker.Options{Inflight: 2}, text: `
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1 && PUBLISH t 2 q1 id=2 && PUBLISH t 3 q1 id=3
			s< PUBLISH t 1 q1 id=$x
			s< PUBLISH t 2 q1 id=$y
			s< nothing
			s> PUBACK $x
			s< PUBLISH t 3 q1 id=$z`},
	})
}
