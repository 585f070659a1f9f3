package broker_test

// This file is the cases about what one client may do to others: the limits of the bus, and whose a
// client identifier is.

import (
	"errors"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
)

// named is an identity that may use certain client identifiers only.
type named struct{ limited }

func (named) MayConnectAs(id string) error {
	if !strings.HasPrefix(id, "ann") {
		return errors.New("the user may use client identifiers such as ann* only")
	}
	return nil
}

// TestClientIDsOfOthers: who knows another's client identifier can't end the connection, fire the
// last will or take the session.
func TestClientIDsOfOthers(t *testing.T) {
	anybody := func(c broker.Credentials) (broker.Identity, error) {
		if c.User == "ann" {
			return named{}, nil
		}
		return limited{}, nil
	}
	runScripts(t, both, []script{
		{statement: "postbus", versions: []byte{5}, title: "a connection of another user stays", options: broker.Options{Authenticate: anybody}, text: `
			w full
			w> SUBSCRIBE 1 will,1
			w< SUBACK 1 01
			bob> CONNECT id=bob username=bob password=x will=will:gone
			bob< CONNACK 00
			eve> CONNECT id=bob username=eve password=x
			eve< CONNACK 87 reason=*
			eve< closed
			mal> CONNECT id=bob
			mal< CONNACK 87 reason=*
			mal< closed
			w< nothing
			bob> PINGREQ
			bob< PINGRESP`},
		{statement: "postbus", versions: []byte{5}, title: "a user has the identifiers of a pattern", options: broker.Options{Authenticate: anybody}, text: `
			a> CONNECT id=ann-phone username=ann password=x
			a< CONNACK 00
			b> CONNECT id=bob username=ann password=x
			b< CONNACK 85 reason=*
			b< closed`},
		{statement: "postbus", versions: []byte{5}, title: "an anonymous session belongs to nobody", options: broker.Options{Authenticate: anybody}, text: `
			page> CONNECT id=page keep sessionexpiry=60
			page< CONNACK 00 !present
			page> SUBSCRIBE 1 a,1
			page< SUBACK 1 01
			bob> CONNECT id=page username=bob password=x keep sessionexpiry=60
			page< DISCONNECT 8e reason=*
			page< closed
			bob< CONNACK 00 present
			again> CONNECT id=page keep sessionexpiry=60
			again< CONNACK 87 reason=*
			again< closed
			bob> PINGREQ
			bob< PINGRESP`},
		{statement: "postbus", versions: []byte{4}, title: "a connection of another user stays", options: broker.Options{Authenticate: anybody}, text: `
			w full
			w> SUBSCRIBE 1 will,1
			w< SUBACK 1 01
			bob> CONNECT id=bob username=bob password=x will=will:gone
			bob< CONNACK 00
			eve> CONNECT id=bob username=eve password=x
			eve< CONNACK 05
			eve< closed
			mal> CONNECT id=bob
			mal< CONNACK 05
			mal< closed
			w< nothing
			bob> PINGREQ
			bob< PINGRESP`},
		{statement: "postbus", versions: []byte{4}, title: "a user has the identifiers of a pattern", options: broker.Options{Authenticate: anybody}, text: `
			a> CONNECT id=ann-phone username=ann password=x
			a< CONNACK 00
			b> CONNECT id=bob username=ann password=x
			b< CONNACK 02
			b< closed`},
	})
}

