package broker_test

// This file tests bridges of other brokers: the topic where they report their state, the protocol
// level by which they declare themselves, and a stock Mosquitto that bridges to this broker in both
// directions.

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/internal/logtest"
)

const state = "$SYS/broker/connection/b/state"

func TestABridgesState(t *testing.T) {
	runScripts(t, all, []script{
		{statement: "postbus", title: "a client publishes its own state as a bridge, retained, and so does its will", text: `
			s full
			s> SUBSCRIBE 1 $SYS/broker/connection/#,1
			s< SUBACK 1 01
			b full will=` + state + `:0 wq=1 wretain
			b> PUBLISH ` + state + ` 1 q1 id=1 retain
			b< PUBACK 1
			s< PUBLISH ` + state + ` 1 q1 id=$x
			late full
			late> SUBSCRIBE 1 $SYS/broker/connection/+/state,0
			late< SUBACK 1 00
			late< PUBLISH ` + state + ` 1 q0 retain
			b drop
			s< PUBLISH ` + state + ` 0 q1 id=$y
			late< PUBLISH ` + state + ` 0 q0`},
		{statement: "postbus", title: "nobody else's state, and nothing else below $SYS", versions: only5, text: `
			b full
			b> PUBLISH $SYS/broker/connection/c/state 1 q1 id=1 retain
			b< PUBACK 1 87 reason=*
			b> PUBLISH $SYS/broker/connection/b/states 1 q1 id=2
			b< PUBACK 2 87 reason=*
			b> PUBLISH $SYS/broker/connection/b 1 q1 id=3
			b< PUBACK 3 87 reason=*
			b> PUBLISH ` + state + ` 2 q1 id=4
			b< PUBACK 4 87 reason=*
			b> PUBLISH ` + state + ` 10 q1 id=5
			b< PUBACK 5 87 reason=*
			c> CONNECT will=` + state + `:0 wq=1
			c< CONNACK 87 reason=*
			b> CONNECT will=` + state + `:gone wq=1
			b< CONNACK 87 reason=*`},
		{statement: "postbus", versions: three, title: "deliveries to a bridge keep their RETAIN flag, and exclude its own publishes", text: `
			b full bridge
			b> SUBSCRIBE 1 t/#,1
			b< SUBACK 1 01
			b> PUBLISH t/own x q1 id=1
			b< PUBACK 1
			a full
			a> PUBLISH t/kept y q1 id=1 retain
			a< PUBACK 1
			b< PUBLISH t/kept y q1 id=$x retain
			a> PUBLISH t/live z q1 id=2
			a< PUBACK 2
			b< PUBLISH t/live z q1 id=$y`},
	})
}

// identity has all rights, and may be a bridge.
type identity struct{ bridge bool }

func (identity) MayPublish(string) bool   { return true }
func (identity) MaySubscribe(string) bool { return true }
func (identity) MayRead(string) bool      { return true }
func (i identity) Bridge() bool           { return i.bridge }

// linked treats the user link as a bridge.
func linked(c broker.Credentials) (broker.Identity, error) {
	return identity{c.User == "link"}, nil
}

func TestAnEventsRoute(t *testing.T) {
	o := broker.Options{Authenticate: linked}
	runScripts(t, only5, []script{
		{statement: "postbus", options: o, title: "the route that a trusted bridge states is kept and sent to bridges", text: `
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			far full username=link
			far> SUBSCRIBE 1 t,1
			far< SUBACK 1 01
			b full username=link
			b> PUBLISH t x q1 id=1 user=postbus-hops:3 user=a:1 user=postbus-origin:elsewhere content=text
			b< PUBACK 1
			s< PUBLISH t x q1 id=$x user=a:1 user=postbus-origin:elsewhere content=text
			far< PUBLISH t x q1 id=$x user=a:1 user=postbus-origin:elsewhere content=text user=postbus-hops:3`},
		{statement: "postbus", options: o, title: "the route that another client states is removed", text: `
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			far full username=link
			far> SUBSCRIBE 1 t,1
			far< SUBACK 1 01
			b full
			b> PUBLISH t x q1 id=1 user=postbus-hops:3 user=a:1 user=postbus-origin:elsewhere
			b< PUBACK 1
			s< PUBLISH t x q1 id=$x user=a:1
			far< PUBLISH t x q1 id=$x user=a:1 user=postbus-origin:*`},
		{statement: "postbus", options: o, title: "the same goes for wills", text: `
			s full
			s> SUBSCRIBE 1 t,1
			s< SUBACK 1 01
			b full will=t:gone wq=1 w-user=postbus-origin:elsewhere w-content=text
			b drop
			s< PUBLISH t gone q1 id=$x content=text`},
		{statement: "postbus", options: o, title: "an invalid number of hops, and one that is too large", text: `
			far full username=link
			far> SUBSCRIBE 1 t,1
			far< SUBACK 1 01
			b full username=link
			b> PUBLISH t x q1 id=1 user=postbus-hops:many
			b< PUBACK 1
			far< PUBLISH t x q1 id=$x user=postbus-origin:*
			b> PUBLISH t x q1 id=2 user=postbus-hops:4000000000
			b< PUBACK 2
			far< PUBLISH t x q1 id=$y user=postbus-hops:31 user=postbus-origin:*`},
		{statement: "postbus", options: o, title: "a bridge that asks learns whether it is trusted", text: `
			a> CONNECT username=link user=postbus-bridge:1
			a< CONNACK 00 user=postbus-bridge:true
			b> CONNECT user=postbus-bridge:1
			b< CONNACK 00 user=postbus-bridge:false
			c> CONNECT
			c< CONNACK 00 !user`},
	})
}

