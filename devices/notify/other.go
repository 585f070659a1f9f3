//go:build !linux

// This file shows notifications on platforms without D-Bus, where the source fails.

package notify

import (
	"context"
	"errors"
	"sync"

	"github.com/gen2brain/beeep"

	"github.com/postbus/postbus/plugins/kind"
)

// Source fails.
type Source struct{}

// New makes a source that fails.
func New(Options, kind.Env) *Source { return &Source{} }

var errPlatform = errors.New("the buttons of notifications are reported on Linux only")

// Open fails.
func (s *Source) Open(context.Context) error { return errPlatform }

// Run fails.
func (s *Source) Run(context.Context, kind.Emit) error {
	return errPlatform
}

// Action shows notifications.
type Action struct{}

// NewAction makes an action. Buttons are not shown on this platform, which Degraded reports.
func NewAction(o ActionOptions, env kind.Env) *Action {
	if len(o.Buttons) > 0 {
		env.Degraded(errors.New("notifications have no buttons on this platform, and are shown without them"))
	}
	return &Action{}
}

// named sets the application's name, which the library keeps in a global variable: once, and the
// same for all.
var named = sync.OnceFunc(func() { beeep.AppName = "postbus" })

// Do shows a notification.
func (a *Action) Do(_ context.Context, args Args) error {
	args, err := checked(args)
	if err != nil {
		return err
	}
	if args.Close {
		return kind.Permanent(errors.New("a notification can't be closed on this platform"))
	}
	named()
	if args.Urgency == "critical" {
		return beeep.Alert(args.Title, args.Body, args.Icon)
	}
	return beeep.Notify(args.Title, args.Body, args.Icon)
}

// Describe lists the supported arguments.
func Describe() []string { return []string{"# the system's own: title, body and icon"} }
