package timer

// This file checks a timer's options.

import (
	"fmt"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// Check checks the options against each other. The errors have Key and Hint.
func (o Options) Check() []error {
	var errs []error
	add := func(key, reason, hint string) { errs = append(errs, kind.Wrong(key, reason, hint)) }
	var given []string
	for _, g := range []struct {
		key string
		set bool
	}{{"every", o.Every != 0}, {"cron", o.Cron != ""}, {"sun", o.Sun != ""}} {
		if g.set {
			given = append(given, g.key)
		}
	}
	switch {
	case len(given) == 0:
		add("", "a timer needs every, cron or sun", `write "every: 10s", "cron: 0 7 * * 1-5" or "sun: sunset"`)
	case len(given) > 1:
		add(given[1], strings.Join(given, " and ")+" exclude each other", "keep one of them, or make a source of each")
	}
	if o.At != nil {
		errs = append(errs, checkPlace("at", o.At)...)
	} else if o.Sun != "" {
		add("sun", "the sun needs a location", "write location: [latitude, longitude] in postbus.yaml, or at: [52.52, 13.40] here")
	}
	if o.Offset != 0 && o.Sun == "" {
		add("offset", "offset applies to sun only", "remove it, or write sun: sunset")
	}
	if o.Every > 0 && o.Jitter >= o.Every {
		add("jitter", fmt.Sprintf("%v is not less than every, %v: events would be reordered", o.Jitter, o.Every), "")
	}
	zone, err := location(o.Zone)
	if err != nil {
		errs = append(errs, err)
		zone = time.UTC
	}
	if o.Cron != "" {
		if _, err := parseCron(o.Cron, zone); err != nil {
			errs = append(errs, err)
		}
	}
	if !o.Align && o.Every == 0 && len(given) > 0 {
		add("align", "align applies to every, not to "+given[0], "remove it")
	}
	return errs
}

// Site is where and in which zone the file's expressions are.
func (o Options) Site() (at []float64, zone string) { return o.At, o.Zone }

// location loads a time zone; the machine's zone when there is no name.
func location(name string) (*time.Location, error) {
	if name == "" {
		return time.Local, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, kind.Wrong("zone", fmt.Sprintf("there is no time zone %q here", name),
			"write an IANA name as Europe/Berlin, or UTC; on Linux they are in the package tzdata")
	}
	return zone, nil
}
