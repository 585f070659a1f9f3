// Package desktop is the kind `desktop`: the state of a Linux desktop, and commands to it.
//
// What it promises:
//
//   - The state of each watched thing at the start, and then an event for each change. An absent
//     service, or a message bus that restarts, is waited for; a change meanwhile is an event then.
//     States that change faster than events are accepted may be skipped, but never the last one.
//   - The event that the machine goes to sleep is durable before it sleeps, unless that takes
//     longer than logind waits (InhibitDelayMaxSec, 5 s): a delay inhibitor is held until then, and
//     requested again at resume.
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
const about = "Reports the state of the desktop: lock, idleness, sleep, power supply, network, media players, the active window, the volume, and whether microphone and camera are in use. Each is an event " +
	"at the start and for each change. The event before sleep is stored before the machine sleeps. The source waits for an absent service, and reads one that was restarted " +
	"again. Linux only, by D-Bus (logind, UPower, NetworkManager, MPRIS), the sound server (PulseAudio, or PipeWire with pipewire-pulse) and X11; the window, and `idle_after`, need X11. For media, the screen lock and sound postbus has to run as the user whose desktop it is.\n\n" +
	"The microphone is in use while a program records from any source except a monitor of the output; paused streams, level meters, and streams of the sound server itself " +
	"(a loopback, an echo canceller) don't count. A camera is in use while a process has it open for more than half a second; its name is known for processes of this user, and for all if postbus runs as root. " +
	"A process of another user counts from opening the camera until the next close, and has no name; one in a container with its own /dev is not noticed. A program that uses the camera through PipeWire is reported as pipewire or wireplumber, which open it."

// common is what is watched by default: what needs no X server and reveals little private data, the
// names of a song and of a program that records.
var common = []string{"lock", "idle", "sleep", "power", "network", "media", "volume", "microphone", "camera"}

// Options of the source.
type Options struct {
	Watch       []string      `key:"watch" doc:"the watched states; default: all available ones except window" oneof:"lock|idle|sleep|power|network|media|window|volume|microphone|camera"`
	Initial     bool          `key:"initial" doc:"whether the state at the start is an event"`
	IdleAfter   time.Duration `key:"idle_after" doc:"time without keyboard or mouse input until idle, as X11 counts it; 0: when the desktop reports it" min:"0s" max:"24h"`
	Session     string        `key:"session" doc:"the logind session for lock and idle, as loginctl lists it; empty for the session of postbus"`
	Display     string        `key:"display" doc:"the X display for window and idle_after, as :0; empty for $DISPLAY"`
	SystemBus   string        `key:"system_bus" doc:"the address of the system bus of D-Bus; empty for the default"`
	SessionBus  string        `key:"session_bus" doc:"the address of the session bus of D-Bus; empty for the default"`
	SoundServer string        `key:"sound_server" doc:"the unix socket of the sound server, as /run/user/1000/pulse/native; empty for $PULSE_SERVER or the default"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{Initial: true} }

// Check checks the options against each other.
func (o Options) Check() []error {
	errs := checkAddresses(o.SystemBus, o.SessionBus, o.SoundServer)
	if o.IdleAfter > 0 && o.IdleAfter < time.Second {
		errs = append(errs, kind.Wrong("idle_after", "idle_after must be at least a second", "write idle_after: 5m"))
	}
	if o.IdleAfter > 0 && !slices.Contains(o.watched(), "idle") {
		errs = append(errs, kind.Wrong("idle_after", "idle is not watched", "add idle to watch"))
	}
	if host, _, ok := strings.Cut(o.Display, ":"); o.Display != "" && (!ok || host != "" && host != "unix" && !strings.HasPrefix(host, "/")) {
		errs = append(errs, kind.Wrong("display", fmt.Sprintf("%q is not a display of this machine", o.Display), `write display: ":0"`))
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
			errs = append(errs, kind.Wrong(a[0], fmt.Sprintf("%q is not the address of a message bus", a[1]), "write it as unix:path=/run/user/1000/bus"))
		}
	}
	return errs
}

// eventFields documents the fields of an event. Each event has what, and the fields of that thing.
type eventFields struct {
	What         string   `key:"what" doc:"the state: lock, idle, sleep, power, network, media, window, volume, microphone or camera; the other fields belong to it"`
	Locked       bool     `key:"locked" doc:"lock: whether the session is locked, or its screen saver is on"`
	Idle         bool     `key:"idle" doc:"idle: whether the user is idle"`
	Asleep       bool     `key:"asleep" doc:"sleep: true before the machine sleeps, false after it woke up"`
	OnBattery    bool     `key:"on_battery" doc:"power: whether the machine runs on its battery"`
	Percentage   float64  `key:"percentage" doc:"power: charge of the battery in percent; nil without one"`
	State        string   `key:"state" doc:"power: charging, discharging, full, empty, pending or unknown, nil without a battery; network: asleep, disconnected, disconnecting, connecting, local, site, connected or unknown"`
	LidClosed    bool     `key:"lid_closed" doc:"power: whether the lid is closed; nil without one"`
	TimeToEmpty  float64  `key:"time_to_empty" doc:"power: estimated seconds until the battery is empty; nil when unknown; a change of it alone is not an event"`
	TimeToFull   float64  `key:"time_to_full" doc:"power: estimated seconds until the battery is full; nil when unknown; a change of it alone is not an event"`
	Connectivity string   `key:"connectivity" doc:"network: full, limited, portal (a login page), none or unknown"`
	Connection   string   `key:"connection" doc:"network: the name of the connection with the default route; nil without one"`
	Type         string   `key:"type" doc:"network: its type, as 802-3-ethernet, 802-11-wireless or vpn; nil without one"`
	Player       string   `key:"player" doc:"media: the player, as vlc or firefox.instance_1_42; the action accepts it"`
	Identity     string   `key:"identity" doc:"media: the player's display name"`
	Status       string   `key:"status" doc:"media: playing, paused, stopped, or closed when the player is gone"`
	Title        string   `key:"title" doc:"media: the title; window: the title of the window; nil without one"`
	Artist       string   `key:"artist" doc:"media: the artists, separated by commas; nil when unknown"`
	Album        string   `key:"album" doc:"media: the album; nil when unknown"`
	Length       float64  `key:"length" doc:"media: the length in seconds; nil when unknown"`
	URL          string   `key:"url" doc:"media: its URL; nil when unknown"`
	Class        string   `key:"class" doc:"window: the class of the program, as Firefox; nil without a window"`
	Instance     string   `key:"instance" doc:"window: the program's name for this window, as Navigator; nil without a window"`
	PID          int      `key:"pid" doc:"window: the program's process id; nil when the window doesn't report it"`
	Volume       int      `key:"volume" doc:"volume: volume of the loudest channel of the default sink in percent, 0 to 150, or more if it was set so; nil without a sink"`
	Muted        bool     `key:"muted" doc:"volume: whether the default sink is muted; microphone: whether the default source is; nil without one"`
	InUse        bool     `key:"in_use" doc:"microphone: whether a program records, even if muted; camera: whether a process has one open"`
	Apps         []string `key:"apps" doc:"microphone, camera: the names of these programs, sorted; empty without any, or without the permission to see them"`
	Device       string   `key:"device" doc:"volume: display name of the default sink; microphone: of the default source; camera: the one in use, as /dev/video0, otherwise the first; nil without one"`
}
