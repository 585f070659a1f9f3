package timer

// This file checks a timer's options.

import (
	"fmt"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// Check checks the options against each other. The errors have Key and Hint.
func (o Options) Check() []error {
	var errs []error
	add := func(key, reason, hint string) { errs = append(errs, kind.Wrong(key, reason, hint)) }
	switch {
	case o.Every == 0 && o.Cron == "":
		add("", "a timer needs either every or cron", `write "every: 10s" or "cron: 0 7 * * 1-5"`)
	case o.Every != 0 && o.Cron != "":
		add("cron", "every and cron exclude each other", "remove one of them, or make two sources")
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
		if !o.Align {
			add("align", "align applies to every, not to cron", "remove it")
		}
	}
	return errs
}

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
