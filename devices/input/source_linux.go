// This file is the source: it opens its devices whenever they appear, and makes events of their
// records.

package input

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/postbus/postbus/devices/internal/node"
	"github.com/postbus/postbus/plugins/kind"
)

const (
	settle = 100 * time.Millisecond // after a notification, for udev to set permissions
)

// reading is what a device's goroutine reports: records, or why there are no more. After records of
// which the kernel dropped some, pressed are the keys that are pressed; nil when none was dropped.
type reading struct {
	d       *device
	list    []record
	pressed *[]uint16
	err     error
}

// Stream posts the devices' records until ctx ends. It doesn't end when they are unplugged.
func (s *Source) Stream(ctx context.Context, p kind.Post) error {
	var readers sync.WaitGroup
	defer readers.Wait()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	open := map[string]*device{}
	defer func() {
		for _, d := range open {
			d.f.Close()
		}
	}()
	changes, closeWatch := node.Watch(s.dev)
	defer func() { closeWatch() }()
	readings := make(chan reading)
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
			look.Reset(settle)
		case <-look.C:
			if len(open) == 0 { // without a device the folder may not exist, and the watch of a removed folder ends
				closeWatch()
				changes, closeWatch = node.Watch(s.dev)
			}
			found, err := find(s.dev, s.o.Device, slices.Collect(maps.Keys(open)))
			for _, d := range found {
				if gerr := s.begin(d); gerr != nil {
					err = gerr
					d.f.Close()
					continue
				}
				open[d.path] = d
				readers.Go(func() { read(inner, d, readings) })
			}
			if len(open) > 0 && len(found) == 0 {
				err = nil
			}
			s.env.Degraded(err)
			if len(open) == 0 {
				look.Reset(s.retry)
			}
		case w := <-readings:
			if err := s.records(ctx, p, w); err != nil {
				return nil
			}
			if w.err == nil {
				continue
			}
			delete(open, w.d.path)
			w.d.f.Close()
			if err := s.released(ctx, p, w.d, nil, time.Now()); err != nil {
				return nil
			}
			if len(open) == 0 {
				s.env.Degraded(fmt.Errorf("%s is gone: %w; waiting for it", s.o.Device, w.err))
			}
			look.Reset(settle)
		}
	}
}

// begin puts a newly opened device into the wanted state. Keys that are pressed already make no
// press event.
func (s *Source) begin(d *device) error {
	if s.o.Grab {
		return d.grab()
	}
	return nil
}

// read forwards a device's records until the device is closed or ctx ends.
func read(ctx context.Context, d *device, readings chan<- reading) {
	buf := make([]byte, 64*eventSize)
	for {
		n, err := d.f.Read(buf)
		if err == nil || n > 0 {
			w := reading{d: d, list: records(buf[:n])}
			if slices.ContainsFunc(w.list, record.dropped) {
				// At once, before more records are read, because asking discards the key records
				// that wait in the kernel.
				if now, err := d.pressed(); err == nil { // otherwise it was unplugged, which the next read reports
					w.pressed = &now
				}
			}
			select {
			case readings <- w:
				continue
			case <-ctx.Done():
				return
			}
		}
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // without the path, which the user does not know
		}
		select {
		case readings <- reading{d: d, err: err}:
		case <-ctx.Done():
		}
		return
	}
}

// records posts the records that are events.
func (s *Source) records(ctx context.Context, p kind.Post, w reading) error {
	d := w.d
	for _, r := range w.list {
		if r.dropped() {
			s.env.Lost(1, "the kernel dropped keys, because they were faster than postbus could read them")
			if w.pressed != nil {
				if err := s.released(ctx, p, d, *w.pressed, r.at); err != nil {
					return err
				}
			}
			continue
		}
		typ, ok := types[r.typ]
		if !ok {
			continue
		}
		if r.typ != evKey {
			if s.wants(typ, r.code, r.amount) {
				if err := p(ctx, r.at, s.fields(d.name, typ, r.code, r.amount, r.at, nil), nil); err != nil {
					return err
				}
			}
			continue
		}
		if err := s.key(ctx, p, d, r); err != nil {
			return err
		}
	}
	if w.pressed == nil {
		return nil
	}
	return s.resync(ctx, p, d, *w.pressed, w.list[len(w.list)-1].at)
}

// key posts a key's press, release or repetition.
func (s *Source) key(ctx context.Context, p kind.Post, d *device, r record) error {
	var held any
	since, was := d.held[r.code]
	switch r.amount {
	case 1:
		if was {
			return nil // already reported by a resync
		}
		d.held[r.code] = r.at
	case 0:
		if !was {
			return nil // it was pressed before the source started
		}
		held = r.at.Sub(since).Seconds()
		delete(d.held, r.code)
	}
	if !s.wants("key", r.code, r.amount) {
		return nil
	}
	return p(ctx, r.at, s.fields(d.name, "key", r.code, r.amount, r.at, held), nil)
}

// released posts the release of keys that are no longer pressed.
func (s *Source) released(ctx context.Context, p kind.Post, d *device, now []uint16, at time.Time) error {
	for _, code := range slices.Sorted(maps.Keys(d.held)) {
		if !slices.Contains(now, code) {
			if err := s.key(ctx, p, d, record{at: at, typ: evKey, code: code, amount: 0}); err != nil {
				return err
			}
		}
	}
	return nil
}

// resync updates the pressed keys from the kernel, after it dropped records.
func (s *Source) resync(ctx context.Context, p kind.Post, d *device, now []uint16, at time.Time) error {
	if err := s.released(ctx, p, d, now, at); err != nil {
		return err
	}
	for _, code := range now {
		if err := s.key(ctx, p, d, record{at: at, typ: evKey, code: code, amount: 1}); err != nil {
			return err
		}
	}
	return nil
}
