// Package desktop is the kind `desktop`: the state of a Linux desktop, and commands to it.
//
// What it promises:
//
//   - The state of each watched thing at the start, and then an event for each change. An absent
//     service, or a message bus that restarts, is waited for; a change meanwhile is an event then.
//     States that change faster than events are accepted may be skipped, but never the last one.
//   - The event that the machine goes to sleep is durable before it sleeps, unless that takes
//     longer than logind waits (InhibitDelayMaxSec, 5 s): a delay inhibitor is held until then, and
//     taken again at resume.
//   - Nothing is polled with one exception: with idle_after, while the user is idle, the source
//     asks X once a second whether the user is active again.
//   - A camera isn't opened to see whether it is in use, nor a microphone.
//
// It owns no daemon and starts none, unless the file names what is watched and the bus can start
// its service. systemd may start a sound server whose socket it holds, as it does for any program
// that asks for its volume.
package desktop

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/devices/internal/pulse"
	"github.com/postbus/postbus/plugins/kind"
)

// sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var sample string

// about is what the source does, for the documentation.
const about = "Tells what the desktop does: locked and unlocked, idle, about to sleep and awake again, mains or battery, the network, media players, the active window, the volume, and whether microphone and camera are in use. Each tells its " +
	"state at the start and then its changes. The event of going to sleep is stored before the machine sleeps. A service that is absent is waited for, and one that is started again is " +
	"read anew. Linux only, by D-Bus (logind, UPower, NetworkManager, MPRIS), the sound server (PulseAudio, or PipeWire with pipewire-pulse) and X11; the window, and `idle_after`, need X11. For media, the screen lock and sound postbus has to run as the user whose desktop it is.\n\n" +
	"The microphone is in use while a program records from any source but a monitor, which is what is played; a paused stream, a level meter, and what the sound server does by itself " +
	"(a loopback, an echo canceller) don't count. A camera is in use while a process has it open for more than half a second; which one is known of this user's processes, or all when postbus is root. " +
	"One of another user counts from its opening until the next closing, and has no name; one in a container with a /dev of its own isn't noticed. A program that films by way of PipeWire is told as pipewire or wireplumber, which open the camera for it."

// common is what is watched by default: what needs no X server and reveals little private data, the
// names of a song and of a program that records.
var common = []string{"lock", "idle", "sleep", "power", "network", "media", "volume", "microphone", "camera"}

