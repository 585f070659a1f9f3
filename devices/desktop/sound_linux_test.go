// This file tests sound with PulseAudio and PipeWire, without a sound card.

package desktop

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/devices/internal/desktoptest"
	"github.com/postbus/postbus/devices/internal/pulse"
	"github.com/postbus/postbus/plugins/kind"
)

// withSound runs a test with each sound server.
func withSound(t *testing.T, test func(t *testing.T, s *desktoptest.Sound)) {
	for _, kind := range []string{"pulseaudio", "pipewire"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, desktoptest.NewSound(t, kind))
		})
	}
}

var volumeFields = []string{"volume", "muted", "device"}

func TestVolume(t *testing.T) {
	t.Parallel()
	withSound(t, func(t *testing.T, s *desktoptest.Sound) {
		s.Sink("one", "One")
		s.Pactl("set-default-sink", "one")
		s.Pactl("set-sink-volume", "one", "40%")
		r := run(t, Options{Watch: []string{"volume"}, Initial: true, SoundServer: s.Socket}, nil)
		r.until("volume 40 false One", volumeFields...)
		r.says("")
		s.Pactl("set-sink-volume", "one", "25%", "33%") // the loudest counts
		r.until("volume 33 false One", volumeFields...)
		s.Pactl("set-sink-volume", "one", "150%")
		r.until("volume 150 false One", volumeFields...)
		s.Pactl("set-sink-mute", "one", "1")
		r.want("volume 150 true One", volumeFields...)
		s.Pactl("set-sink-mute", "one", "0")
		r.want("volume 150 false One", volumeFields...)
		s.Sink("two", "Two")
		s.Pactl("set-sink-volume", "two", "50%")
		s.Pactl("set-default-sink", "two")
		r.until("volume 50 false Two", volumeFields...)
		s.Pactl("set-sink-volume", "one", "10%") // it is no longer watched
		s.Pactl("set-sink-volume", "two", "51%")
		r.want("volume 51 false Two", volumeFields...)
		if got := strings.Join(describe(Options{SystemBus: nowhere, SessionBus: nowhere, SoundServer: s.Socket}, defaultPaths), "\n"); !strings.Contains(got, "watch: [volume]  # Two, 51 %") {
			t.Error(got)
		}
		r.stop()
		r.none()
	})
}

