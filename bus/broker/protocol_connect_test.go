package broker_test

// This file is the cases about CONNECT, CONNACK, PINGREQ, DISCONNECT and keep alive.

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
)

var (
	all    = []byte{v31, v311, v5}
	both   = []byte{v311, v5}
	three  = []byte{v31, v311}
	only5  = []byte{v5}
	only4  = []byte{v311}
	only31 = []byte{v31}
)

func guests(c broker.Credentials) (broker.Identity, error) {
	if c.User == "" && !c.HasPassword || c.User == "ann" && c.Password == "secret" {
		return limited{}, nil
	}
	return nil, errors.New("no such user")
}

// limited is an identity with few rights.
type limited struct{}

func (limited) MayPublish(topic string) bool    { return topic != "private" }
func (limited) MaySubscribe(filter string) bool { return filter != "private" }
func (limited) MayRead(topic string) bool       { return topic != "hidden" }

func TestConnect(t *testing.T) {
	runScripts(t, all, []script{
		{statement: "MQTT-3.2.0-1", title: "the first packet the server sends is CONNACK", text: `
			a> CONNECT
			a< CONNACK 00`},
		{statement: "MQTT-3.2.0-2", title: "there is one CONNACK in a connection", text: `
			a> CONNECT
			a< CONNACK 00
			a< nothing`},
		{statement: "MQTT-3.1.0-1", title: "a first packet that is not CONNECT closes the connection", text: `
			a> PINGREQ
			a< closed`},
		{statement: "MQTT-3.1.0-1", title: "PUBLISH before CONNECT closes the connection", text: `
			a> PUBLISH t x
			a< closed`},
		{statement: "MQTT-3.1.0-2", title: "a second CONNECT is a protocol error", text: `
			a full
			a> CONNECT again
			a< DISCONNECT 82
			a< closed`},
		{statement: "MQTT-3.1.2-1", title: "another protocol name is refused", text: `
			a> CONNECT name=MQTX
			a< CONNACK 01
			a< closed`, versions: three},
		{statement: "MQTT-3.1.2-2", title: "an unknown protocol level is refused with its return code", text: `
			a> CONNECT level=6
			a< CONNACK 01
			a< closed`, versions: three},
		{statement: "MQTT-3.1.2-2", title: "MQTT level 3 does not exist", text: `
			a> CONNECT level=3
			a< CONNACK 01
			a< closed`, versions: only4},
		{statement: "MQTT-3.1.2-3", title: "the reserved connect flag must be 0", text: `
			a> CONNECT flags=1
			a< closed`, versions: three},
		{statement: "MQTT-3.1.2-3", title: "the reserved connect flag must be 0", text: `
			a> CONNECT flags=1
			a< CONNACK 81
			a< closed`, versions: only5},
		{statement: "MQTT-3.1.2-12", title: "will QoS 3 is refused", text: `
			a> CONNECT will=w:x wq=3
			a< CONNACK 81
			a< closed`, versions: only5},
		{statement: "MQTT-3.1.2-14", title: "will QoS 3 is refused", text: `
			a> CONNECT will=w:x wq=3
			a< closed`, versions: three},
		{statement: "MQTT-3.1.2-11", title: "will QoS without a will is refused", text: `
			a> CONNECT flags=8
			a< CONNACK 81
			a< closed`, versions: only5},
		{statement: "MQTT-3.1.2-13", title: "will retain without a will is refused", text: `
			a> CONNECT flags=0x20
			a< CONNACK 81
			a< closed`, versions: only5},
		{statement: "MQTT-3.1.2-22", title: "a password needs a user name before MQTT 5", text: `
			a> CONNECT password=x
			a< closed`, versions: three},
		{statement: "MQTT-3.1.2-19", title: "MQTT 5 allows a password without a user name", text: `
			a> CONNECT password=x
			a< CONNACK 00`, versions: only5},
		{statement: "MQTT-3.1.3-11", title: "an empty user name is a user name", text: `
			a> CONNECT username=""
			a< CONNACK 00`},
		{statement: "MQTT-3.1.2-18", title: "an empty password is a password", text: `
			a> CONNECT username=u password=""
			a< CONNACK 00`},
		{statement: "MQTT-3.1.3-5", title: "client identifiers of 1 to 23 letters and digits are accepted", text: `
			a> CONNECT id=0123456789abcdefghijABC
			a< CONNACK 00`},
		{statement: "MQTT-3.1.3-4", title: "longer identifiers and any UTF-8 are accepted", text: `
			a> CONNECT id=ü/+#-$x*300
			a< CONNACK 00`},
		{statement: "MQTT-3.1.3-6", title: "the server assigns a client identifier, and sends it in CONNACK", text: `
			a> CONNECT id=""
			a< CONNACK 00 assigned=*
			b> CONNECT id=""
			b< CONNACK 00 assigned=*
			a< nothing`, versions: only5},
		{statement: "MQTT-3.1.3-6", title: "the server assigns a client identifier with Clean Start 0 too", text: `
			a> CONNECT id="" keep sessionexpiry=60
			a< CONNACK 00 assigned=*`, versions: only5},
		{statement: "MQTT-3.1.3-6", title: "clients with an empty identifier do not disturb each other", text: `
			a> CONNECT id=""
			a< CONNACK 00
			b> CONNECT id=""
			b< CONNACK 00
			a< nothing
			b< nothing`, versions: only4},
		{statement: "MQTT-3.1.3-8", title: "an empty identifier needs a clean session: return code 2", text: `
			a> CONNECT id="" keep
			a< CONNACK 02
			a< closed`, versions: only4},
		{statement: "MQTT 3.1, 3.1", title: "an empty identifier is refused: return code 2", text: `
			a> CONNECT id=""
			a< CONNACK 02
			a< closed`, versions: only31},
		{statement: "MQTT-3.1.4-2", title: "a wrong password is refused", options: broker.Options{Authenticate: guests}, text: `
			a> CONNECT username=ann password=wrong
			a< CONNACK 86
			a< closed`, versions: only5},
		{statement: "MQTT-3.1.4-2", title: "a wrong password is refused", options: broker.Options{Authenticate: guests}, text: `
			a> CONNECT username=ann password=wrong
			a< CONNACK 04
			a< closed
			b> CONNECT username=ann password=secret
			b< CONNACK 00`, versions: three},
		{statement: "MQTT-3.2.2-6", title: "a refused client has no session present", options: broker.Options{Authenticate: guests}, text: `
			a full keep sessionexpiry=60 username=ann password=secret
			a> DISCONNECT
			a> CONNECT keep sessionexpiry=60 username=ann password=wrong
			a< CONNACK 86 !present`, versions: only5},
		{statement: "MQTT-3.2.2-7", title: "packets after a refused CONNECT are not processed", options: broker.Options{Authenticate: guests}, text: `
			s full
			s> SUBSCRIBE 1 #,1
			s< SUBACK 1 01
			a> CONNECT username=ann password=wrong && PUBLISH t x
			a< CONNACK 86
			a< closed
			s< nothing`, versions: only5},
		{statement: "MQTT-3.1.4-5", title: "packets sent right behind CONNECT are processed behind CONNACK", text: `
			a> CONNECT && SUBSCRIBE 1 t,1 && PUBLISH t x q1 id=2 && PINGREQ
			a< CONNACK 00
			a< SUBACK 1 01
			a< PUBACK 2 | PINGRESP | PUBLISH t x q1 id=$x`},
		{statement: "MQTT-3.1.4-3", title: "a second client with the same identifier takes the session over", text: `
			a full
			a full
			a'< DISCONNECT 8e
			a'< closed
			a< nothing`},
		{statement: "MQTT-3.1.4-3", title: "a takeover by another version works", text: `
			a full
			a@4> CONNECT
			a@4< CONNACK 00
			a< DISCONNECT 8e
			a< closed
			a@4< nothing`, versions: only5},
		{statement: "MQTT-3.2.2-2", title: "a clean start has no session present", text: `
			a full keep sessionexpiry=60
			a> DISCONNECT
			a> CONNECT sessionexpiry=60
			a< CONNACK 00 !present`},
		{statement: "MQTT-3.2.2-3", title: "a kept session is present", text: `
			a> CONNECT keep sessionexpiry=60
			a< CONNACK 00 !present
			a> DISCONNECT
			a< closed
			a> CONNECT keep sessionexpiry=60
			a< CONNACK 00 present
			a drop
			a> CONNECT keep sessionexpiry=60
			a< CONNACK 00 present`},
		{statement: "MQTT-3.2.2-3", title: "a session is present after a takeover", text: `
			a full keep sessionexpiry=60
			a> CONNECT keep sessionexpiry=60
			a< CONNACK 00 present`},
		{statement: "MQTT-3.1.2-6", title: "a clean session leaves nothing behind", text: `
			a full
			a> DISCONNECT
			a< closed
			a> CONNECT keep
			a< CONNACK 00 !present`},
		{statement: "MQTT-3.1.2-6", title: "a clean session that is taken over leaves nothing behind", text: `
			a full
			a> CONNECT keep
			a< CONNACK 00 !present`},
		{statement: "3.1.2.11.2", title: "session expiry 0 ends the session with the connection", text: `
			a full keep
			a drop
			wait 20ms
			a> CONNECT keep
			a< CONNACK 00 !present`, versions: only5},
		{statement: "3.2.2.3.2", title: "a session expiry within the limit is not repeated", text: `
			a> CONNECT keep sessionexpiry=60
			a< CONNACK 00 !sessionexpiry`, versions: only5},
		{statement: "3.2.2.3.2", title: "a session expiry above the limit is capped and announced", options: broker.Options{SessionExpiry: time.Hour}, text: `
			a> CONNECT keep sessionexpiry=4294967295
			a< CONNACK 00 sessionexpiry=3600`, versions: only5},
		{statement: "3.2.2.3", title: "CONNACK states the server's capabilities", options: broker.Options{PacketSize: 5000}, text: `
			a> CONNECT
			a< CONNACK 00 recvmax=65535 aliasmax=64 maxpacket=5000 !maxqos !retainavail !wildavail !subidavail !sharedavail`, versions: only5},
		{statement: "MQTT-3.1.2-21", title: "a keep alive above the limit is replaced", options: broker.Options{KeepAlive: 30 * time.Second}, text: `
			a> CONNECT ka=60
			a< CONNACK 00 keepalive=30
			b> CONNECT ka=0
			b< CONNACK 00 keepalive=30
			c> CONNECT ka=20
			c< CONNACK 00 !keepalive`, versions: only5},
		{statement: "MQTT-3.1.2-28", title: "response information is not sent unasked", text: `
			a> CONNECT responseinfo=0
			a< CONNACK 00 !responseinformation`, versions: only5},
		{statement: "3.1.2.11.3", title: "Receive Maximum 0 is a protocol error", text: `
			a> CONNECT recvmax=0
			a< CONNACK 82
			a< closed`, versions: only5},
		{statement: "3.1.2.11.4", title: "Maximum Packet Size 0 is a protocol error", text: `
			a> CONNECT maxpacket=0
			a< CONNACK 82
			a< closed`, versions: only5},
		{statement: "2.2.2.2", title: "a property that occurs twice is a protocol error", text: `
			a> CONNECT recvmax=5 recvmax=5
			a< CONNACK 82
			a< closed`, versions: only5},
		{statement: "2.2.2.2", title: "a property of another packet is malformed", text: `
			a> CONNECT alias=5
			a< CONNACK 81
			a< closed`, versions: only5},
		{statement: "MQTT-4.12.0-1", title: "an unknown authentication method is refused", text: `
			a> CONNECT authmethod=SCRAM
			a< CONNACK 8c
			a< closed`, versions: only5},
		{statement: "MQTT-4.12.0-6", title: "AUTH without a method in CONNECT is a protocol error", text: `
			a full
			a> AUTH 18 authmethod=x
			a< DISCONNECT 82
			a< closed`, versions: only5},
		{statement: "4.7, postbus", title: "identifiers that could be taken for another source of events are refused", text: `
			a> CONNECT id=@x
			a< CONNACK 85
			a< closed
			b> CONNECT id=http:admin
			b< CONNACK 85
			b< closed
			c> CONNECT id=plugin:lamp
			c< CONNACK 85
			c< closed
			d> CONNECT id=bus
			d< CONNACK 85
			d< closed
			e> CONNECT id=busy
			e< CONNACK 00`, versions: only5},
		{statement: "MQTT-3.12.4-1", title: "PINGREQ is answered by PINGRESP", text: `
			a full
			a> PINGREQ
			a< PINGRESP
			a> PINGREQ && PINGREQ
			a< PINGRESP
			a< PINGRESP`},
		{statement: "MQTT-3.14.4-3", title: "the server closes after DISCONNECT, if the client does not", text: `
			a full
			a> DISCONNECT
			a< closed`},
		{statement: "MQTT-3.14.1-1", title: "DISCONNECT with flags is malformed", text: `
			a full
			a> HEX e1 00
			a< DISCONNECT 81
			a< closed`},
		{statement: "MQTT-3.1.2-22", title: "silence for one and a half keep alive intervals ends the connection", text: `
			a full ka=4
			wait 3500ms
			a> PINGREQ
			a< PINGRESP
			wait 3500ms
			a> PINGREQ
			a< PINGRESP
			a< DISCONNECT 8d
			a< closed`},
		{statement: "MQTT-3.1.2-22", title: "half a packet is silence", text: `
			a full ka=1
			a> HEX 30 64 00
			a< DISCONNECT 8d
			a< closed`},
		{statement: "3.1.2.10", title: "keep alive 0 turns the timeout off", text: `
			a full ka=0
			wait 1700ms
			a< nothing`},
		{statement: "MQTT-3.14.2-2", title: "DISCONNECT cannot set an expiry if CONNECT had none", text: `
			a full keep
			a> DISCONNECT 00 sessionexpiry=10
			a< DISCONNECT 82
			a< closed`, versions: only5},
		{statement: "3.14.2.2.2", title: "DISCONNECT can end a persistent session", text: `
			a full keep sessionexpiry=60
			a> DISCONNECT 00 sessionexpiry=0
			a< closed
			a> CONNECT keep
			a< CONNACK 00 !present`, versions: only5},
		{statement: "3.14.2.2.2", title: "DISCONNECT can prolong a session", text: `
			a full keep sessionexpiry=1
			a> DISCONNECT 00 sessionexpiry=60
			a< closed
			wait 2500ms
			a> CONNECT keep
			a< CONNACK 00 present`, versions: only5},
		{statement: "2.1.2", title: "packets that only a server sends are protocol errors", text: `
			a full
			a> HEX d0 00
			a< DISCONNECT 82
			a< closed
			b full
			b> HEX 90 03 00 01 00
			b< DISCONNECT 82
			b< closed`},
		{statement: "MQTT-3.1.2-25", title: "a packet above the server's Maximum Packet Size ends the connection", options: broker.Options{PacketSize: 100}, text: `
			a full
			a> PUBLISH t x*200 q1 id=1
			a< DISCONNECT 95
			a< closed`},
		{statement: "MQTT-3.2.2-15", title: "a packet of exactly the Maximum Packet Size is accepted", options: broker.Options{PacketSize: 100}, text: `
			a full
			a> PUBLISH t x*92 q1 id=1
			a< PUBACK 1
			a> PUBLISH t x*93 q1 id=1
			a< DISCONNECT 95`, versions: only5},
		{statement: "MQTT-3.14.2-3", title: "no reason string that makes DISCONNECT larger than the client accepts", text: `
			a full maxpacket=20
			a> PUBLISH "" x q1 id=1
			a< DISCONNECT 82 !reason
			a< closed`, versions: only5},
	})
}

