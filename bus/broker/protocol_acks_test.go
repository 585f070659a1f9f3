package broker_test

// This file is the cases about acknowledgements of the wrong kind, and about those with identifiers
// that are not in flight.

import "testing"

// delivered makes a delivery of QoS 1 ($x) or 2 ($y) to s.
const (
	delivered1 = `
			s full
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t x q1 id=1
			a< PUBACK 1
			s< PUBLISH t x q1 id=$x
			`
	delivered2 = `
			s full
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t y q2 id=1
			a< PUBREC 1
			s< PUBLISH t y q2 id=$y
			`
	refused = `
			s< DISCONNECT 82
			s< closed
			a> PINGREQ
			a< PINGRESP`
)

func TestAcknowledgementsOfTheWrongKind(t *testing.T) {
	runScripts(t, all, []script{
		{statement: "MQTT-4.3.2-3", title: "PUBREC for a QoS 1 delivery is a protocol error", text: delivered1 + `s> PUBREC $x` + refused},
		{statement: "MQTT-4.3.2-3", title: "PUBCOMP for a QoS 1 delivery is a protocol error", text: delivered1 + `s> PUBCOMP $x` + refused},
		{statement: "MQTT-4.3.2-3", title: "PUBREC with an error for a QoS 1 delivery is a protocol error", versions: only5, text: delivered1 + `s> PUBREC $x 80` + refused},
		{statement: "MQTT-4.3.3-4", title: "PUBACK for a QoS 2 delivery is a protocol error", text: delivered2 + `s> PUBACK $y` + refused},
		{statement: "MQTT-4.3.3-4", title: "PUBCOMP before PUBREC is a protocol error", text: delivered2 + `s> PUBCOMP $y` + refused},
		{statement: "MQTT-4.3.3-4", title: "PUBACK after PUBREL is a protocol error", text: delivered2 + `
			s> PUBREC $y
			s< PUBREL $y
			s> PUBACK $y` + refused},
		{statement: "MQTT-4.3.3-4", title: "PUBACK after a repeated PUBREL is a protocol error", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t y q2 id=1
			a< PUBREC 1
			s< PUBLISH t y q2 id=$y
			s> PUBREC $y
			s< PUBREL $y
			s drop
			s full keep sessionexpiry=60
			s< PUBREL $y
			s> PUBACK $y` + refused},
		{statement: "postbus", title: "a delivery with a wrong acknowledgement is redelivered", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			a full
			a> PUBLISH t x q1 id=1
			a< PUBACK 1
			s< PUBLISH t x q1 id=$x
			s> PUBCOMP $x
			s< DISCONNECT 82
			s< closed
			s drop
			s full keep sessionexpiry=60
			s< PUBLISH t x q1 id=$x dup`},
		{statement: "4.13.2", title: "acknowledgements of identifiers that are not in flight are tolerated", text: delivered2 + `
			s> PUBREC $y
			s< PUBREL $y
			s> PUBCOMP $y
			s> PUBCOMP $y && PUBACK $y && PUBACK 777 && PUBCOMP 777
			s> PINGREQ
			s< PINGRESP`},
		{statement: "4.13.2", title: "PUBREC for an identifier that was acknowledged is answered", versions: only5, text: delivered1 + `
			s> PUBACK $x
			s> PUBREC $x
			s< PUBREL $x 92
			s> PUBREC 777 80
			s> PINGREQ
			s< PINGRESP`},
		{statement: "MQTT-2.2.1-5", title: "each of many deliveries in flight has its own kind", text: `
			s full
			s> SUBSCRIBE 1 t,2
			s< SUBACK 1 02
			a full
			a> PUBLISH t 1 q1 id=1 && PUBLISH t 2 q2 id=2 && PUBLISH t 3 q1 id=3
			s< PUBLISH t 1 q1 id=$x
			s< PUBLISH t 2 q2 id=$y
			s< PUBLISH t 3 q1 id=$z
			s> PUBACK $z && PUBREC $y
			s< PUBREL $y
			s> PUBACK $x && PUBCOMP $y
			s< nothing
			s> PUBACK $y && PUBCOMP $x && PINGREQ
			s< PINGRESP`},
	})
}
