// This file starts sound servers without a sound card: PulseAudio and PipeWire.

package desktoptest

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Sound is a sound server with its own home, whose devices the test makes.
type Sound struct {
	Socket  string
	Kind    string   // pulseaudio or pipewire
	Modules []string // of pulseaudio, loaded at its start
	t       *testing.T
	dir     string
	bus     *Bus // of PipeWire
	ps      []*Program
}

// NewSound starts a sound server: pulseaudio, or pipewire with wireplumber and pipewire-pulse.
func NewSound(t *testing.T, kind string) *Sound {
	t.Helper()
	s := NewSilence(t, kind)
	s.Start()
	return s
}

// NewSilence returns a sound server that isn't started yet.
func NewSilence(t *testing.T, kind string) *Sound {
	t.Helper()
	Need(t, "pactl", "pulseaudio-utils")
	dir, err := os.MkdirTemp("", "sound") // not t.TempDir: a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Sound{Socket: dir + "/pulse/native", Kind: kind, t: t, dir: dir}
	switch kind {
	case "pulseaudio":
		Need(t, "pulseaudio", "pulseaudio")
	case "pipewire":
		for _, p := range [][2]string{{"pipewire", "pipewire-bin"}, {"wireplumber", "wireplumber"}, {"pipewire-pulse", "pipewire-pulse"}} {
			Need(t, p[0], p[1])
		}
		s.bus = NewBus(t)
	default:
		t.Fatalf("there is no sound server %q", kind)
	}
	if err := os.Mkdir(dir+"/pulse", 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

// Start starts it, or starts it again after Kill.
func (s *Sound) Start() {
	s.t.Helper()
	for _, left := range []string{"/pulse/native", "/pipewire-0", "/pipewire-0.lock"} {
		_ = os.Remove(s.dir + left)
	}
	env := s.env()
	if s.Kind == "pulseaudio" {
		args := []string{"-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disable-shm=yes"}
		for _, m := range append(slices.Clone(s.Modules), "module-native-protocol-unix socket="+s.Socket) {
			args = append(args, "-L", m)
		}
		s.ps = []*Program{Start(s.t, env, "pulseaudio", args...)}
	} else {
		s.ps = []*Program{Start(s.t, env, "pipewire")}
		Eventually(s.t, "PipeWire is there", func() bool { _, err := os.Stat(s.dir + "/pipewire-0"); return err == nil })
		s.ps = append(s.ps, Start(s.t, env, "wireplumber"), Start(s.t, env, "pipewire-pulse"))
	}
	Eventually(s.t, s.Kind+" answers", func() bool { _, err := s.try("info"); return err == nil })
}

// Kill kills it.
func (s *Sound) Kill() {
	for _, p := range s.ps {
		p.Kill()
	}
	s.ps = nil
}

func (s *Sound) env() []string {
	env := []string{"HOME=" + s.dir, "XDG_RUNTIME_DIR=" + s.dir, "PULSE_SERVER=unix:" + s.Socket, "LC_ALL=C.UTF-8", "DISPLAY=", "XDG_CONFIG_HOME=" + s.dir, "XDG_STATE_HOME=" + s.dir}
	if s.bus != nil {
		env = append(env, "DBUS_SESSION_BUS_ADDRESS="+s.bus.Address, "DBUS_SYSTEM_BUS_ADDRESS="+s.bus.Address)
	}
	return env
}

func (s *Sound) try(args ...string) (string, error) {
	c := exec.Command("pactl", args...)
	c.Env = append(os.Environ(), s.env()...)
	out, err := c.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Pactl sends the server a command and returns the output.
func (s *Sound) Pactl(args ...string) string {
	s.t.Helper()
	return Output(s.t, s.env(), "pactl", args...)
}

// Sink makes a sink without a speaker.
func (s *Sound) Sink(name, description string) {
	s.t.Helper()
	s.device(name, "sinks", "module-null-sink", "sink_name="+name, "sink_properties=device.description="+description)
}

// Source makes a silent microphone.
func (s *Sound) Source(name, description string) {
	s.t.Helper()
	if s.Kind == "pulseaudio" {
		s.device(name, "sources", "module-null-source", "source_name="+name, "description="+description)
		return
	}
	s.device(name, "sources", "module-null-sink", "media.class=Audio/Source/Virtual", "sink_name="+name, "sink_properties=device.description="+description)
}

// device makes a device and waits until it exists, because PipeWire confirms it earlier.
func (s *Sound) device(name, list string, module ...string) {
	s.t.Helper()
	s.Pactl(append([]string{"load-module"}, module...)...)
	Eventually(s.t, name+" is there", func() bool { return strings.Contains(s.Pactl("list", "short", list), "\t"+name+"\t") })
}

// Record starts a program that records, under a name.
func (s *Sound) Record(source, name string, args ...string) *Program {
	s.t.Helper()
	Need(s.t, "parec", "pulseaudio-utils")
	return Start(s.t, s.env(), "parec", append([]string{"--device=" + source, "--client-name=" + name, "--format=u8", "--rate=8000", "--channels=1"}, args...)...)
}
