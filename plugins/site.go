package plugins

// This file is where, and in which time zone, the expressions of a plugin file are: sun.up and
// time.hour depend on that, and a test of them on its time.

import (
	"slices"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// site sets the place and the zone of the scope: those of the first source that names them,
// otherwise those of postbus.yaml and of the machine.
func (f *fileReader) site() {
	f.scope.At, f.scope.Zone = f.Location, time.Local
	placed, zoned := false, false
	for _, s := range f.spec.sources {
		o, ok := s.options.(kind.Siter)
		if !ok {
			continue
		}
		at, zone := o.Site()
		if at != nil && !placed {
			f.scope.At, placed = at, true
		}
		if zone == "" || zoned {
			continue
		}
		if loaded, err := time.LoadLocation(zone); err == nil { // otherwise Check has reported it
			f.scope.Zone, zoned = loaded, true
		}
	}
}

// dependsOnTime reports whether a rule has other results at another time of the day.
func (s *Spec) dependsOnTime() bool {
	return slices.ContainsFunc(s.rules, func(r *rule) bool { return r.usesClock })
}