func TestLimits(t *testing.T) {
	few := bus.Limits{TopicLevels: 4, Subscriptions: 3, Retained: 2, RetainedSize: 1 << 20, Sessions: 4}
	deep := strings.Repeat("a/", 32699) + "a"
	runScripts(t, only5, []script{
		{statement: "MQTT-3.9.3-2", title: "a filter with too many levels is refused", limits: few, text: `
			a full
			a> SUBSCRIBE 1 a/b/c/d,1 a/b/c/d/e,1 +/+/+/+/#,1 $share/g/a/b/c/d,1 $share/g/a/b/c/d/e,1
			a< SUBACK 1 01 8f 8f 01 8f reason=*
			a> SUBSCRIBE 2 ` + deep + `,1
			a< SUBACK 2 8f reason=*`},
		{statement: "MQTT-3.9.3-2", title: "a session has so many subscriptions, and may repeat and exchange them", limits: few, text: `
			a full
			a> SUBSCRIBE 1 a,1 b,1 c,1 d,1
			a< SUBACK 1 01 01 01 97 reason=*
			a> SUBSCRIBE 2 a,0 b,1
			a< SUBACK 2 00 01
			a> UNSUBSCRIBE 3 c
			a< UNSUBACK 3 00
			a> SUBSCRIBE 4 d,1
			a< SUBACK 4 01
			a> SUBSCRIBE 5 e,1
			a< SUBACK 5 97 reason=*`},
		{statement: "4.13.1", title: "an event whose topic has too many levels is refused", limits: few, text: `
			a full
			a> PUBLISH a/b/c/d x q1 id=1
			a< PUBACK 1
			a> PUBLISH a/b/c/d/e x q1 id=2
			a< PUBACK 2 90 reason=*
			a> PUBLISH a/b/c/d/e x q2 id=3
			a< PUBREC 3 90 reason=*
			a> PUBLISH a/b/c/d/e x
			a< nothing`},
		{statement: "4.13.1", title: "retained values are bounded; one may be replaced and deleted", limits: few, text: `
			a full
			a> PUBLISH r/1 x q1 id=1 retain
			a< PUBACK 1
			a> PUBLISH r/2 x q1 id=2 retain
			a< PUBACK 2
			s full
			s> SUBSCRIBE 1 r/+,1
			s< SUBACK 1 01
			s< PUBLISH r/1 x q1 id=$1 retain
			s< PUBLISH r/2 x q1 id=$2 retain
			a> PUBLISH r/3 x q1 id=3 retain
			a< PUBACK 3 97 reason=*
			a> PUBLISH r/1 longer q1 id=4 retain
			a< PUBACK 4
			s< PUBLISH r/1 longer q1 id=$3
			a> PUBLISH r/2 "" q1 id=5 retain
			a< PUBACK 5
			s< PUBLISH r/2 "" q1 id=$4
			a> PUBLISH r/3 x q1 id=6 retain
			a< PUBACK 6
			s< PUBLISH r/3 x q1 id=$5
			restart
			a full
			a> PUBLISH r/4 x q1 id=7 retain
			a< PUBACK 7 97 reason=*`},
		{statement: "MQTT-3.2.2-8", title: "the number of sessions is limited; an existing one continues", limits: few, text: `
			a full keep sessionexpiry=60
			b full keep sessionexpiry=60
			c full keep sessionexpiry=60
			d full keep sessionexpiry=60
			e> CONNECT keep sessionexpiry=60
			e< CONNACK 97 reason=*
			e< closed
			a drop
			a full keep sessionexpiry=60`},
		{statement: "MQTT-3.2.2-8", title: "a last will is bounded as an event is", limits: few, text: `
			a> CONNECT will=a/b/c/d/e:x
			a< CONNACK 97 reason=*
			a< closed`},
		{statement: "MQTT-3.9.3-2", versions: []byte{4}, title: "MQTT 3.1.1 has one code for a refused filter", limits: few, text: `
			a full
			a> SUBSCRIBE 1 a/b/c/d/e,1 a,1
			a< SUBACK 1 80 01`},
		{statement: "MQTT-3.3.5-2", versions: []byte{4}, title: "MQTT 3.1.1 has no code for a refused event: it is acknowledged, and its loss is reported", limits: few, text: `
			s full
			s> SUBSCRIBE 1 $bus/lost,0
			s< SUBACK 1 00
			a full
			a> PUBLISH a/b/c/d/e x q1 id=1
			a< PUBACK 1
			s< PUBLISH $bus/lost * q0`},
	})
}
