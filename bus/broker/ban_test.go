package broker_test

// This file is bans, and what an administrator sees of a client.

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/ban"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/bustest"
)

// TestABannedClient: it is disconnected, and refused before its password is looked at, until the ban
// ends; others are not.
func TestABannedClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list, err := ban.New(nil, func([]byte) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		logins := 0
		var h *house
		h = newHouse(t, bustest.NewDisk(1), func(o *broker.Options) {
			o.Bans = list
			o.Authenticate = func(login broker.Credentials) (broker.Identity, error) {
				logins++
				if login.User == "late" { // an administrator is as fast as the client
					if err := h.broker.Ban(ban.Ban{Client: "late"}); err != nil {
						t.Error(err)
					}
				}
				return rights{}, nil
			}
		})
		pump, lamp := h.connect("pump", 60), h.connect("lamp", 60)
		if err := h.broker.Ban(ban.Ban{Client: "pump", Until: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		if first, p := pump.packet(t); first != 0xE0 || p[0] != 0x98 {
			t.Errorf("packet %x %x instead of DISCONNECT 98", first, p)
		}
		pump.Close()
		time.Sleep(2 * time.Second)
		h.want("pump", false, "an administrator banned the client")
		h.want("lamp", true, "")
		before := logins
		again := h.knock("pump", 60)
		if first, p := again.packet(t); first != 0x20 || p[1] != 0x8A {
			t.Errorf("packet %x %x instead of CONNACK 8A", first, p)
		}
		again.Close()
		old := h.knockOld("pump")
		if first, p := old.packet(t); first != 0x20 || p[1] != 5 {
			t.Errorf("packet %x %x instead of CONNACK 5", first, p)
		}
		old.Close()
		if logins != before {
			t.Error("the password of a banned client is looked at")
		}
		if err := h.broker.Ban(ban.Ban{Client: "lamp"}); err != nil {
			t.Fatal(err)
		}
		_, _ = lamp.packet(t)
		lamp.Close()
		if existed, err := h.broker.Unban(ban.Ban{Client: "lamp"}); !existed || err != nil {
			t.Error(existed, err)
		}
		h.connect("lamp", 60).Close()
		time.Sleep(time.Hour)
		h.connect("pump", 60).Close()
		late := h.pipe()
		send(t, late, 0x10, str(str(append(str(nil, "MQTT"), 5, 0x80, 0, 0, 0), "late"), "late"))
		if first, p := late.packet(t); first != 0x20 || p[1] != 0x8A {
			t.Errorf("packet %x %x instead of CONNACK 8A", first, p)
		}
		late.Close()
		if _, err := h.broker.Unban(ban.Ban{Client: "late"}); err != nil {
			t.Error(err)
		}
		if n := len(h.broker.Bans()); n != 0 {
			t.Errorf("%d bans are left", n)
		}
		h.close()
	})
}

// TestAConnection: what an administrator sees is counted.
func TestAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, bustest.NewDisk(1))
		c := h.connect("pump", 60)
		send(t, c, 0x82, append(str([]byte{0, 1, 0}, "t"), 1))
		_, _ = c.packet(t)
		for range 3 {
			send(t, c, 0x30, append(str(nil, "t"), 0, 'x'))
			_, _ = c.packet(t)
		}
		synctest.Wait()
		d, ok := h.broker.Connection("pump")
		// CONNECT, SUBSCRIBE and three PUBLISH; CONNACK, SUBACK and three PUBLISH.
		if !ok || d.EventsIn != 3 || d.EventsOut != 3 || d.BytesIn != 24+9+3*7 || d.BytesOut < 3*7+8 || !d.Online || d.KeepAlive != 0 {
			t.Errorf("%+v %v", d, ok)
		}
		if list := h.bus.ClientsAfter("", 10); len(list) != 1 || list[0].Name != "pump" {
			t.Errorf("%+v", list)
		}
		if list := h.bus.ClientsAfter("pump", 10); len(list) != 0 {
			t.Errorf("%+v", list)
		}
		c.Close()
		gone := h.connect("gone", 0)
		gone.Close()
		time.Sleep(2 * time.Second)
		if _, ok := h.broker.Connection("pump"); ok {
			t.Error("a client that is offline has a connection")
		}
		if list := h.broker.AbsentAfter("", 10); len(list) != 1 || list[0] != "gone" || !h.broker.Absent("gone") || h.broker.Absent("pump") {
			t.Errorf("%q", list)
		}
		if list := h.broker.AbsentAfter("gone", 10); len(list) != 0 {
			t.Errorf("%q", list)
		}
		h.close()
	})
}

type rights struct{}

func (rights) MayPublish(string) bool   { return true }
func (rights) MaySubscribe(string) bool { return true }
func (rights) MayRead(string) bool      { return true }

// knockOld connects with MQTT 3.1.1.
func (h *house) knockOld(id string) *raw {
	h.Helper()
	c := h.pipe()
	send(h, c, 0x10, str(append(str(nil, "MQTT"), 4, 2, 0, 0), id))
	return c
}