// TestAnEventThatComesBack publishes an event with this bus as its origin: it is acknowledged, and
// has no effect.
func TestAnEventThatComesBack(t *testing.T) {
	t.Parallel()
	addr, b := start(t, t.TempDir(), bus.Options{}, broker.Options{Authenticate: linked})
	epoch := b.Epoch()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w := &wire{Conn: c, r: bufio.NewReader(c), version: v5}
	for _, line := range []string{"CONNECT username=link", "SUBSCRIBE 1 t,2",
		fmt.Sprintf("PUBLISH t back q1 id=1 user=postbus-origin:%x", epoch), fmt.Sprintf("PUBLISH t back q2 id=2 user=postbus-origin:%x", epoch), "PUBREL 2",
		fmt.Sprintf("PUBLISH t back user=postbus-origin:%x", epoch), "PUBLISH t new user=postbus-origin:elsewhere"} {
		if _, err := w.Write(encode(line, "c", v5)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"CONNACK 00", "SUBACK 1 02", "PUBACK 1", "PUBREC 2", "PUBCOMP 2", "PUBLISH t new q0"} {
		got, err := w.read(answerTimeout)
		if err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s, %v instead of %s", got, err, want)
		}
	}
}

// startMosquitto runs a Mosquitto with its own config. It returns the address on which it listens.
func startMosquitto(t *testing.T, config string) (addr string, log *logtest.Buffer, kill func() error) {
	t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Skip("mosquitto is missing: install the Debian package mosquitto")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	file := filepath.Join(t.TempDir(), "mosquitto.conf")
	config = "listener " + port + " 127.0.0.1\nallow_anonymous true\nlog_dest stderr\nlog_type all\n" + config
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	log = new(logtest.Buffer)
	cmd := exec.Command(path, "-c", file)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log("mosquitto:\n" + log.String())
		}
	})
	return addr, log, cmd.Process.Kill
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 20 s: " + what)
		}
	}
}

