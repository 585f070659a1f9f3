package broker_test

// This file is the cases about retained messages.

import "testing"

func TestRetained(t *testing.T) {
	runScripts(t, both, []script{
		{statement: "MQTT-3.3.1-5", title: "a retained message reaches a later subscriber, with the RETAIN flag", text: `
			a full
			a> PUBLISH t x q1 id=1 retain
			a< PUBACK 1
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s< PUBLISH t x q1 id=$x retain
			s< nothing`},
		{statement: "MQTT-3.3.1-5", title: "the next retained message replaces it", text: `
			a full
			a> PUBLISH t x q1 id=1 retain && PUBLISH t y q2 id=2 retain
			a< PUBACK 1
			a< PUBREC 2
			s full
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			s< PUBLISH t y q2 id=$x retain
			s< nothing`},
		{statement: "MQTT-3.3.1-6", title: "an empty retained message clears the value, and reaches connected subscribers", text: `
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t x q1 id=1 retain && PUBLISH t "" q1 id=2 retain
			a< PUBACK 1
			a< PUBACK 2
			s< PUBLISH t x q1 id=$x
			s< PUBLISH t "" q1 id=$y
			r full
			r> SUBSCRIBE 1 t,1
			r< SUBACK 1 01
			r< nothing`},
		{statement: "MQTT-3.3.1-7", title: "an empty retained message is not stored", text: `
			a full
			a> PUBLISH t "" q1 id=2 retain
			a< PUBACK 2
			r full
			r> SUBSCRIBE 1 #,1
			r< SUBACK 1 01
			r< nothing`},
		{statement: "MQTT-3.3.1-8", title: "a message without RETAIN does not change the retained one", text: `
			a full
			a> PUBLISH t x q1 id=1 retain && PUBLISH t y q1 id=2 && PUBLISH t "" q1 id=3
			a< PUBACK 1
			a< PUBACK 2
			a< PUBACK 3
			r full
			r> SUBSCRIBE 1 t,1
			r< SUBACK 1 01
			r< PUBLISH t x q1 id=$x retain
			r< nothing`},
		{statement: "MQTT-3.3.1-12", title: "connected subscribers get a retained message without the flag", text: `
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t x q1 id=1 retain && PUBLISH t y retain
			s< PUBLISH t x q1 id=$x
			s< PUBLISH t y q0`},
		{statement: "MQTT-3.3.1-13", title: "Retain As Published keeps the flag as it was published", text: `
			s full
			s> SUBSCRIBE 1 t,1r
			s< SUBACK 1 01
			a full
			a> PUBLISH t x q1 id=1 retain
			a< PUBACK 1
			s< PUBLISH t x q1 id=$x retain
			a> PUBLISH t y retain
			s< PUBLISH t y q0 retain
			a> PUBLISH t z
			s< PUBLISH t z q0`, versions: only5},
		{statement: "MQTT-3.3.1-12", title: "a retained message from the backlog has the flag only with Retain As Published", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1r u,1
			s< SUBACK 1 01 01
			s drop
			a full
			a> PUBLISH t x q1 id=1 retain && PUBLISH u y q1 id=2 retain
			a< PUBACK 1
			a< PUBACK 2
			s full keep sessionexpiry=60
			s< PUBLISH t x q1 id=$x retain
			s< PUBLISH u y q1 id=$y
			s< nothing`, versions: only5},
		{statement: "MQTT-3.8.4-4", title: "Retain Handling 0 sends retained messages at each SUBSCRIBE", text: `
			a full
			a> PUBLISH t x q1 id=1 retain
			a< PUBACK 1
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s< PUBLISH t x q1 id=$x retain
			s> PUBACK $x && SUBSCRIBE 2 t,1
			s< SUBACK 2 01
			s< PUBLISH t x q1 id=$y retain
			s> PUBACK $y && SUBSCRIBE 3 t,0
			s< SUBACK 3 00
			s< PUBLISH t x q0 retain`},
		{statement: "MQTT-3.3.1-10", title: "Retain Handling 1 sends them for a new subscription only", text: `
			a full
			a> PUBLISH t x q1 id=1 retain
			a< PUBACK 1
			s full
			s> SUBSCRIBE 1 t,11
			s< SUBACK 1 01
			s< PUBLISH t x q1 id=$x retain
			s> PUBACK $x && SUBSCRIBE 2 t,11
			s< SUBACK 2 01
			s< nothing
			s> UNSUBSCRIBE 3 t && SUBSCRIBE 4 t,11
			s< UNSUBACK 3 00
			s< SUBACK 4 01
			s< PUBLISH t x q1 id=$y retain`, versions: only5},
		{statement: "MQTT-3.3.1-11", title: "Retain Handling 2 sends none", text: `
			a full
			a> PUBLISH t x q1 id=1 retain
			a< PUBACK 1
			s full
			s> SUBSCRIBE 1 t,12
			s< SUBACK 1 01
			s< nothing
			a> PUBLISH t y q1 id=1 retain
			s< PUBLISH t y q1 id=$x`, versions: only5},
		{statement: "MQTT-3.3.1-9", title: "a retained message is sent with the lower of the two QoS", text: `
			a full
			a> PUBLISH 0 x retain && PUBLISH 1 x q1 id=1 retain && PUBLISH 2 x q2 id=2 retain
			a< PUBACK 1
			a< PUBREC 2
			s full
			s> SUBSCRIBE 1 0,2
			s< SUBACK 1 02
			s< PUBLISH 0 x q0 retain
			s> SUBSCRIBE 1 1,2
			s< SUBACK 1 02
			s< PUBLISH 1 x q1 id=$x retain
			s> SUBSCRIBE 1 2,1
			s< SUBACK 1 01
			s< PUBLISH 2 x q1 id=$y retain
			s> SUBSCRIBE 1 2,0
			s< SUBACK 1 00
			s< PUBLISH 2 x q0 retain`},
		{statement: "MQTT-3.3.1-9", title: "each filter of a SUBSCRIBE gets its retained messages", text: `
			a full
			a> PUBLISH t/1 x q1 id=1 retain
			a< PUBACK 1
			s full
			s> SUBSCRIBE 1 t/1,1 t/+,0
			s< SUBACK 1 01 00
			s< PUBLISH t/1 x q1 id=$x retain | PUBLISH t/1 x q0 retain
			s< nothing`},
		{statement: "MQTT-3.3.1-5", title: "retained messages of QoS 1 and 2 survive a restart", text: `
			a full
			a> PUBLISH 1 x q1 id=1 retain content=c user=k:v && PUBLISH 2 x q2 id=2 retain
			a< PUBACK 1
			a< PUBREC 2
			restart
			s full
			s> SUBSCRIBE 1 +,2
			s< SUBACK 1 02
			s< PUBLISH 1 x q1 id=$x retain content=c user=k:v | PUBLISH 2 x q2 id=$y retain`},
		{statement: "MQTT-3.3.1-6", title: "a cleared value stays cleared after a restart", text: `
			a full
			a> PUBLISH 1 x q1 id=1 retain && PUBLISH 1 "" q1 id=2 retain
			a< PUBACK 1
			a< PUBACK 2
			restart
			s full
			s> SUBSCRIBE 1 +,2
			s< SUBACK 1 02
			s< nothing`},
		{statement: "3.3.1.3", title: "retained messages outlive the session of their publisher", text: `
			a full
			a> PUBLISH t x q1 id=1 retain
			a< PUBACK 1
			a> DISCONNECT
			a< closed
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s< PUBLISH t x q1 id=$x retain`},
		{statement: "MQTT-4.4.0-1", title: "an unacknowledged retained message is redelivered", text: `
			a full
			a> PUBLISH t x q1 id=1 retain
			a< PUBACK 1
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s< PUBLISH t x q1 id=$x retain
			s drop
			s full keep sessionexpiry=60
			s< PUBLISH t x q1 id=$x retain dup
			s> PUBACK $x
			s< nothing
			s drop
			s full keep sessionexpiry=60
			s< nothing`},
		{statement: "4.9", title: "retained messages respect Receive Maximum", text: `
			a full
			a> PUBLISH t/1 x q1 id=1 retain && PUBLISH t/2 x q1 id=2 retain
			a< PUBACK 1
			a< PUBACK 2
			s full recvmax=1
			s> SUBSCRIBE 1 t/#,1
			s< SUBACK 1 01
			s< PUBLISH * x q1 id=$x retain
			s< nothing
			s> PUBACK $x
			s< PUBLISH * x q1 id=$y retain
			s> PUBACK $y
			s< nothing`, versions: only5},
		{statement: "MQTT-3.3.2-5", title: "an expired retained message is not sent", text: `
			a full
			a> PUBLISH t x q1 id=1 retain expiry=1
			a< PUBACK 1
			wait 1200ms
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s< nothing`, versions: only5},
		{statement: "MQTT-3.3.2-6", title: "a retained message carries its remaining expiry", text: `
			a full
			a> PUBLISH t x q1 id=1 retain expiry=100
			a< PUBACK 1
			wait 1100ms
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			s< PUBLISH t x q1 id=$x retain expiry=9*`, versions: only5},
		{statement: "MQTT-4.7.2-1", title: "retained messages below $ are not matched by # and +", text: `
			s full
			s> SUBSCRIBE 1 #,0 +/broker/version,0
			s< SUBACK 1 00 00
			s< nothing
			s> SUBSCRIBE 2 $SYS/broker/version,0
			s< SUBACK 2 00
			s< PUBLISH $SYS/broker/version postbus q0 retain`},
		{statement: "MQTT-3.8.4-4", title: "a client gets a retained message that it published itself", text: `
			s full
			s> PUBLISH t x q1 id=1 retain
			s< PUBACK 1
			s> SUBSCRIBE 2 t,1
			s< SUBACK 2 01
			s< PUBLISH t x q1 id=$x retain`},
		{statement: "MQTT-3.8.3-3", title: "No Local applies to retained messages too", text: `
			s full
			s> PUBLISH t x q1 id=1 retain
			s< PUBACK 1
			s> SUBSCRIBE 2 t,1n
			s< SUBACK 2 01
			s< nothing`, versions: only5},
		{statement: "MQTT-3.3.4-3", title: "a retained message carries the subscription identifier", text: `
			s full
			s> PUBLISH t x q1 id=1 retain
			s< PUBACK 1
			s> SUBSCRIBE 2 sid=5 t,1
			s< SUBACK 2 01
			s< PUBLISH t x q1 id=$x retain sid=5`, versions: only5},
	})
}
