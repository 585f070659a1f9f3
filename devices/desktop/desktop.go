// Package desktop is the kind `desktop`: what a Linux desktop does, and what it can be told to do.
//
// What it promises:
//
//   - The state of each thing that is watched at the start, and then an event for each change. A service that is absent, or
//     a message bus that is started again, is waited for; what changed meanwhile is an event then. States that change faster
//     than events are taken may be skipped, the last one never.
//   - The event that the machine goes to sleep is durable before it sleeps, as long as that takes less than logind waits
//     (InhibitDelayMaxSec, 5 s): a delay inhibitor is held until then, and taken again at resume.
//   - Nothing is polled but one thing: with idle_after, while nobody is there, X is asked once a second whether somebody is.
//
// It owns no daemon and starts none, unless the file names what is watched and the bus can start its service.
package desktop

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var Sample string

// About is what the source does, for the documentation.
const About = "Tells what the desktop does: locked and unlocked, idle, about to sleep and awake again, mains or battery, the network, media players and the active window. Each tells its " +
	"state at the start and then its changes. The event of going to sleep is stored before the machine sleeps. A service that is absent is waited for, and one that is started again is " +
	"read anew. Linux only, by D-Bus (logind, UPower, NetworkManager, MPRIS) and X11; the window, and `idle_after`, need X11. For media and the screen lock postbus has to run as the user whose desktop it is. " +
	"Volume, microphone and camera are not told: there is no light way to know."

// common is what is watched without being named: what needs no X server and tells nothing private beyond a song's name.
var common = []string{"lock", "idle", "sleep", "power", "network", "media"}

// Options of the source.
type Options struct {
	Watch      []string      `key:"watch" doc:"what is told; default: all but window, of those that are there" oneof:"lock|idle|sleep|power|network|media|window"`
	Initial    bool          `key:"initial" doc:"whether the state at the start is an event"`
	IdleAfter  time.Duration `key:"idle_after" doc:"after this time without key or mouse it is idle, as X11 counts it; 0: when the desktop says so" min:"0s" max:"24h"`
	Session    string        `key:"session" doc:"the logind session for lock and idle, as loginctl lists it; empty for the own one"`
	Display    string        `key:"display" doc:"the X display for window and idle_after, as :0; empty for $DISPLAY"`
	SystemBus  string        `key:"system_bus" doc:"the D-Bus address of the system; empty for the usual one"`
	SessionBus string        `key:"session_bus" doc:"the D-Bus address of the session; empty for the usual one"`
}

// Defaults returns the options of a file that sets none.
func Defaults() Options { return Options{Initial: true} }

// Check looks across the options.
func (o Options) Check() []error {
	errs := checkAddresses(o.SystemBus, o.SessionBus)
	if o.IdleAfter > 0 && o.IdleAfter < time.Second {
		errs = append(errs, optionError{"idle_after", "less than a second is no idleness", "write idle_after: 5m"})
	}
	if o.IdleAfter > 0 && !slices.Contains(o.watched(), "idle") {
		errs = append(errs, optionError{"idle_after", "idle is not watched", "add idle to watch"})
	}
	if host, _, ok := strings.Cut(o.Display, ":"); o.Display != "" && (!ok || host != "" && host != "unix" && !strings.HasPrefix(host, "/")) {
		errs = append(errs, optionError{"display", fmt.Sprintf("%q is no display of this machine", o.Display), `write display: ":0"`})
	}
	return errs
}

// watched is what is watched.
func (o Options) watched() []string {
	if len(o.Watch) == 0 {
		return common
	}
	return o.Watch
}

// checkAddresses checks D-Bus addresses as far as can be done without connecting.
func checkAddresses(system, session string) (errs []error) {
	for _, a := range [][2]string{{"system_bus", system}, {"session_bus", session}} {
		if transport, _, ok := strings.Cut(a[1], ":"); a[1] != "" && (!ok || transport == "") {
			errs = append(errs, optionError{a[0], fmt.Sprintf("%q is no address of a message bus", a[1]), "write it as unix:path=/run/user/1000/bus"})
		}
	}
	return errs
}

// optionError is a mistake in the options, with the key it is about and what to write.
type optionError struct{ key, reason, hint string }

func (e optionError) Error() string { return e.reason }
func (e optionError) Key() string   { return e.key }
func (e optionError) Hint() string  { return e.hint }

// Event documents the fields of an event. Each has what, and those of it.
type Event struct {
	What         string  `key:"what" doc:"what it is about: lock, idle, sleep, power, network, media or window; the other fields are those of it"`
	Locked       bool    `key:"locked" doc:"lock: whether the session is locked, or its screen saver is on"`
	Idle         bool    `key:"idle" doc:"idle: whether nobody is there"`
	Asleep       bool    `key:"asleep" doc:"sleep: true before the machine sleeps, false when it woke up"`
	OnBattery    bool    `key:"on_battery" doc:"power: whether the machine runs on its battery"`
	Percentage   float64 `key:"percentage" doc:"power: how full the battery is; nil without one"`
	State        string  `key:"state" doc:"power: charging, discharging, full, empty, pending or unknown, nil without a battery; network: asleep, disconnected, disconnecting, connecting, local, site, connected or unknown"`
	LidClosed    bool    `key:"lid_closed" doc:"power: whether the lid is closed; nil without one"`
	TimeToEmpty  float64 `key:"time_to_empty" doc:"power: about so many seconds until the battery is empty; nil when that isn't known. It alone makes no event"`
	TimeToFull   float64 `key:"time_to_full" doc:"power: about so many seconds until it is full; nil when that isn't known. It alone makes no event"`
	Connectivity string  `key:"connectivity" doc:"network: full, limited, portal (a login page), none or unknown"`
	Connection   string  `key:"connection" doc:"network: the name of the connection that the default route goes by; nil without one"`
	Type         string  `key:"type" doc:"network: its type, as 802-3-ethernet, 802-11-wireless or vpn; nil without one"`
	Player       string  `key:"player" doc:"media: the player, as vlc or firefox.instance_1_42; the action takes it"`
	Identity     string  `key:"identity" doc:"media: the player's name for people"`
	Status       string  `key:"status" doc:"media: playing, paused, stopped, or closed when the player is gone"`
	Title        string  `key:"title" doc:"media: the title; window: what stands above the window; nil without one"`
	Artist       string  `key:"artist" doc:"media: the artists, separated by commas; nil when it isn't known"`
	Album        string  `key:"album" doc:"media: the album; nil when it isn't known"`
	Length       float64 `key:"length" doc:"media: the length in seconds; nil when it isn't known"`
	URL          string  `key:"url" doc:"media: where it comes from; nil when it isn't known"`
	Class        string  `key:"class" doc:"window: the kind of program, as Firefox; nil without a window"`
	Instance     string  `key:"instance" doc:"window: the program's name for this window, as Navigator; nil without a window"`
	PID          int     `key:"pid" doc:"window: the program's process id; nil when the window doesn't say"`
}

// Env is what the source needs of the bus.
type Env interface {
	Degraded(err error)
	Lost(n int, reason string)
}