// TestMosquittoAsABridge runs a Mosquitto with just the config that its manual gives for a bridge:
// it connects, an event that is published on either side arrives at the other, once, and this
// broker shows it as a bridge. The other cases change one line of the config.
func TestMosquittoAsABridge(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]string{
		"the default":               "",
		"MQTT 5":                    "bridge_protocol_version mqttv50\n",
		"MQTT 3.1":                  "bridge_protocol_version mqttv31\n",
		"without try_private":       "try_private false\n",
		"with a remote_clientid":    "remote_clientid attic\n",
		"without notifications":     "notifications false\n",
		"that is allowed nothing":   "remote_username nobody\nremote_password secret\n",
		"notifications kept local":  "notifications_local_only true\n",
		"with a clean session":      "cleansession true\n",
		"with a notification topic": "notification_topic bridges/attic\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := broker.Options{}
			if name == "that is allowed nothing" { // by a rule: publishing its state needs none
				o.Authenticate = onlyReads(t)
			}
			ours, b := start(t, t.TempDir(), bus.Options{SegmentSize: 1 << 20}, o)
			host, _ := os.Hostname()
			id := host + ".up"
			if strings.Contains(more, "remote_clientid") {
				id = "attic"
			}
			theirs, log, kill := startMosquitto(t, "connection up\naddress "+ours+"\ntopic # both 1\nrestart_timeout 1 1\n"+more)
			session := func() (s bus.SessionInfo) {
				list := b.Sessions()
				if i := slices.IndexFunc(list, func(s bus.SessionInfo) bool { return s.Name == id }); i >= 0 {
					s = list[i]
				}
				return s
			}
			eventually(t, "the bridge is connected and has subscribed", func() bool { s := session(); return s.Online && len(s.Filters) > 0 })
			if plain := name == "without notifications" || name == "notifications kept local" || name == "with a notification topic"; !plain || !strings.Contains(more, "try_private false") {
				eventually(t, "the session is shown as a bridge's", func() bool { return session().Bridge })
			}
			if strings.Contains(log.String(), "Connection Refused: not authorised") {
				t.Error("the bridge was refused before it got in")
			}
			if !strings.Contains(more, "notification") {
				eventually(t, "the state is retained", func() bool {
					list, err := b.Retained("$SYS/broker/connection/" + id + "/state")
					return err == nil && len(list) == 1 && string(list[0].Payload) == "1"
				})
			}
			here, there := make(chan string, 1000), make(chan string, 1000)
			sub, err := b.Subscribe(t.Context(), "watch", "#")
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for {
					e, err := sub.Next(t.Context())
					if err != nil {
						return
					}
					if strings.HasPrefix(e.Topic, "home/") {
						here <- e.Topic + " " + string(e.Payload)
					}
					sub.Ack(e)
				}
			}()
			watchMosquitto(t, theirs, there)
			var publishes []string
			if name != "that is allowed nothing" {
				publishes = append(publishes, "first", "second", "third")
			}
			for _, payload := range publishes {
				publishAt(t, theirs, "home/theirs", payload)
				want(t, there, "home/theirs "+payload)
				want(t, here, "home/theirs "+payload)
				if name == "without try_private" { // it did not declare itself a bridge: it gets back its own events
					want(t, there, "home/theirs "+payload)
				}
			}
			for i := range 20 {
				if _, err := b.Publish(t.Context(), bus.Event{Topic: "home/ours", Payload: fmt.Append(nil, i), QoS: 1}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 20 { // each once
				want(t, here, fmt.Sprint("home/ours ", i))
				want(t, there, fmt.Sprint("home/ours ", i))
			}
			if more == "" {
				_ = kill()
				eventually(t, "its will is published, and the session is still shown as a bridge's", func() bool {
					s := session()
					list, err := b.Retained("$SYS/broker/connection/" + id + "/state")
					return !s.Online && s.Bridge && err == nil && len(list) == 1 && string(list[0].Payload) == "0"
				})
			}
		})
	}
}

// onlyReads allows every client to read everything and to publish nothing.
func onlyReads(t *testing.T) broker.Authenticate {
	p, err := auth.NewPolicy(auth.NewVerifier(0), auth.Options{Anonymous: &auth.Rules{Subscribe: []string{"#"}}})
	if err != nil {
		t.Fatal(err)
	}
	return judgeBy(p)
}

func judgeBy(p *auth.Policy) broker.Authenticate {
	return func(c broker.Credentials) (broker.Identity, error) {
		id, err := p.Authenticate(c.User, c.Password, c.HasPassword, c.Local, c.Address)
		if err != nil {
			return nil, err
		}
		return id.As(c.ClientID), nil
	}
}

func want(t *testing.T, ch chan string, want string) {
	t.Helper()
	if got := take(t, ch, 1)[0]; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// watchMosquitto sends the events of a Mosquitto to ch, as "topic payload".
func watchMosquitto(t *testing.T, addr string, ch chan string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "mosquitto_sub", "-h", host, "-p", port, "-t", "home/#", "-t", "ready", "-q", "1", "-F", "%t %p")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		var line []byte
		var once sync.Once
		buf := make([]byte, 4096)
		for {
			n, err := out.Read(buf)
			for _, c := range buf[:n] {
				if c != '\n' {
					line = append(line, c)
					continue
				}
				if strings.HasPrefix(string(line), "ready ") {
					once.Do(func() { close(ready) })
				} else {
					ch <- string(line)
				}
				line = line[:0]
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done; _ = cmd.Wait() })
	eventually(t, "mosquitto_sub gets what is published", func() bool {
		publishAt(t, addr, "ready", "yes")
		select {
		case <-ready:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
}

func publishAt(t *testing.T, addr, topic, payload string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	command(t, "", "mosquitto_pub", "-h", host, "-p", port, "-t", topic, "-m", payload, "-q", "1")
}
