package broker_test

// This file is the cases about shared subscriptions.

import "testing"

const members = `
			m full
			m> SUBSCRIBE 1 $share/g/t,1
			m< SUBACK 1 01
			n full
			n> SUBSCRIBE 1 $share/g/t,1
			n< SUBACK 1 01
			a full`

func TestShared(t *testing.T) {
	runScripts(t, both, []script{
		{statement: "MQTT-4.8.2-4", title: "each message goes to one member, in turn", text: members + `
			a> PUBLISH t 1 q1 id=1
			a< PUBACK 1
			a> PUBLISH t 2 q1 id=2
			a< PUBACK 2
			a> PUBLISH t 3 q1 id=3
			a< PUBACK 3
			n< PUBLISH t 1 q1 id=$x
			m< PUBLISH t 2 q1 id=$y
			n< PUBLISH t 3 q1 id=$z
			m< nothing
			n< nothing`},
		{statement: "4.8.2", title: "QoS 0 is shared too", text: members + `
			a> PUBLISH t 1 && PUBLISH t 2
			n< PUBLISH t 1 q0
			m< PUBLISH t 2 q0
			m< nothing
			n< nothing`},
		{statement: "4.8.2", title: "each group gets each message", text: `
			m full
			m> SUBSCRIBE 1 $share/g/t,1
			m< SUBACK 1 01
			n full
			n> SUBSCRIBE 1 $share/h/t,1
			n< SUBACK 1 01
			o full
			o> SUBSCRIBE 1 t,1
			o< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1
			m< PUBLISH t 1 q1 id=$x
			n< PUBLISH t 1 q1 id=$y
			o< PUBLISH t 1 q1 id=$z`},
		{statement: "4.8.2", title: "a client's own filter and its share both deliver", text: `
			m full
			m> SUBSCRIBE 1 $share/g/t,1 t,1
			m< SUBACK 1 01 01
			a full
			a> PUBLISH t 1 q1 id=1
			m< PUBLISH t 1 q1 id=$x
			m< PUBLISH t 1 q1 id=$y
			m< nothing`},
		{statement: "MQTT-4.8.2-5", title: "unacknowledged deliveries of a member that left go to another", text: members + `
			a> PUBLISH t 1 q1 id=1 && PUBLISH t 2 q1 id=2
			n< PUBLISH t 1 q1 id=$x
			m< PUBLISH t 2 q1 id=$y
			m> PUBACK $y
			n drop
			m< PUBLISH t 1 q1 id=$z
			m> PUBACK $z
			m< nothing`},
		{statement: "MQTT-4.8.2-6", title: "a delivery that a member refuses with an error in PUBACK goes to no other member", text: `
			m full
			m> SUBSCRIBE 1 $share/g/t,1
			m< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1
			m< PUBLISH t 1 q1 id=$x
			n full
			n> SUBSCRIBE 1 $share/g/t,1
			n< SUBACK 1 01
			m> PUBACK $x 97
			n< nothing
			m< nothing`, versions: only5},
		{statement: "postbus", title: "a group with a persistent member stores events while all members are offline", text: `
			m full keep sessionexpiry=60
			m> SUBSCRIBE 1 $share/g/t,1
			m< SUBACK 1 01
			m drop
			a full
			a> PUBLISH t 1 q1 id=1 && PUBLISH t 2 q1 id=2
			a< PUBACK 1
			a< PUBACK 2
			m full keep sessionexpiry=60
			m< PUBLISH t 1 q1 id=$x
			m< PUBLISH t 2 q1 id=$y
			m> PUBACK $x && PUBACK $y
			m< nothing`},
		{statement: "postbus", title: "and over a restart, and delivers them to the first member that connects", text: `
			m full keep sessionexpiry=60
			m> SUBSCRIBE 1 $share/g/t,1
			m< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1
			m< PUBLISH t 1 q1 id=$x
			m> PUBACK $x && PINGREQ
			m< PINGRESP
			m drop
			a> PUBLISH t 2 q1 id=1
			a< PUBACK 1 | PUBACK 1
			restart
			n full
			n> SUBSCRIBE 1 $share/g/t,1
			n< SUBACK 1 01
			n< PUBLISH t 2 q1 id=$y
			n< nothing`},
		{statement: "postbus", title: "the backlog of a group waits while one member is offline and another is busy", text: `
			m full recvmax=1
			m> SUBSCRIBE 1 $share/g/t,1
			m< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1 && PUBLISH t 2 q1 id=2 && PUBLISH t 3 q1 id=3
			m< PUBLISH t 1 q1 id=$x
			m< nothing
			n full recvmax=1
			n> SUBSCRIBE 1 $share/g/t,1
			n< SUBACK 1 01
			n< PUBLISH t 2 q1 id=$y
			n< nothing
			n> PUBACK $y
			n< PUBLISH t 3 q1 id=$z
			m< nothing`, versions: only5},
		{statement: "postbus", title: "what the online member can't take waits for the one that is away", text: `
			m full keep sessionexpiry=60
			m> SUBSCRIBE 1 $share/g/t,1
			m< SUBACK 1 01
			m drop
			n full maxpacket=40
			n> SUBSCRIBE 1 $share/g/t,1
			n< SUBACK 1 01
			l full
			l> SUBSCRIBE 1 $bus/lost,0
			l< SUBACK 1 00
			a full
			a> PUBLISH t x*100 q1 id=1
			a< PUBACK 1
			a> PUBLISH t 2 q1 id=2
			a< PUBACK 2
			n< PUBLISH t 2 q1 id=$x
			n> PUBACK $x
			o full maxpacket=50
			o> SUBSCRIBE 1 $share/g/t,1
			o< SUBACK 1 01
			o< nothing
			n drop
			restart
			m full keep sessionexpiry=60
			m< PUBLISH t x*100 q1 id=$y
			m> PUBACK $y
			m< PUBLISH t 2 q1 id=$z
			m< nothing`, versions: only5},
		{statement: "postbus", title: "it is lost once there is nobody who could take it", text: `
			m full keep sessionexpiry=60
			m> SUBSCRIBE 1 $share/g/t,1
			m< SUBACK 1 01
			m drop
			n full maxpacket=60
			n> SUBSCRIBE 1 $share/g/t,1
			n< SUBACK 1 01
			l full
			l> SUBSCRIBE 1 $bus/lost,0
			l< SUBACK 1 00
			a full
			a> PUBLISH t x*100 q1 id=1
			a< PUBACK 1
			l< nothing
			n< nothing
			m full
			l< PUBLISH $bus/lost {\"events\":1,\"reason\":\"too_large\",\"session\":\"$share/g/t\"} q0
			a> PUBLISH t 2 q1 id=2
			a< PUBACK 2
			n< PUBLISH t 2 q1 id=$x user=gap:1`, versions: only5},
		{statement: "MQTT-3.3.1-9", title: "retained messages are not sent to a share", text: `
			a full
			a> PUBLISH t x q1 id=1 retain
			a< PUBACK 1
			m full
			m> SUBSCRIBE 1 $share/g/t,1
			m< SUBACK 1 01
			m< nothing`},
		{statement: "MQTT-4.8.2-3", title: "each member gets its own QoS", text: `
			m full
			m> SUBSCRIBE 1 $share/g/t,0
			m< SUBACK 1 00
			a full
			a> PUBLISH t 1 q1 id=1
			a< PUBACK 1
			m< PUBLISH t 1 q0
			m< nothing`},
		{statement: "postbus", title: "a share is granted QoS 1 at most", text: `
			m full
			m> SUBSCRIBE 1 $share/g/t,2
			m< SUBACK 1 01
			a full
			a> PUBLISH t 1 q2 id=1
			a< PUBREC 1
			m< PUBLISH t 1 q1 id=$x`},
		{statement: "3.3.4", title: "a share's subscription identifier is sent", text: `
			m full
			m> SUBSCRIBE 1 sid=4 $share/g/t,1
			m< SUBACK 1 01
			a full
			a> PUBLISH t 1 q1 id=1
			m< PUBLISH t 1 q1 id=$x sid=4`, versions: only5},
		{statement: "MQTT-3.10.4-1", title: "a member that unsubscribes leaves the group", text: members + `
			n> UNSUBSCRIBE 2 $share/g/t
			n< UNSUBACK 2 00
			a> PUBLISH t 1 q1 id=1 && PUBLISH t 2 q1 id=2
			m< PUBLISH t 1 q1 id=$x
			m< PUBLISH t 2 q1 id=$y
			n< nothing
			n> UNSUBSCRIBE 3 $share/g/t
			n< UNSUBACK 3 11`},
		{statement: "MQTT-4.7.2-1", title: "a share of # does not match $ topics", text: `
			m full
			m> SUBSCRIBE 1 $share/g/#,1
			m< SUBACK 1 01
			wait 1100ms
			m< nothing`},
		{statement: "MQTT-4.8.2-1", title: "a share name must exist and contain no wildcard", text: `
			m full
			m> SUBSCRIBE 1 $share//t,1 $share/g,1 $share/+/t,1 $share/g#/t,1 $share/g/,1 $share,1
			m< SUBACK 1 8f 8f 8f 8f 8f 8f
			m> SUBSCRIBE 2 $shared/g,1
			m< SUBACK 2 01`, versions: only5},
		{statement: "MQTT-4.8.2-1", title: "a bad share name is refused before MQTT 5 with 80", text: `
			m full
			m> SUBSCRIBE 1 $share//t,1 $share/g/t,1
			m< SUBACK 1 80 01`, versions: only4},
	})
}