// Options of the source.
type Options struct {
	Watch       []string      `key:"watch" doc:"what is told; default: all but window, of those that are there" oneof:"lock|idle|sleep|power|network|media|window|volume|microphone|camera"`
	Initial     bool          `key:"initial" doc:"whether the state at the start is an event"`
	IdleAfter   time.Duration `key:"idle_after" doc:"after this time without key or mouse it is idle, as X11 counts it; 0: when the desktop says so" min:"0s" max:"24h"`
	Session     string        `key:"session" doc:"the logind session for lock and idle, as loginctl lists it; empty for the own one"`
	Display     string        `key:"display" doc:"the X display for window and idle_after, as :0; empty for $DISPLAY"`
	SystemBus   string        `key:"system_bus" doc:"the D-Bus address of the system; empty for the usual one"`
	SessionBus  string        `key:"session_bus" doc:"the D-Bus address of the session; empty for the usual one"`
	SoundServer string        `key:"sound_server" doc:"the unix socket of the sound server, as /run/user/1000/pulse/native; empty for $PULSE_SERVER or the usual one"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{Initial: true} }

// Check checks the options against each other.
func (o Options) Check() []error {
	errs := checkAddresses(o.SystemBus, o.SessionBus, o.SoundServer)
	if o.IdleAfter > 0 && o.IdleAfter < time.Second {
		errs = append(errs, kind.Wrong("idle_after", "less than a second is no idleness", "write idle_after: 5m"))
	}
	if o.IdleAfter > 0 && !slices.Contains(o.watched(), "idle") {
		errs = append(errs, kind.Wrong("idle_after", "idle is not watched", "add idle to watch"))
	}
	if host, _, ok := strings.Cut(o.Display, ":"); o.Display != "" && (!ok || host != "" && host != "unix" && !strings.HasPrefix(host, "/")) {
		errs = append(errs, kind.Wrong("display", fmt.Sprintf("%q is no display of this machine", o.Display), `write display: ":0"`))
	}
	return errs
}

// watched returns the watched things.
func (o Options) watched() []string {
	if len(o.Watch) == 0 {
		return common
	}
	return o.Watch
}

// checkAddresses checks the addresses of D-Bus and of a sound server, as far as possible without
// connecting.
func checkAddresses(system, session, sound string) (errs []error) {
	if _, err := pulse.Socket(sound); sound != "" && err != nil {
		errs = append(errs, kind.Wrong("sound_server", err.Error(), "write it as /run/user/1000/pulse/native"))
	}
	for _, a := range [][2]string{{"system_bus", system}, {"session_bus", session}} {
		if transport, _, ok := strings.Cut(a[1], ":"); a[1] != "" && (!ok || transport == "") {
			errs = append(errs, kind.Wrong(a[0], fmt.Sprintf("%q is no address of a message bus", a[1]), "write it as unix:path=/run/user/1000/bus"))
		}
	}
	return errs
}

// eventFields documents the fields of an event. Each event has what, and the fields of that thing.
type eventFields struct {
	What         string   `key:"what" doc:"what it is about: lock, idle, sleep, power, network, media, window, volume, microphone or camera; the other fields are those of it"`
	Locked       bool     `key:"locked" doc:"lock: whether the session is locked, or its screen saver is on"`
	Idle         bool     `key:"idle" doc:"idle: whether nobody is there"`
	Asleep       bool     `key:"asleep" doc:"sleep: true before the machine sleeps, false when it woke up"`
	OnBattery    bool     `key:"on_battery" doc:"power: whether the machine runs on its battery"`
	Percentage   float64  `key:"percentage" doc:"power: how full the battery is; nil without one"`
	State        string   `key:"state" doc:"power: charging, discharging, full, empty, pending or unknown, nil without a battery; network: asleep, disconnected, disconnecting, connecting, local, site, connected or unknown"`
	LidClosed    bool     `key:"lid_closed" doc:"power: whether the lid is closed; nil without one"`
	TimeToEmpty  float64  `key:"time_to_empty" doc:"power: about so many seconds until the battery is empty; nil when that isn't known. It alone makes no event"`
	TimeToFull   float64  `key:"time_to_full" doc:"power: about so many seconds until it is full; nil when that isn't known. It alone makes no event"`
	Connectivity string   `key:"connectivity" doc:"network: full, limited, portal (a login page), none or unknown"`
	Connection   string   `key:"connection" doc:"network: the name of the connection that the default route goes by; nil without one"`
	Type         string   `key:"type" doc:"network: its type, as 802-3-ethernet, 802-11-wireless or vpn; nil without one"`
	Player       string   `key:"player" doc:"media: the player, as vlc or firefox.instance_1_42; the action takes it"`
	Identity     string   `key:"identity" doc:"media: the player's name for people"`
	Status       string   `key:"status" doc:"media: playing, paused, stopped, or closed when the player is gone"`
	Title        string   `key:"title" doc:"media: the title; window: what stands above the window; nil without one"`
	Artist       string   `key:"artist" doc:"media: the artists, separated by commas; nil when it isn't known"`
	Album        string   `key:"album" doc:"media: the album; nil when it isn't known"`
	Length       float64  `key:"length" doc:"media: the length in seconds; nil when it isn't known"`
	URL          string   `key:"url" doc:"media: where it comes from; nil when it isn't known"`
	Class        string   `key:"class" doc:"window: the kind of program, as Firefox; nil without a window"`
	Instance     string   `key:"instance" doc:"window: the program's name for this window, as Navigator; nil without a window"`
	PID          int      `key:"pid" doc:"window: the program's process id; nil when the window doesn't say"`
	Volume       int      `key:"volume" doc:"volume: that of the default sink in percent, the loudest channel, 0 to 150, or more when somebody set it so; nil without a sink"`
	Muted        bool     `key:"muted" doc:"volume: whether the default sink is muted; microphone: whether the default source is; nil without one"`
	InUse        bool     `key:"in_use" doc:"microphone: whether a program records, also when it is muted; camera: whether a process has one open"`
	Apps         []string `key:"apps" doc:"microphone, camera: the names of the programs that do, sorted; empty when none does, or none can be seen"`
	Device       string   `key:"device" doc:"volume: the default sink's name for people; microphone: the default source's; camera: the one in use, as /dev/video0, otherwise the first; nil without one"`
}
