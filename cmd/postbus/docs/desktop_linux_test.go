// This file is a desktop for docs/desktop.md, simulated by this test binary in the machine: it
// shows notifications, presses their first button at once, and plays music. It ends with the
// machine.

package docs

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
)

func TestMain(m *testing.M) {
	if os.Getenv("DOCS_DESKTOP") == "" {
		os.Exit(m.Run())
	}
	if err := desktop(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	select {}
}

func desktop() error {
	conn, err := dbus.ConnectSessionBus()
	if err != nil {
		return err
	}
	if err := conn.Export(notifications{conn}, "/org/freedesktop/Notifications", "org.freedesktop.Notifications"); err != nil {
		return err
	}
	const path, iface = "/org/mpris/MediaPlayer2", "org.mpris.MediaPlayer2"
	props, err := prop.Export(conn, path, prop.Map{
		iface: {"Identity": {Value: "Player"}},
		iface + ".Player": {
			"PlaybackStatus": {Value: "Playing", Emit: prop.EmitTrue},
			"CanControl":     {Value: true}, "CanPause": {Value: true}, "CanPlay": {Value: true},
			"Metadata": {Value: map[string]dbus.Variant{"xesam:title": dbus.MakeVariant("So What"), "xesam:artist": dbus.MakeVariant([]string{"Miles Davis"})}},
		},
	})
	if err != nil {
		return err
	}
	if err := conn.Export(player{props}, path, iface+".Player"); err != nil {
		return err
	}
	for _, name := range []string{"org.freedesktop.Notifications", iface + ".player"} {
		if _, err := conn.RequestName(name, 0); err != nil {
			return err
		}
	}
	return nil
}

type notifications struct{ conn *dbus.Conn }

func (notifications) GetCapabilities() ([]string, *dbus.Error) {
	return []string{"actions", "body"}, nil
}

func (notifications) GetServerInformation() (name, vendor, version, spec string, err *dbus.Error) {
	return "docs", "postbus", "1", "1.2", nil
}

func (notifications) CloseNotification(uint32) *dbus.Error { return nil }

// Notify logs the notification, and presses the first button.
func (n notifications) Notify(_ string, _ uint32, _, title, body string, actions []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	fmt.Printf("shown: %s: %s %q\n", title, body, actions)
	if len(actions) > 0 {
		time.AfterFunc(300*time.Millisecond, func() {
			_ = n.conn.Emit("/org/freedesktop/Notifications", "org.freedesktop.Notifications.ActionInvoked", uint32(1), actions[0])
		})
	}
	return 1, nil
}

type player struct{ props *prop.Properties }

func (p player) Pause() *dbus.Error {
	fmt.Println("paused")
	p.props.SetMust("org.mpris.MediaPlayer2.Player", "PlaybackStatus", "Paused")
	return nil
}