// TestADraggedSlider checks that of 200 changes some are reported, and always the last one.
func TestADraggedSlider(t *testing.T) {
	t.Parallel()
	withSound(t, func(t *testing.T, s *desktoptest.Sound) {
		s.Sink("one", "One")
		s.Pactl("set-default-sink", "one")
		r := run(t, Options{Watch: []string{"volume"}, SoundServer: s.Socket}, nil)
		r.says("")
		c, err := pulse.Dial(t.Context(), s.Socket, "slider", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i := range 200 {
			v := uint32((i + 1) * 98304 / 200)
			if err := c.SetSinkVolume(t.Context(), "one", []uint32{v, v}); err != nil {
				t.Fatal(err)
			}
		}
		n := len(r.env.Events)
		r.until("volume 150 false One", volumeFields...) // only the last change has this volume
		if n > 150 {
			t.Errorf("%d events", n)
		}
		r.stop()
		r.none()
	})
}

var microphoneFields = []string{"in_use", "muted", "apps", "device"}

func TestMicrophone(t *testing.T) {
	t.Parallel()
	withSound(t, func(t *testing.T, s *desktoptest.Sound) {
		s.Sink("one", "One")
		s.Source("mic", "Mic")
		s.Pactl("set-default-sink", "one")
		s.Pactl("set-default-source", "mic")
		r := run(t, Options{Watch: []string{"microphone"}, Initial: true, SoundServer: s.Socket}, nil)
		r.until("microphone false false [] Mic", microphoneFields...)
		r.says("")
		zoom := s.Record("mic", "Zoom")
		r.want("microphone true false [Zoom] Mic", microphoneFields...)
		s.Record("one.monitor", "Recorder of what is played")
		s.Record("mic", "Mixer", "--stream-name=Peak detect")
		s.Record("mic", "Audacity ü")
		r.want("microphone true false [Audacity ü Zoom] Mic", microphoneFields...)
		s.Pactl("set-source-mute", "mic", "1")
		r.want("microphone true true [Audacity ü Zoom] Mic", microphoneFields...)
		zoom.Kill()
		r.want("microphone true true [Audacity ü] Mic", microphoneFields...)
		if got := strings.Join(describe(Options{SystemBus: nowhere, SessionBus: nowhere, SoundServer: s.Socket}, defaultPaths), "\n"); !strings.Contains(got, "watch: [microphone]  # Mic, muted") {
			t.Error(got)
		}

		s.Kill() // the recorders end with it
		r.says("microphone: the sound server: the server is gone; waiting for it")
		s.Start()
		s.Source("mic", "Mic")
		s.Pactl("set-default-source", "mic")
		s.Record("mic", "Zoom")
		r.until("microphone true false [Zoom] Mic", microphoneFields...)
		r.says("")
	})
}

// TestASoundServerThatComesLate checks that it is waited for, and that after a restart only changes
// are reported.
func TestASoundServerThatComesLate(t *testing.T) {
	t.Parallel()
	s := desktoptest.NewSilence(t, "pulseaudio")
	s.Modules = []string{"module-null-sink sink_name=one sink_properties=device.description=One"}
	r := run(t, Options{Watch: []string{"volume"}, Initial: true, SoundServer: "unix:" + s.Socket}, nil)
	r.says("volume: there is no sound server at " + s.Socket + "; waiting for it")
	s.Start()
	r.want("volume 100 false One", volumeFields...)
	r.says("")
	s.Kill()
	r.says("the server is gone")
	s.Start()
	r.says("") // nothing has changed
	s.Pactl("set-sink-volume", "one", "5%")
	r.want("volume 5 false One", volumeFields...)
	s.Pactl("unload-module", "module-null-sink")
	r.want("volume <nil> <nil> <nil>", volumeFields...)
	r.says("")
}

func TestSoundByOrder(t *testing.T) {
	t.Parallel()
	withSound(t, func(t *testing.T, s *desktoptest.Sound) {
		s.Sink("one", "One")
		s.Source("mic", "Mic")
		s.Pactl("set-default-sink", "one")
		s.Pactl("set-default-source", "mic")
		s.Pactl("set-sink-volume", "one", "20%", "40%")
		for _, c := range []struct {
			do      string
			percent any
			want    string // of pactl
		}{
			{"volume", 60, "30% 60%"}, // the balance stays
			{"volume", "+6.0", "33% 66%"},
			{"volume", "-66", "0% 0%"},
			{"volume", "-5", "0% 0%"},
			{"volume", "33", "33% 33%"},
			{"volume", "+149", "150% 150%"},
			{"mute", nil, "yes"},
			{"mute", nil, "yes"},
			{"unmute", nil, "no"},
			{"toggle_mute", nil, "yes"},
			{"toggle_mute", nil, "no"},
			{"microphone_mute", nil, "yes"},
			{"microphone_unmute", nil, "no"},
			{"microphone_toggle_mute", nil, "yes"},
		} {
			if err := do(t, ActionOptions{Do: c.do, SoundServer: s.Socket}, Args{Percent: c.percent}); err != nil {
				t.Fatalf("%s %v: %v", c.do, c.percent, err)
			}
			order := []string{"get-sink-mute", "one"}
			if c.do == "volume" {
				order[0] = "get-sink-volume"
			} else if strings.HasPrefix(c.do, "microphone_") {
				order = []string{"get-source-mute", "mic"}
			}
			got := ""
			desktoptest.Eventually(t, fmt.Sprintf("after %s %v pactl says %s", c.do, c.percent, c.want), func() bool { // PipeWire confirms before it has finished
				var words []string
				for _, w := range strings.Fields(s.Pactl(order...)) {
					if strings.HasSuffix(w, "%") || w == "yes" || w == "no" {
						words = append(words, w)
					}
				}
				got = strings.Join(words, " ")
				return got == c.want
			})
		}
		if err := do(t, ActionOptions{Do: "volume", SoundServer: s.Socket}, Args{Percent: "loud"}); err == nil || !kind.IsPermanent(err) {
			t.Error(err)
		}
	})
}

// TestSoundThatCannotBe checks that errors are reported, and temporary ones retried.
func TestSoundThatCannotBe(t *testing.T) {
	t.Parallel()
	s := desktoptest.NewSilence(t, "pulseaudio")
	order := func(do string) error { return orderOf(t, do, s.Socket) }
	if err := order("mute"); err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), "mute: there is no sound server at ") {
		t.Error(err)
	}
	s.Start()
	if err := order("mute"); err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), "has no output device") {
		t.Error(err)
	}
	s.Sink("one", "One") // its monitor is no microphone, although it is the default source
	if err := order("microphone_mute"); err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), "has no microphone") {
		t.Error(err)
	}
	r := run(t, Options{Watch: []string{"microphone"}, Initial: true, SoundServer: s.Socket}, nil)
	r.want("microphone false <nil> [] <nil>", microphoneFields...)
	r.says("")

	// A server that refuses.
	l, err := net.Listen("unix", s.Socket+"2")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			head := make([]byte, 20+5+5+5+5+256)
			_, _ = c.Read(head)
			_, _ = c.Write([]byte("\x00\x00\x00\x0f\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00L\x00\x00\x00\x00L\x00\x00\x00\x01L\x00\x00\x00\x01"))
			_, _ = c.Read(head)
			c.Close()
		}
	}()
	if err := orderOf(t, "mute", s.Socket+"2"); err == nil || !kind.IsPermanent(err) || !strings.Contains(err.Error(), "denies access: access denied; postbus has to run as the user whose desktop it is") {
		t.Error(err)
	}
	run(t, Options{Watch: []string{"volume"}, SoundServer: s.Socket + "2"}, nil).says("volume: the sound server " + s.Socket + "2 denies access")
}

