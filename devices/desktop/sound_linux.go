// This file is sound: the volume, and whether the microphone is in use, as the sound server reports
// (PulseAudio's native protocol, which PipeWire speaks too).

package desktop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/postbus/postbus/devices/internal/pulse"
)

// sound is one watched thing of the sound server.
type sound struct {
	*watch
	kinds pulse.Kind // the events that concern it
	read  func(ctx context.Context, c *pulse.Client, first bool) error
}

// burstWatch makes a watch whose events arrive in bursts, as while the user drags a slider.
func burstWatch(what string) *watch {
	return &watch{what: what, settle: settle, wake: make(chan struct{}, 1)}
}

// dialSound connects to the sound server. The connection ends with ctx at the latest.
func dialSound(ctx context.Context, given string, onSignal func(pulse.Kind)) (*pulse.Client, error) {
	path, err := pulse.Find()
	if given != "" {
		path, err = pulse.Socket(given)
	}
	if err != nil {
		return nil, err
	}
	cookie, unread := pulse.Cookie()
	c, err := pulse.Dial(ctx, path, "postbus", cookie, onSignal)
	const who = "postbus has to run as the user whose desktop it is"
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, pulse.ErrRefused):
		return nil, errors.Join(fmt.Errorf("the sound server %s denies access: %w; %s, or $PULSE_COOKIE must be the path of that user's cookie", path, err, who), unread)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("no permission for the sound server %s: %s: %w", path, who, err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("there is no sound server at %s; waiting for it (%s)", path, who)
	}
	return nil, fmt.Errorf("the sound server %s: %w", path, err)
}

// watchSound keeps a connection to the sound server until ctx ends.
func (s *Source) watchSound(ctx context.Context) {
	reconnect(ctx, func() error { return s.soundServer(ctx) }, func(err error) {
		for _, w := range s.sounds {
			s.setCondition(w.what, err)
		}
	})
}

// soundServer runs one connection. It returns why the connection ended.
func (s *Source) soundServer(ctx context.Context) error {
	alive, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := dialSound(alive, s.o.SoundServer, func(k pulse.Kind) {
		for _, w := range s.sounds {
			if w.kinds&k != 0 {
				w.requestRead()
			}
		}
	})
	if err != nil {
		return err
	}
	defer c.Close()
	var kinds pulse.Kind
	for _, w := range s.sounds {
		kinds |= w.kinds
	}
	if err := c.Subscribe(alive, kinds); err != nil {
		return fmt.Errorf("the sound server refuses subscriptions: %w", err)
	}
	var tasks sync.WaitGroup
	for _, w := range s.sounds {
		tasks.Go(func() { s.repeat(alive, w.watch, func(first bool) error { return w.read(alive, c, first) }) })
	}
	<-c.Ended() // by ctx, or because the server stopped
	cancel()
	tasks.Wait()
	return fmt.Errorf("the sound server: %w; waiting for it", c.Err())
}

// sink returns the default sink; pulse.ErrAbsent when there is none.
func sink(ctx context.Context, c *pulse.Client) (pulse.Device, error) {
	server, err := c.Server(ctx)
	if err != nil {
		return pulse.Device{}, err
	}
	return c.Sink(ctx, server.Sink)
}

// source returns the default source; pulse.ErrAbsent when there is none, or only a monitor, which
// is no microphone.
func source(ctx context.Context, c *pulse.Client) (pulse.Device, error) {
	server, err := c.Server(ctx)
	if err != nil {
		return pulse.Device{}, err
	}
	d, err := c.Source(ctx, server.Source)
	if err == nil && d.Monitor {
		err = pulse.ErrAbsent
	}
	return d, err
}

// level returns a volume in percent, as PulseAudio shows it.
func level(volumes []uint32) int {
	peak := uint32(0)
	for _, v := range volumes {
		peak = max(peak, v)
	}
	return int((uint64(peak)*100 + 1<<15) >> 16)
}

// volume reports the volume of the default sink.
func (s *Source) volume(ctx context.Context, c *pulse.Client, first bool) error {
	f := map[string]any{"what": "volume", "volume": nil, "muted": nil, "device": nil}
	switch d, err := sink(ctx, c); {
	case err == nil:
		f["volume"], f["muted"], f["device"] = level(d.Volumes), d.Muted, short(d.Description)
	case !errors.Is(err, pulse.ErrAbsent):
		return err
	}
	return s.report(ctx, first, f)
}

// microphone reports which programs record.
func (s *Source) microphone(ctx context.Context, c *pulse.Client, first bool) error {
	f := map[string]any{"what": "microphone", "muted": nil, "device": nil}
	switch d, err := source(ctx, c); {
	case err == nil:
		f["muted"], f["device"] = d.Muted, short(d.Description)
	case !errors.Is(err, pulse.ErrAbsent):
		return err
	}
	list, err := c.Recordings(ctx)
	if err != nil {
		return err
	}
	microphones := map[uint32]bool{} // by index: whether the source is a microphone
	apps := map[string]bool{}
	for _, r := range list {
		if !records(r) {
			continue
		}
		is, known := microphones[r.Source]
		if !known {
			d, err := c.SourceAt(ctx, r.Source)
			if err != nil && !errors.Is(err, pulse.ErrAbsent) {
				return err
			}
			is = err == nil && !d.Monitor
			microphones[r.Source] = is
		}
		if is {
			apps[recorder(r)] = true
		}
	}
	f["in_use"], f["apps"] = len(apps) > 0, names(apps)
	return s.report(ctx, first, f)
}

// maxApps bounds the programs that an event names.
const maxApps = 64

// names returns the programs of an event, sorted.
func names(apps map[string]bool) []string {
	list := slices.Sorted(maps.Keys(apps))
	list = append([]string{}, list[:min(len(list), maxApps)]...)
	return list
}

// records reports whether a stream is a program that records, if its source is a microphone.
// Streams of the sound server itself have no client: for an echo canceller or a loopback, the
// programs at its end count. A level meter, as in the settings of a desktop, is made with
// PA_STREAM_PEAK_DETECT: PulseAudio shows that as its resampler, PipeWire as properties.
func records(r pulse.Recording) bool {
	p := r.Properties
	switch {
	case !r.Client, r.Corked, r.Source == pulse.None:
	case r.Resampler == "peaks", p["resample.peaks"] == "true", p["stream.monitor"] == "true", p["media.name"] == "Peak detect":
	case p["stream.capture.sink"] == "true", p["node.link-group"] != "": // PipeWire: what is played; a filter's end
	default:
		return true
	}
	return false
}

// recorder returns the name of a program that records.
func recorder(r pulse.Recording) string {
	for _, text := range []string{r.Properties["application.name"], r.Properties["application.process.binary"], r.Properties["media.name"], r.Name} {
		if text = strings.TrimSpace(text); text != "" {
			return short(text)
		}
	}
	return "unknown"
}
