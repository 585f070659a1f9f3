package broker_test

// This file is the cases about wills.

import (
	"testing"

	"github.com/postbus/postbus/bus/broker"
)

// watch connects s, which sees the events below w.
const watch = `
			s full
			s> SUBSCRIBE 1 w/#,2
			s< SUBACK 1 02`

func TestWill(t *testing.T) {
	runScripts(t, both, []script{
		{statement: "MQTT-3.1.2-8", title: "a will is published when the connection breaks", text: watch + `
			a full will=w/a:bye wq=1
			a drop
			s< PUBLISH w/a bye q1 id=$x
			s< nothing`},
		{statement: "MQTT-3.1.2-8", title: "a will of a persistent session is published once", text: watch + `
			a full keep sessionexpiry=60 will=w/a:bye wq=2
			a drop
			s< PUBLISH w/a bye q2 id=$x
			wait 1200ms
			s< nothing
			a full keep sessionexpiry=60
			a drop
			wait 1200ms
			s< nothing`},
		{statement: "MQTT-3.1.2-8", title: "a will of QoS 0 is published", text: watch + `
			a full will=w/a:bye
			a drop
			s< PUBLISH w/a bye q0`},
		{statement: "MQTT-3.1.2-10", title: "DISCONNECT makes the will void", text: watch + `
			a full will=w/a:bye wq=1
			a> DISCONNECT
			a< closed
			wait 1200ms
			s< nothing`},
		{statement: "3.14.2.1", title: "DISCONNECT 04 publishes the will", text: watch + `
			a full will=w/a:bye wq=1
			a> DISCONNECT 04
			a< closed
			s< PUBLISH w/a bye q1 id=$x`, versions: only5},
		{statement: "3.1.2.5", title: "DISCONNECT with an error publishes the will", text: watch + `
			a full will=w/a:bye wq=1
			a> DISCONNECT 82
			a< closed
			s< PUBLISH w/a bye q1 id=$x`, versions: only5},
		{statement: "3.1.2.5", title: "a protocol error publishes the will", text: watch + `
			a full will=w/a:bye wq=1
			a> PUBLISH t x q3 id=1
			a< DISCONNECT 81
			a< closed
			s< PUBLISH w/a bye q1 id=$x`},
		{statement: "MQTT-3.14.2-2", title: "a DISCONNECT that is a protocol error publishes the will", text: watch + `
			a full will=w/a:bye wq=1
			a> DISCONNECT 00 sessionexpiry=5
			a< DISCONNECT 82
			a< closed
			s< PUBLISH w/a bye q1 id=$x`, versions: only5},
		{statement: "3.1.2.5", title: "a keep alive timeout publishes the will", text: watch + `
			a full ka=1 will=w/a:bye wq=1
			s< PUBLISH w/a bye q1 id=$x`},
		{statement: "3.1.4", title: "a takeover publishes the will of the first connection", text: watch + `
			a full will=w/a:first wq=1
			a full will=w/a:second wq=1
			s< PUBLISH w/a first q1 id=$x
			s< nothing`},
		{statement: "3.1.4", title: "a takeover publishes the will of a persistent session", text: watch + `
			a full keep sessionexpiry=60 will=w/a:first wq=1
			a full keep sessionexpiry=60 will=w/a:second wq=1
			s< PUBLISH w/a first q1 id=$x
			s< nothing`},
		{statement: "MQTT-3.1.2-8", title: "a quick reconnect does not suppress the will", text: watch + `
			a full keep sessionexpiry=60 will=w/a:bye wq=1
			a drop
			a full keep sessionexpiry=60
			s< PUBLISH w/a bye q1 id=$x`},
		{statement: "MQTT-3.1.2-17", title: "a retained will is retained", text: watch + `
			a full will=w/a:bye wq=1 wretain
			a drop
			s< PUBLISH w/a bye q1 id=$x
			r full
			r> SUBSCRIBE 1 w/a,1
			r< SUBACK 1 01
			r< PUBLISH w/a bye q1 id=$y retain`},
		{statement: "MQTT-3.1.2-17", title: "a retained will of QoS 0 is retained", text: watch + `
			a full will=w/a:bye wretain
			a drop
			s< PUBLISH w/a bye q0
			r full
			r> SUBSCRIBE 1 w/a,1
			r< SUBACK 1 01
			r< PUBLISH w/a bye q0 retain`},
		{statement: "MQTT-3.1.2-16", title: "a will that is not retained is not", text: watch + `
			a full will=w/a:bye wq=1
			a drop
			s< PUBLISH w/a bye q1 id=$x
			r full
			r> SUBSCRIBE 1 w/a,1
			r< SUBACK 1 01
			r< nothing`},
		{statement: "MQTT-3.1.3-11", title: "a will may be empty", text: watch + `
			a full will=w/a:"" wq=1
			a drop
			s< PUBLISH w/a "" q1 id=$x`},
		{statement: "3.1.3.2", title: "a will's properties travel with it", text: watch + `
			a full will=w/a:bye wq=1 w-format=1 w-content=text w-response=r/x w-correlation=c1 w-user=a:1 w-user=b:2 w-user=a:3
			a drop
			s< PUBLISH w/a bye q1 id=$x format=1 content=text response=r/x correlation=c1 user=a:1 user=b:2 user=a:3`, versions: only5},
		{statement: "3.1.3.2.4", title: "a will's expiry begins when it is published", text: watch + `
			a full will=w/a:bye wq=1 w-expiry=105
			wait 6100ms
			a drop
			s< PUBLISH w/a bye q1 id=$x expiry=10*`, versions: only5},
		{statement: "MQTT-3.1.3-9", title: "a will waits for its delay", text: watch + `
			a full sessionexpiry=60 will=w/a:bye wq=1 w-delay=5
			a drop
			wait 1500ms
			s< nothing
			s< PUBLISH w/a bye q1 id=$x`, versions: only5},
		{statement: "MQTT-3.1.3-9", title: "a client that reconnects within the delay has no will", text: watch + `
			a full sessionexpiry=60 will=w/a:bye wq=1 w-delay=5
			a drop
			a full keep sessionexpiry=60
			wait 5500ms
			s< nothing`, versions: only5},
		{statement: "3.1.3.2.2", title: "the delay ends with the session", text: watch + `
			a full sessionexpiry=1 will=w/a:bye wq=1 w-delay=60
			a drop
			s< PUBLISH w/a bye q1 id=$x`, versions: only5},
		{statement: "3.1.3.2.2", title: "a session that ends with its connection has no delay", text: watch + `
			a full will=w/a:bye wq=1 w-delay=60
			a drop
			s< PUBLISH w/a bye q1 id=$x`, versions: only5},
		{statement: "3.1.2.5", title: "a clean start ends the session: the pending will is published", text: watch + `
			a full sessionexpiry=60 will=w/a:bye wq=1 w-delay=60
			a drop
			a full
			s< PUBLISH w/a bye q1 id=$x`, versions: only5},
		{statement: "postbus", title: "a pending will is published after a restart of the broker", text: `
			s full keep sessionexpiry=60
			s> SUBSCRIBE 1 w/#,1
			s< SUBACK 1 01
			a full sessionexpiry=60 will=w/a:bye wq=1 w-delay=1
			a drop
			restart
			s full keep sessionexpiry=60
			s< PUBLISH w/a bye q1 id=$x`, versions: only5},
		{statement: "MQTT-3.1.2-7", title: "a new CONNECT without a will removes the old one", text: watch + `
			a full keep sessionexpiry=60 will=w/a:bye wq=1
			a> DISCONNECT
			a< closed
			a full keep sessionexpiry=60
			a drop
			wait 1200ms
			s< nothing`},
		{statement: "3.1.3.3", title: "a will topic with a wildcard is refused", text: `
			a> CONNECT will=w/#:x
			a< CONNACK 90
			a< closed`, versions: only5},
		{statement: "3.1.3.2.3", title: "a will payload that is not the UTF-8 it claims to be is refused", text: `
			a> CONNECT will=w:\xff w-format=1
			a< CONNACK 99
			a< closed`, versions: only5},
		{statement: "3.1.3.3", title: "a will that the user may not publish is refused", options: broker.Options{Authenticate: guests}, text: `
			a> CONNECT will=private:x
			a< CONNACK 87
			a< closed
			b> CONNECT will=$SYS/x:x
			b< CONNACK 87
			b< closed`, versions: only5},
		{statement: "3.8.3.1", title: "No Local does not keep a will from the client's next connection", text: `
			a full keep sessionexpiry=60
			a> SUBSCRIBE 1 w,1
			a< SUBACK 1 01
			a full keep sessionexpiry=60 will=w:bye wq=1
			a drop
			wait 1200ms
			a full keep sessionexpiry=60
			a< PUBLISH w bye q1 id=$x`},
	})
}
