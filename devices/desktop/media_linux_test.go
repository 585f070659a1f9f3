// This file tests media players: a small one that the test simulates, on a private bus.

package desktop

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"

	"github.com/postbus/postbus/devices/internal/desktoptest"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// playerMock is a media player.
type playerMock struct {
	conn   *dbus.Conn
	props  *prop.Properties
	called chan string
}

// Play is called over the bus, as are the others.
func (p *playerMock) Play() *dbus.Error      { p.called <- "Play"; return nil }
func (p *playerMock) Pause() *dbus.Error     { p.called <- "Pause"; return nil }
func (p *playerMock) PlayPause() *dbus.Error { p.called <- "PlayPause"; return nil }
func (p *playerMock) Next() *dbus.Error      { p.called <- "Next"; return nil }

func newPlayer(t *testing.T, bus *desktoptest.Bus, name, status string) *playerMock {
	t.Helper()
	p := &playerMock{conn: bus.Dial(), called: make(chan string, 10)}
	if err := p.conn.Export(p, playerPath, playerFace); err != nil {
		t.Fatal(err)
	}
	var err error
	p.props, err = prop.Export(p.conn, playerPath, prop.Map{
		"org.mpris.MediaPlayer2": {"Identity": {Value: "Player " + name, Emit: prop.EmitTrue}},
		playerFace: {
			"PlaybackStatus": {Value: status, Emit: prop.EmitTrue},
			"Metadata":       {Value: map[string]dbus.Variant{}, Emit: prop.EmitTrue},
			"Volume":         {Value: 1.0, Writable: true, Emit: prop.EmitTrue, Callback: func(c *prop.Change) *dbus.Error { p.called <- "Volume"; return nil }},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := p.conn.RequestName(players+name, 0); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(r, err)
	}
	return p
}

func TestMedia(t *testing.T) {
	t.Parallel()
	bus := desktoptest.NewBus(t)
	vlc := newPlayer(t, bus, "vlc", "Stopped")
	r := run(t, Options{Watch: []string{"media"}, Initial: true, SessionBus: bus.Address}, nil)
	fields := []string{"player", "status", "title", "artist", "album", "length"}
	r.want("media vlc stopped <nil> <nil> <nil> <nil>", fields...)
	vlc.props.SetMust(playerFace, "Metadata", map[string]dbus.Variant{"xesam:title": dbus.MakeVariant("So What"), "xesam:artist": dbus.MakeVariant([]string{"Miles Davis", "Bill Evans"}),
		"xesam:album": dbus.MakeVariant("Kind of Blue"), "mpris:length": dbus.MakeVariant(int64(545_500_000))})
	r.want("media vlc stopped So What Miles Davis, Bill Evans Kind of Blue 545.5", fields...)
	vlc.props.SetMust(playerFace, "PlaybackStatus", "Playing")
	if e := r.want("media vlc playing So What Miles Davis, Bill Evans Kind of Blue 545.5", fields...); e["identity"] != "Player vlc" {
		t.Error(e)
	}
	vlc.props.SetMust(playerFace, "Volume", 0.5) // makes no event
	mpv := newPlayer(t, bus, "mpv.instance_1_7", "Paused")
	r.want("media mpv.instance_1_7 paused <nil> <nil> <nil> <nil>", fields...)
	newPlayer(t, bus, "playerctld", "Playing") // it mirrors another player
	mpv.conn.Close()
	r.want("media mpv.instance_1_7 closed", fields[:2]...)
	newPlayer(t, bus, "mpv.instance_1_7", "Paused") // the same state as before, but the player is new
	r.want("media mpv.instance_1_7 paused", fields[:2]...)

	bus.Kill()
	r.says("the message bus")
	bus.Start()
	r.want("media mpv.instance_1_7 closed", fields[:2]...)
	r.want("media vlc closed", fields[:2]...)
	newPlayer(t, bus, "vlc", "Paused")
	r.want("media vlc paused", fields[:2]...)
	r.stop()
	r.none()
}

func TestAPlayerThatHangsDelaysNothingElse(t *testing.T) {
	t.Parallel()
	bus := desktoptest.NewBus(t)
	c, _ := logged(t, bus)
	hangs := bus.Dial()
	if err := hangs.ExportMethodTable(map[string]any{"GetAll": func(string) *dbus.Error { <-t.Context().Done(); return nil }}, playerPath, "org.freedesktop.DBus.Properties"); err != nil {
		t.Fatal(err)
	}
	if _, err := hangs.RequestName(players+"hangs", 0); err != nil {
		t.Fatal(err)
	}
	newPlayer(t, bus, "vlc", "Playing")
	r := run(t, Options{Watch: []string{"media", "lock"}, Initial: true, SystemBus: bus.Address, SessionBus: bus.Address}, nil)
	r.want("lock false", "locked")
	hint(t, c, "LockedHint", true)
	r.want("lock true", "locked")
	r.want("media vlc playing", "player", "status")
}

func TestMediaThatSaysAnything(t *testing.T) {
	long := strings.Repeat("ä", 5000)
	f := mediaFields("x", map[string]dbus.Variant{"PlaybackStatus": dbus.MakeVariant(int32(3)), "Metadata": dbus.MakeVariant(map[string]dbus.Variant{
		"xesam:title": dbus.MakeVariant(long), "xesam:artist": dbus.MakeVariant("One"), "xesam:album": dbus.MakeVariant(int32(1)), "mpris:length": dbus.MakeVariant(uint64(1 << 63))})})
	if title := f["title"].(string); len([]rune(title)) != 1001 || f["status"] != "stopped" || f["artist"] != "One" || f["album"] != nil || f["length"] != nil {
		t.Error(f["status"], f["artist"], f["album"], f["length"], len(title))
	}
	if f := mediaFields("x", nil); f["title"] != nil {
		t.Error(f)
	}
	if f := powerFields(nil, map[string]dbus.Variant{"IsPresent": dbus.MakeVariant(true), "State": dbus.MakeVariant(uint32(99))}); f["state"] != "unknown" {
		t.Error(f)
	}
}

// do executes one event with an action.
func do(t *testing.T, o ActionOptions, args Args) error {
	t.Helper()
	a := NewAction(o, kindtest.NewBus())
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), desktoptest.Patience)
	defer cancel()
	return a.Do(ctx, args)
}

