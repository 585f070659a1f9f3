package broker_test

// This file is the cases about the content of a session, its lifetime, and its takeover.

import "testing"

func TestSession(t *testing.T) {
	runScripts(t, both, []script{
		{statement: "MQTT-3.1.2-5", title: "subscriptions and missed events outlive the connection", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t/#,1 u,2
			s< SUBACK 1 01 02
			s> DISCONNECT
			s< closed
			a full
			a> PUBLISH t/1 1 q1 id=1 && PUBLISH u 2 q2 id=2 && PUBLISH v 3 q1 id=3 && PUBLISH t/2 4 q2 id=4
			a< PUBACK 1
			a< PUBREC 2
			a< PUBACK 3
			a< PUBREC 4
			s> CONNECT keep sessionexpiry=60
			s< CONNACK 00 present
			s< PUBLISH t/1 1 q1 id=$x
			s< PUBLISH u 2 q2 id=$y
			s< PUBLISH t/2 4 q1 id=$z
			s< nothing
			a> PUBLISH u 5 q1 id=5
			s< PUBLISH u 5 q1 id=$u`},
		{statement: "4.3.1", title: "QoS 0 events are not stored for offline clients", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s> DISCONNECT
			s< closed
			a full
			a> PUBLISH t 0
			a< nothing
			s full keep sessionexpiry=60
			s< nothing`},
		{statement: "3.1.2.4", title: "QoS 1 events for a QoS 0 subscription are not stored for offline clients", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,0
			s< SUBACK 1 00
			s> DISCONNECT
			s< closed
			a full
			a> PUBLISH t 1 q1 id=1
			a< PUBACK 1
			s full keep sessionexpiry=60
			s< nothing
			a> PUBLISH t 2 q1 id=1
			s< PUBLISH t 2 q0`},
		{statement: "MQTT-3.1.2-4", title: "a clean start drops subscriptions and the backlog", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s> DISCONNECT
			s< closed
			a full
			a> PUBLISH t 1 q1 id=1
			a< PUBACK 1
			s> CONNECT sessionexpiry=60
			s< CONNACK 00 !present
			s< nothing
			a> PUBLISH t 2 q1 id=1
			a< PUBACK 1
			s< nothing`},
		{statement: "MQTT-3.1.2-4", title: "a clean start drops unacknowledged deliveries", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1
			s< PUBLISH t 1 q1 id=$x
			s drop
			s> CONNECT sessionexpiry=60
			s< CONNACK 00 !present
			s< nothing`},
		{statement: "MQTT-3.1.2-4", title: "after a clean start old acknowledgements have no effect", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1
			s< PUBLISH t 1 q1 id=$x
			s full
			s> PUBACK $x
			s< nothing`},
		{statement: "MQTT-3.1.4-3", title: "a takeover loses and repeats nothing that was acknowledged", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1 && PUBLISH t 2 q1 id=2
			s< PUBLISH t 1 q1 id=$x
			s< PUBLISH t 2 q1 id=$y
			s> PUBACK $x && PINGREQ
			s< PINGRESP
			s full keep sessionexpiry=60
			s'< DISCONNECT 8e
			s'< closed
			s< PUBLISH t 2 q1 id=$y dup
			a> PUBLISH t 3 q1 id=3
			s< PUBLISH t 3 q1 id=$z`},
		{statement: "MQTT-3.8.4-3", title: "subscribing to the same filter again replaces the subscription", text: `
			s full
			s> SUBSCRIBE 1 t,0
			s< SUBACK 1 00
			s> SUBSCRIBE 2 t,1
			s< SUBACK 2 01
			a full
			a> PUBLISH t 1 q1 id=1
			a< PUBACK 1
			s< PUBLISH t 1 q1 id=$x
			s< nothing
			s> SUBSCRIBE 2 t,0
			s< SUBACK 2 00
			a> PUBLISH t 2 q1 id=1
			s< PUBLISH t 2 q0`},
		{statement: "MQTT-3.8.4-3", title: "events that were accepted before a subscription's QoS is lowered keep their QoS", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1
			s< PUBLISH t 1 q1 id=$x
			s> SUBSCRIBE 2 t,0
			s< SUBACK 2 00
			s drop
			s full keep sessionexpiry=60
			s< PUBLISH t 1 q1 id=$x dup`},
		{statement: "MQTT-3.8.4-5", title: "many filters in one SUBSCRIBE are as many SUBSCRIBEs", text: `
			s full
			s> SUBSCRIBE 1 a,0 b,1 c,2 a,1
			s< SUBACK 1 00 01 02 01
			a full
			a> PUBLISH a x q1 id=1 && PUBLISH b x q1 id=2 && PUBLISH c x q1 id=3
			s< PUBLISH a x q1 id=$x
			s< PUBLISH b x q1 id=$y
			s< PUBLISH c x q1 id=$z`},
		{statement: "MQTT-3.10.4-1", title: "UNSUBSCRIBE removes only the filter with the same text", text: `
			s full
			s> SUBSCRIBE 1 t/+,1 t/1,1 T/1,1
			s< SUBACK 1 01 01 01
			s> UNSUBSCRIBE 2 t/1 T/+
			s< UNSUBACK 2 00 11
			a full
			a> PUBLISH t/1 x q1 id=1 && PUBLISH T/1 y q1 id=2
			s< PUBLISH t/1 x q1 id=$x
			s< PUBLISH T/1 y q1 id=$y
			s> UNSUBSCRIBE 3 t/+ T/1
			s< UNSUBACK 3 00 00
			a> PUBLISH t/1 x q1 id=1 && PUBLISH T/1 y q1 id=2
			a< PUBACK 1
			a< PUBACK 2
			s< nothing`},
		{statement: "MQTT-3.10.4-3", title: "a delivery that began before UNSUBSCRIBE is completed", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t x q2 id=1
			s< PUBLISH t x q2 id=$x
			s> UNSUBSCRIBE 2 t
			s< UNSUBACK 2 00
			s drop
			s full keep sessionexpiry=60
			s< PUBLISH t x q2 id=$x dup
			s> PUBREC $x
			s< PUBREL $x
			s> PUBCOMP $x
			s< nothing`},
		{statement: "MQTT-3.10.4-5", title: "UNSUBACK is sent even if no filter existed", text: `
			s full
			s> UNSUBSCRIBE 9 a b
			s< UNSUBACK 9 11 11`},
		{statement: "MQTT-3.10.4-2", title: "an unsubscribed filter stays removed after a restart", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1 u,1
			s< SUBACK 1 01 01
			s> UNSUBSCRIBE 2 t
			s< UNSUBACK 2 00
			restart
			a full
			a> PUBLISH t 1 q1 id=1 && PUBLISH u 2 q1 id=2
			a< PUBACK 1
			a< PUBACK 2
			s full keep sessionexpiry=60
			s< PUBLISH u 2 q1 id=$x
			s< nothing`},
		{statement: "3.1.2.11.2", title: "a session is kept for its expiry interval", text: `
			s full keep sessionexpiry=10
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s> DISCONNECT
			s< closed
			wait 1300ms
			s> CONNECT keep sessionexpiry=1
			s< CONNACK 00 present
			s> DISCONNECT
			s< closed
			wait 3100ms
			s> CONNECT keep sessionexpiry=60
			s< CONNACK 00 !present
			s< nothing`, versions: only5},
		{statement: "MQTT-4.1.0-2", title: "an expired session has no subscriptions", text: `
			s full keep sessionexpiry=1
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s drop
			wait 2500ms
			a full
			a> PUBLISH t x q1 id=1
			a< PUBACK 1
			s> CONNECT keep sessionexpiry=60
			s< CONNACK 00 !present
			s< nothing`, versions: only5},
		{statement: "3.1.2.11.2", title: "a session with an expiry keeps it over a restart", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			restart
			s> CONNECT keep sessionexpiry=60
			s< CONNACK 00 present
			s> PUBLISH t x q1 id=1
			s< PUBACK 1 | PUBLISH t x q1 id=$x`},
		{statement: "3.1.2.11.2", title: "a clean session does not outlive a restart", text: `
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			restart
			s> CONNECT keep sessionexpiry=60
			s< CONNACK 00 !present`},
		{statement: "3.1.2.4", title: "Clean Start 1 with an expiry begins a session that lasts", text: `
			s full sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s> DISCONNECT
			s< closed
			a full
			a> PUBLISH t x q1 id=1
			a< PUBACK 1
			s> CONNECT keep sessionexpiry=60
			s< CONNACK 00 present
			s< PUBLISH t x q1 id=$x`, versions: only5},
		{statement: "3.1.2.4", title: "a persistent session that is resumed without expiry ends with that connection", text: `
			s full sessionexpiry=60
			s> DISCONNECT
			s< closed
			s> CONNECT keep
			s< CONNACK 00 present
			s> DISCONNECT
			s< closed
			s> CONNECT keep
			s< CONNACK 00 !present`, versions: only5},
		{statement: "4.1", title: "a session made by MQTT 3.1.1 continues with MQTT 5 and back", text: `
			s@4> CONNECT keep
			s@4< CONNACK 00
			s@4> SUBSCRIBE 1 t,1
			s@4< SUBACK 1 01
			s@4> DISCONNECT
			s@4< closed
			a full
			a> PUBLISH t 1 q1 id=1 content=text
			a< PUBACK 1
			s> CONNECT keep sessionexpiry=60
			s< CONNACK 00 present
			s< PUBLISH t 1 q1 id=$x content=text
			s> DISCONNECT
			s< closed
			s@4> CONNECT keep
			s@4< CONNACK 00 present
			s@4< PUBLISH t 1 q1 id=$x dup`, versions: only5},
		{statement: "postbus", title: "another client's SUBSCRIBE does not change an offline client's backlog", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s drop
			a full
			a> PUBLISH t 1 q1 id=1
			a< PUBACK 1
			b full
			b> SUBSCRIBE 1 t,1
			b< SUBACK 1 01
			b< nothing
			s full keep sessionexpiry=60
			s> SUBSCRIBE 2 u,1
			s< PUBLISH t 1 q1 id=$x | SUBACK 2 01`},
		{statement: "postbus", title: "events from before a SUBSCRIBE are not delivered for it", text: `
			s full keep sessionexpiry=60
			a full
			a> PUBLISH t 1 q1 id=1
			a< PUBACK 1
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s< nothing
			c full
			c> SUBSCRIBE 1 t,1
			c< SUBACK 1 01
			c< nothing`},
	})
}
