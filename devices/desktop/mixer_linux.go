// This file is the action's commands for sound: the volume of the default sink, and mute of it and
// of the default source.

package desktop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"

	"github.com/postbus/postbus/devices/internal/pulse"
	"github.com/postbus/postbus/plugins/kind"
)

// sound executes the commands for the sound server.
func (a *Action) sound(ctx context.Context, percent any) error {
	n, relative := 0.0, false
	if a.o.Do == "volume" {
		var err error
		if n, relative, err = step(percent); err != nil {
			return err
		}
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := dialSound(inner, a.o.SoundServer, nil)
	if err != nil {
		return a.explain(err)
	}
	defer c.Close()
	order, microphone := strings.CutPrefix(a.o.Do, "microphone_")
	find, mute := sink, c.SetSinkMute
	if microphone {
		find, mute = source, c.SetSourceMute
	}
	d, err := find(ctx, c)
	switch {
	case errors.Is(err, pulse.ErrAbsent) && microphone:
		err = errors.New("the sound server has no microphone")
	case errors.Is(err, pulse.ErrAbsent):
		err = errors.New("the sound server has no output device")
	case err != nil:
	case order == "volume":
		err = c.SetSinkVolume(ctx, d.Name, set(d.Volumes, n, relative))
	default:
		err = mute(ctx, d.Name, order == "mute" || order == "toggle_mute" && !d.Muted)
	}
	return a.explain(err)
}

// explain explains an error of the sound server. A permission error is permanent.
func (a *Action) explain(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", a.o.Do, err)
	if errors.Is(err, pulse.ErrRefused) || errors.Is(err, fs.ErrPermission) {
		return kind.Permanent(err)
	}
	return err
}

// set returns a new volume for each channel: the loudest gets n percent, or n more than now, and
// the balance stays.
func set(volumes []uint32, n float64, relative bool) []uint32 {
	peak := uint32(0)
	for _, v := range volumes {
		peak = max(peak, v)
	}
	now := float64(peak) * 100 / 65536
	if relative {
		n = min(max(now+n, 0), max(now, loudest))
	}
	out := make([]uint32, len(volumes))
	for i, v := range volumes {
		share := 1.0
		if peak > 0 {
			share = float64(v) / float64(peak)
		}
		out[i] = uint32(math.Round(n * 65536 / 100 * share))
	}
	return out
}
