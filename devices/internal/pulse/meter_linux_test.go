// This file tests how real servers describe a level meter, by which package desktop distinguishes
// it from a recording.

package pulse

import (
	"io"
	"net"
	"testing"

	"github.com/postbus/postbus/devices/internal/desktoptest"
)

func TestALevelMeter(t *testing.T) {
	t.Parallel()
	for kind, is := range map[string]func(r Recording) bool{
		"pulseaudio": func(r Recording) bool { return r.Resampler == "peaks" },
		"pipewire": func(r Recording) bool {
			return r.Properties["resample.peaks"] == "true" && r.Properties["stream.monitor"] == "true"
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := desktoptest.NewSound(t, kind)
			s.Source("mic", "Mic")
			conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.Socket, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go func() { _, _ = io.Copy(io.Discard, conn) }() // it sends sound
			w := command(5, 3)                               // PA_COMMAND_CREATE_RECORD_STREAM
			w.b = append(w.b, tagSpec, 5, 1, 0, 0, 0, 25)    // 25 numbers a second
			w.b = append(w.b, tagMap, 1, 0)
			w.u32(none).text("mic").u32(none).bool(false).u32(none)
			for range 7 {
				w.bool(false)
			}
			w.bool(true).bool(true) // the peaks, without delay
			w.property("media.name", "Pegel").u32(none).bool(false).bool(true).bool(false)
			w.b = append(w.b, tagU8, 0)
			w.volumes([]uint32{65536})
			for range 5 {
				w.bool(false)
			}
			for _, b := range [][]byte{command(opAuth, 1).u32(maxVersion).bytes(make([]byte, 256)).frame(), command(opSetClientName, 2).property("application.name", "Mixer").frame(), w.frame()} {
				if _, _, err := conn.WriteMsgUnix(b, me(), nil); err != nil {
					t.Fatal(err)
				}
			}
			c, err := Dial(t.Context(), s.Socket, "test", nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var said []Recording
			desktoptest.Eventually(t, "a level meter is there", func() bool {
				said, err = c.Recordings(t.Context())
				return err == nil && len(said) == 1 && said[0].Source != None
			})
			if !is(said[0]) || said[0].Name != "Pegel" && said[0].Properties["media.name"] != "Pegel" {
				t.Errorf("%+v", said)
			}
		})
	}
}