func orderOf(t *testing.T, what, socket string) error {
	t.Helper()
	return do(t, ActionOptions{Do: what, SoundServer: socket}, Args{Percent: 10})
}

// TestASoundServerThatLies checks that invalid answers don't end the source, and that it retries.
func TestASoundServerThatLies(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "sound")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", dir+"/native")
	if err != nil {
		t.Fatal(err)
	}
	dials := make(chan bool, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dials <- true
			_, _ = c.Write([]byte(strings.Repeat("\xff\xff\xff\xf0", 100)))
			_, _ = c.Read(make([]byte, 1000))
			c.Close()
		}
	}()
	defer l.Close()
	r := run(t, Options{Watch: []string{"volume", "microphone"}, SoundServer: dir + "/native"}, nil)
	r.says("can't be decoded: a frame of 4294967280 bytes, more than 1048576")
	for range 2 {
		select {
		case <-dials:
		case <-time.After(desktoptest.Patience):
			t.Fatal("it isn't dialled again")
		}
	}
	r.stop()
	r.none()
}

func TestWhoRecords(t *testing.T) {
	program := func(key, value string) pulse.Recording {
		return pulse.Recording{Client: true, Source: 1, Properties: map[string]string{"application.name": " Zoom", key: value}}
	}
	for name, c := range map[string]struct {
		r    pulse.Recording
		want bool
	}{
		"a program":                   {program("media.name", "Call"), true},
		"a paused one":                {pulse.Recording{Client: true, Corked: true}, false},
		"one without a source":        {pulse.Recording{Client: true, Source: pulse.None}, false},
		"the server's own":            {pulse.Recording{Properties: map[string]string{"media.name": "Loopback"}}, false},
		"a meter on PulseAudio":       {pulse.Recording{Client: true, Resampler: "peaks"}, false},
		"a meter on PipeWire":         {program("resample.peaks", "true"), false},
		"a meter by its name":         {program("media.name", "Peak detect"), false},
		"what is played, on PipeWire": {program("stream.capture.sink", "true"), false},
		"the end of a filter":         {program("node.link-group", "loopback-1-18"), false},
	} {
		if got := records(c.r); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for want, r := range map[string]pulse.Recording{"Zoom": program("a", "b"), "pacat": {Properties: map[string]string{"application.process.binary": "pacat"}}, "a stream": {Name: "a stream"}, "unknown": {}} {
		if got := recorder(r); got != want {
			t.Errorf("%q instead of %q", got, want)
		}
	}
	many := map[string]bool{}
	for i := range 1000 {
		many[strconv.Itoa(i)] = true
	}
	if got := names(many); len(got) != maxApps || got[0] != "0" {
		t.Error(got)
	}
}

func TestLevels(t *testing.T) {
	for v, want := range map[uint32]int{0: 0, 65536: 100, 21627: 33, 98304: 150, 327: 0, 328: 1, 1<<32 - 1: 6553600} {
		if got := level([]uint32{0, v}); got != want {
			t.Errorf("%d is %d %%", v, got)
		}
	}
	for _, c := range []struct {
		volumes  []uint32
		n        float64
		relative bool
		want     string
	}{
		{[]uint32{0, 0}, 50, false, "[32768 32768]"},
		{[]uint32{65536, 32768}, 50, false, "[32768 16384]"},
		{[]uint32{196608}, 5, true, "[196608]"},   // 300 % isn't made louder
		{[]uint32{196608}, -50, true, "[163840]"}, // nor reduced by much more than requested
		{[]uint32{65536}, -150, true, "[0]"},
		{nil, 50, false, "[]"},
	} {
		if got := fmt.Sprint(set(c.volumes, c.n, c.relative)); got != c.want {
			t.Errorf("%v %v: %s", c.volumes, c.n, got)
		}
	}
}
