// This file is the source: advertisements to events.

package ble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/plugins/kind"
)

const (
	retryMin  = 1 * time.Second  // to reconnect; doubles
	retryMax  = 30 * time.Second //
	scanAgain = 5 * time.Second  // after starting to scan failed
	settle    = 100 * time.Millisecond
)

// Source receives advertisements. An instance runs once: New, Stream.
type Source struct {
	o       Options
	filter  filter
	env     kind.Env
	devices *devices
	invalid tally
	missed  atomic.Int64 // advertisements that found no room, since the last report

	retryMin time.Duration
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source {
	return &Source{o: o, filter: o.filter(), env: env, devices: newDevices(env.Log()), retryMin: retryMin,
		invalid: tally{env.Log(), "a Bluetooth advertisement can't be decoded", 0}}
}

// Stream posts events until ctx ends.
func (s *Source) Stream(ctx context.Context, post kind.Post) error {
	for pause := s.retryMin; ; pause = min(2*pause, retryMax) {
		began := time.Now()
		stop, reason := s.connection(ctx, post)
		if ctx.Err() != nil {
			return nil
		}
		if stop != nil {
			return stop
		}
		s.env.Degraded(reason)
		if time.Since(began) > retryMax {
			pause = s.retryMin
		}
		if kind.Sleep(ctx, pause) != nil {
			return nil
		}
	}
}

// connection runs one connection to the message bus. stop is why the source must end, reason is why
// the connection ended.
func (s *Source) connection(ctx context.Context, post kind.Post) (stop, reason error) {
	l, err := dial(ctx, s.o.Bus, s.filter, &s.missed)
	if err != nil {
		return nil, err
	}
	defer l.conn.Close()
	if err := l.listen(ctx); err != nil {
		return nil, err
	}
	scan := time.NewTimer(0)
	defer scan.Stop()
	for {
		if n := s.missed.Swap(0); n > 0 {
			s.env.Lost(int(n), "more Bluetooth advertisements came than could be stored")
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-l.conn.Context().Done():
			return nil, errors.New("the message bus is gone; waiting for it")
		case <-l.wake:
			scan.Reset(settle)
		case <-scan.C:
			err := l.scan(ctx, s.o.Adapter, s.prime)
			if ctx.Err() != nil {
				return nil, nil
			}
			s.env.Degraded(err)
			if err != nil {
				scan.Reset(scanAgain)
			}
		case a := <-l.advertisements:
			if !strings.HasPrefix(string(a.path), string(l.adapter)+"/") {
				continue // another adapter's
			}
			if err := s.received(ctx, a, post); err != nil {
				return err, nil
			}
		}
	}
}

// prime remembers the names that BlueZ knows. It replaces no device.
func (s *Source) prime(address, name string) {
	if s.filter.wants(address) && !s.devices.full() {
		s.devices.get(address).name = clip(name)
	}
}

// clip bounds a name.
func clip(name string) string {
	if len(name) > maxName {
		name = name[:maxName]
	}
	return strings.ToValidUTF8(name, "")
}

// received posts the events of changed properties.
func (s *Source) received(ctx context.Context, a advertisement, post kind.Post) error {
	d := s.devices.get(a.address)
	if v, ok := a.properties["RSSI"].Value().(int16); ok {
		d.rssi = int(v)
	}
	if v, ok := a.properties["Name"].Value().(string); ok {
		d.name = clip(v)
	}
	if v, ok := d.rssi.(int); ok && v < s.filter.minRSSI {
		return nil
	}
	var manufacturers, services []payload
	if m, ok := a.properties["ManufacturerData"].Value().(map[uint16]dbus.Variant); ok {
		for _, company := range slices.Sorted(maps.Keys(m)) {
			data, _ := m[company].Value().([]byte)
			r, err := decodeManufacturer(company, data)
			manufacturers = s.collect(manufacturers, d, fmt.Sprintf("%04x", company), data, r, err)
		}
	}
	if m, ok := a.properties["ServiceData"].Value().(map[string]dbus.Variant); ok {
		for _, uuid := range slices.Sorted(maps.Keys(m)) {
			data, _ := m[uuid].Value().([]byte)
			r, err := decodeService(uuid, data)
			services = s.collect(services, d, uuid, data, r, err)
		}
	}
	for _, list := range [][]payload{manufacturers, services} {
		if err := s.post(ctx, a.at, d, list, post); err != nil {
			return err
		}
	}
	return nil
}

// payload is a payload of an advertisement.
type payload struct {
	reading
	now     seen
	changed bool // it differs from the last one of its key
}

// collect appends a payload if it can be decoded.
func (s *Source) collect(list []payload, d *device, key string, data []byte, r reading, err error) []payload {
	if err != nil {
		s.invalid.add(d.address + ": " + err.Error())
		return list
	}
	now := seen{key, fingerprint(data), r.id, r.once}
	last, known := d.last(key)
	return append(list, payload{r, now, !known || last.fingerprint != now.fingerprint})
}

// post posts the new ones of payloads that BlueZ reported together. BlueZ repeats a device's other
// payloads of the same property with each: where one has changed, only the changed ones were sent
// just now.
func (s *Source) post(ctx context.Context, at time.Time, d *device, list []payload, post kind.Post) error {
	some := slices.ContainsFunc(list, func(p payload) bool { return p.changed })
	for _, p := range list {
		last, known := d.last(p.now.key)
		d.remember(p.now)
		repeated := known && p.once && last.once && last.id == p.now.id
		if repeated || some && !p.changed || !slices.Contains(s.filter.formats, p.format) {
			continue
		}
		if err := post(ctx, at, s.event(d, p.reading), nil); err != nil {
			return err
		}
		if p.fields["encrypted"] == true {
			s.env.Log().Warn("a Bluetooth device encrypts its measurements, which are not decoded", "address", d.address)
		}
	}
	return nil
}

// event returns the fields of an event.
func (s *Source) event(d *device, r reading) map[string]any {
	e := map[string]any{"address": d.address, "name": d.address, "rssi": d.rssi, "format": r.format, "counter": nil, "encrypted": false, "rest": nil,
		"uuid": nil, "major": nil, "minor": nil, "power": nil, "manufacturer": nil, "service": nil, "data": nil}
	if d.name != "" {
		e["name"] = d.name
	}
	if name := s.filter.names[d.address]; name != "" {
		e["name"] = name
	}
	maps.Copy(e, r.fields)
	return e
}