// TestNoRoom: above the limit of connections a client gets a refusal [MQTT-3.2.2-6]. The broker
// does not wait for a crowd that sends nothing, and freed room is usable.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, t.TempDir(), bus.Options{SegmentSize: 1 << 16}, broker.Options{Connections: 2})
	var there []*wire
	for i := range 2 {
		w := knock(t, addr, v5, fmt.Sprint("CONNECT id=c", i))
		if got, err := w.read(answerTimeout); !strings.HasPrefix(got, "CONNACK 00") {
			t.Fatal(got, err)
		}
		there = append(there, w)
	}
	for version, want := range map[byte]string{v5: "CONNACK 97", v311: "CONNACK 03", v31: "CONNACK 03"} {
		for range 20 { // more than get a refusal at a time
			w := knock(t, addr, version, "CONNECT id=more clean")
			if got, err := w.read(answerTimeout); !strings.HasPrefix(got, want) {
				t.Fatalf("version %d: %q %v", version, got, err)
			}
			w.Close()
		}
	}
	var silent []net.Conn
	for range 40 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	closed := make(chan struct{}, len(silent))
	for _, c := range silent {
		go func() {
			_, _ = c.Read(make([]byte, 1)) // until it is closed, at the latest by the test
			closed <- struct{}{}
		}()
	}
	for range 40 - 16 { // as many as are above the limit
		select {
		case <-closed:
		case <-time.After(answerTimeout):
			t.Fatal("too many silent connections stay open")
		}
	}
	for end := time.Now().Add(answerTimeout); ; time.Sleep(10 * time.Millisecond) { // these connections end, too
		w := knock(t, addr, v5, "CONNECT id=more clean")
		got, _ := w.read(answerTimeout)
		w.Close()
		if strings.HasPrefix(got, "CONNACK 97") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the refusals do not end: %q", got)
		}
	}
	there[0].Close()
	for end := time.Now().Add(answerTimeout); ; time.Sleep(10 * time.Millisecond) {
		w := knock(t, addr, v5, "CONNECT id=next")
		if got, _ := w.read(answerTimeout); strings.HasPrefix(got, "CONNACK 00") {
			return
		} else if time.Now().After(end) {
			t.Fatalf("no room: %q", got)
		}
		w.Close()
	}
}
