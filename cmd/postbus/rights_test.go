package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/bus/auth"
)

// member is an MQTT client of a test of rights.
func member(t *testing.T, address, user, id string, set func(*paho.ClientOptions)) paho.Client {
	t.Helper()
	o := paho.NewClientOptions().AddBroker(address).SetClientID(id).SetUsername(user).SetPassword("secret").SetAutoReconnect(false)
	if set != nil {
		set(o)
	}
	c := paho.NewClient(o)
	if tok := c.Connect(); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		t.Fatalf("%s as %s: %v", user, id, tok.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// TestRulesOfClients: groups and ${client} hold for the events of a connected client, also after a
// reload, and for its last will.
func TestRulesOfClients(t *testing.T) {
	dir := t.TempDir()
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`listen: {mqtt: ["tcp://127.0.0.1:0"], http: "off"}
groups:
  devices: {publish: ["dev/${client}/#"]}
users:
  - {name: pi, password: %q, groups: [devices]}
  - {name: root, password: %[1]q, publish: ["#"], subscribe: ["#"]}
`, hash)
	addresses, log := running(t, dir, text)
	events := make(chan string, 100)
	root := member(t, addresses[0], "root", "root", nil)
	if tok := root.SubscribeMultiple(map[string]byte{"dev/#": 1, "dev2/#": 1, "end": 1}, func(_ paho.Client, m paho.Message) { events <- m.Topic() }); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	c1 := member(t, addresses[0], "pi", "c1", nil)
	c2 := member(t, addresses[0], "pi", "c2", nil)
	// arrive sends events of one client after the other, then one of root, and compares what arrives.
	arrive := func(want ...string) {
		t.Helper()
		for _, c := range []paho.Client{c1, c2} {
			for _, topic := range []string{"dev/c1/x", "dev/c2/x", "dev2/c1/x", "dev2/c2/x"} {
				if tok := c.Publish(topic, 1, false, ""); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
					t.Fatal(tok.Error())
				}
			}
		}
		if tok := root.Publish("end", 1, false, ""); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		var got []string
		for {
			select {
			case topic := <-events:
				if topic == "end" {
					if strings.Join(got, " ") != strings.Join(want, " ") {
						t.Errorf("got %q, want %q", got, want)
					}
					return
				}
				got = append(got, topic)
			case <-time.After(time.Minute):
				t.Fatal("silence")
			}
		}
	}
	arrive("dev/c1/x", "dev/c2/x")
	conf := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(conf, []byte(strings.Replace(text, "dev/${client}", "dev2/${client}", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	log.waitFor(t, "config reloaded")
	arrive("dev2/c1/x", "dev2/c2/x")
	var socket net.Conn
	member(t, addresses[0], "pi", "c3", func(o *paho.ClientOptions) {
		o.SetWill("dev2/c3/will", "", 1, false).SetCustomOpenConnectionFn(func(u *url.URL, _ paho.ClientOptions) (c net.Conn, err error) {
			socket, err = net.Dial("tcp", u.Host)
			return socket, err
		})
	})
	socket.Close()
	select {
	case topic := <-events:
		if topic != "dev2/c3/will" {
			t.Error(topic)
		}
	case <-time.After(time.Minute):
		t.Fatal("no last will")
	}
}
