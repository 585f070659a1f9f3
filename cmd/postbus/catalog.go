// This file is the only list of the kinds of plugins: a new one is a package and a line here.

package main

import (
	"github.com/postbus/postbus/devices/host"
	"github.com/postbus/postbus/plugins"
	"github.com/postbus/postbus/plugins/execd"
	"github.com/postbus/postbus/plugins/timer"
)

// catalog lists every kind.
func catalog() *plugins.Catalog {
	return plugins.NewCatalog(
		plugins.NewSource("timer", timer.About, timer.Sample, timer.Defaults(), timer.Event{},
			func(o timer.Options, e *plugins.Env) *timer.Source { return timer.New(o, e) }),
		plugins.NewSource("host", host.About, host.Sample, host.Defaults(), host.Event{},
			func(o host.Options, e *plugins.Env) *host.Source { return host.New(o, e) }),
		plugins.NewStream("execd", execd.About, execd.Sample, execd.Defaults(), execd.Event{},
			func(o execd.Options, e *plugins.Env) *execd.Source { return execd.New(o, e) }),
		plugins.NewAction("execd", execd.ActionAbout, execd.ActionSample, execd.ActionDefaults(),
			func(o execd.ActionOptions, e *plugins.Env) *execd.Action { return execd.NewAction(o, e) }),
	)
}
