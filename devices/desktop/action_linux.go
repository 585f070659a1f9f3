// This file is the action: one call of logind, a player or the portal for each event.

package desktop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/plugins/kind"
)

// Action executes the file's commands. It connects again for each event, so that a restarted bus
// does not matter.
type Action struct {
	o      ActionOptions
	opener string               // the program that opens addresses
	uptime func() time.Duration // time since the machine's start

	children sync.WaitGroup // running openers
	end      context.CancelFunc
	alive    context.Context // cancelled by Close
}

// minUptime is how long the machine must run before it may be rebooted or powered off, so that a
// redelivered event can't make a loop of reboots.
const minUptime = 2 * time.Minute

// NewAction makes an action of checked options.
func NewAction(o ActionOptions, _ kind.Env) *Action {
	a := &Action{o: o, opener: "xdg-open", uptime: uptime}
	a.alive, a.end = context.WithCancel(context.Background())
	return a
}

// Close ends the child processes of xdg-open that still run.
func (a *Action) Close() error {
	a.end()
	a.children.Wait()
	return nil
}

func uptime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return minUptime
	}
	return time.Duration(t.Nano())
}

// Do executes a command. It returns nil when the service has accepted it.
func (a *Action) Do(ctx context.Context, args Args) error {
	if ofSound(a.o.Do) {
		return a.sound(ctx, args.Percent)
	}
	media := strings.HasPrefix(a.o.Do, "media_")
	volume := 0.0
	var err error
	switch {
	case a.o.Do == "open":
		err = checkURL(args.URL, a.o.Schemes)
	case a.o.Do == "media_volume":
		volume, err = percent(args.Percent, 100)
	case (a.o.Do == "reboot" || a.o.Do == "poweroff") && a.uptime() < minUptime:
		err = kind.Permanent(fmt.Errorf("%s: the machine has just started; this is refused for %s, so that a redelivered event can't cause a loop", a.o.Do, minUptime))
	}
	if err != nil {
		return err
	}
	which, given := system, a.o.SystemBus
	if media || a.o.Do == "open" {
		which, given = session, a.o.SessionBus
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := dial(inner, which, given)
	if err != nil && a.o.Do == "open" {
		return a.child(ctx, args.URL) // xdg-open may work without a bus
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	switch {
	case media:
		return a.media(ctx, conn, args.Player, volume)
	case a.o.Do == "open":
		return a.open(ctx, conn, args.URL)
	case a.o.Do == "lock" || a.o.Do == "unlock":
		return a.lock(ctx, conn)
	}
	return a.power(ctx, conn)
}

// lock locks or unlocks the session.
func (a *Action) lock(ctx context.Context, conn *dbus.Conn) error {
	list, err := logins(ctx, conn)
	if err != nil {
		return err
	}
	s, err := chosen(list, a.o.Session)
	if err != nil {
		return fmt.Errorf("%s: %w", a.o.Do, err)
	}
	method := map[string]string{"lock": "Lock", "unlock": "Unlock"}[a.o.Do]
	return a.refusal(call(ctx, conn, logind, s.path, logind+".Session."+method).Err, "lock-sessions")
}

// power suspends, hibernates, powers off or reboots.
func (a *Action) power(ctx context.Context, conn *dbus.Conn) error {
	method := map[string]string{"suspend": "Suspend", "hibernate": "Hibernate", "poweroff": "PowerOff", "reboot": "Reboot"}[a.o.Do]
	right := map[string]string{"suspend": "suspend", "hibernate": "hibernate", "poweroff": "power-off", "reboot": "reboot"}[a.o.Do]
	var can string
	if err := call(ctx, conn, logind, logindPath, logind+".Manager.Can"+method).Store(&can); err != nil {
		return fmt.Errorf("%s: logind doesn't answer: %w", a.o.Do, err)
	}
	switch can {
	case "na":
		return kind.Permanent(fmt.Errorf("%s: this machine does not support it", a.o.Do))
	case "no", "challenge":
		return a.denied(right, fmt.Sprintf("Can%s returned %q", method, can))
	}
	return a.refusal(call(ctx, conn, logind, logindPath, logind+".Manager."+method, false).Err, right)
}

func (a *Action) denied(right, why string) error {
	return kind.Permanent(fmt.Errorf("%s: no permission: allow org.freedesktop.login1.%s for the user that runs postbus by a polkit rule (/etc/polkit-1/rules.d); %s", a.o.Do, right, why))
}

// refusal distinguishes missing permissions from other errors.
func (a *Action) refusal(err error, right string) error {
	var e dbus.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e) && (e.Name == "org.freedesktop.DBus.Error.AccessDenied" || e.Name == "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"):
		return a.denied(right, err.Error())
	}
	return fmt.Errorf("%s: %w", a.o.Do, err)
}

// media calls a player.
func (a *Action) media(ctx context.Context, conn *dbus.Conn, named string, volume float64) error {
	name, err := player(ctx, conn, named)
	if err != nil {
		return fmt.Errorf("%s: %w", a.o.Do, err)
	}
	if a.o.Do == "media_volume" {
		err = call(ctx, conn, name, playerPath, "org.freedesktop.DBus.Properties.Set", playerFace, "Volume", dbus.MakeVariant(volume/100)).Err
	} else {
		method := map[string]string{"media_play": "Play", "media_pause": "Pause", "media_playpause": "PlayPause", "media_next": "Next", "media_previous": "Previous",
			"media_stop": "Stop"}[a.o.Do]
		err = call(ctx, conn, name, playerPath, playerFace+"."+method).Err
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", a.o.Do, name[len(players):], err)
	}
	return nil
}

// playing lists the players and their playback states.
func playing(ctx context.Context, conn *dbus.Conn) (map[string]string, error) {
	var names []string
	if err := call(ctx, conn, daemon, "/org/freedesktop/DBus", daemon+".ListNames").Store(&names); err != nil {
		return nil, fmt.Errorf("the message bus doesn't list its clients: %w", err)
	}
	out := map[string]string{}
	for _, n := range names {
		if !strings.HasPrefix(n, players) || n == mirror || len(out) == maxNames {
			continue
		}
		var v dbus.Variant
		if call(ctx, conn, n, playerPath, "org.freedesktop.DBus.Properties.Get", playerFace, "PlaybackStatus").Store(&v) == nil {
			out[n], _ = v.Value().(string)
		}
	}
	return out, nil
}

// player returns the bus name of a player: the named one (also without its instance), the one that
// plays, one that is paused, or the only one.
func player(ctx context.Context, conn *dbus.Conn, named string) (string, error) {
	all, err := playing(ctx, conn)
	if err != nil {
		return "", err
	}
	sorted := slices.Sorted(maps.Keys(all))
	short := make([]string, len(sorted))
	for i, n := range sorted {
		short[i] = n[len(players):]
	}
	list := "available: " + strings.Join(short, ", ")
	if len(all) == 0 {
		list = "no media player is running"
	}
	if named != "" {
		for _, n := range sorted {
			if s := n[len(players):]; s == named || strings.HasPrefix(s, named+".") {
				return n, nil
			}
		}
		return "", fmt.Errorf("there is no player %.80q; %s", named, list)
	}
	for _, status := range []string{"Playing", "Paused"} {
		for _, n := range sorted {
			if all[n] == status {
				return n, nil
			}
		}
	}
	if len(all) == 1 {
		return sorted[0], nil
	}
	if len(all) == 0 {
		return "", errors.New(list)
	}
	return "", fmt.Errorf("no player is playing: set player; %s", list)
}