func TestPlayersAreControlled(t *testing.T) {
	bus := desktoptest.NewBus(t)
	o := func(do string) ActionOptions { return ActionOptions{Do: do, SessionBus: bus.Address} }
	if err := do(t, o("media_play"), Args{}); err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), "no media player is running") {
		t.Error(err)
	}
	vlc, mpv := newPlayer(t, bus, "vlc", "Paused"), newPlayer(t, bus, "mpv.instance_1_7", "Stopped")
	called := func(p *playerMock, want string) {
		t.Helper()
		select {
		case got := <-p.called:
			if got != want {
				t.Errorf("%s was called, not %s", got, want)
			}
		case <-time.After(desktoptest.Patience):
			t.Errorf("%s was not called", want)
		}
	}
	for _, c := range []struct {
		do, player string
		percent    any
		p          *playerMock
		want       string
	}{
		{"media_play", "", nil, vlc, "Play"}, // the paused one
		{"media_playpause", "vlc", nil, vlc, "PlayPause"},
		{"media_next", "mpv", nil, mpv, "Next"}, // without its instance
		{"media_volume", "mpv.instance_1_7", 30, mpv, "Volume"},
	} {
		if err := do(t, o(c.do), Args{Player: c.player, Percent: c.percent}); err != nil {
			t.Fatal(err)
		}
		called(c.p, c.want)
	}
	if v := mpv.props.GetMust(playerFace, "Volume"); v != 0.3 {
		t.Error(v)
	}
	mpv.props.SetMust(playerFace, "PlaybackStatus", "Playing")
	if err := do(t, o("media_pause"), Args{}); err != nil {
		t.Fatal(err)
	}
	called(mpv, "Pause")
	err := do(t, o("media_pause"), Args{Player: "spotify"})
	if err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), `there is no player "spotify"; available: mpv.instance_1_7, vlc`) {
		t.Error(err)
	}
	vlc.props.SetMust(playerFace, "PlaybackStatus", "Stopped")
	mpv.props.SetMust(playerFace, "PlaybackStatus", "Stopped")
	if err := do(t, o("media_play"), Args{}); err == nil || !strings.Contains(err.Error(), "no player is playing: set player; available: mpv.instance_1_7, vlc") {
		t.Error(err)
	}
	if got := strings.Join(describe(Options{SystemBus: bus.Address, SessionBus: bus.Address, SoundServer: silent}, defaultPaths), "\n"); !strings.Contains(got, `player: "vlc"  # stopped`) {
		t.Error(got)
	}
}
