package serial

import (
	"github.com/postbus/postbus/devices/internal/tty"
	"github.com/postbus/postbus/plugins/kind"
)

var (
	_ kind.Stream       = (*Source)(nil)
	_ kind.Action[Args] = (*Action)(nil)
	_ kind.Opener       = (*Source)(nil)
	_ kind.Checker      = Options{}
	_ kind.Claimer      = Options{}
	_ kind.Claimer      = ActionOptions{}
	_ kind.Accessor     = Options{}
	_ kind.Accessor     = ActionOptions{}
)

// Kinds declares a source and an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.StreamOf("serial", about, sample, defaults(), eventFields{}, New),
		kind.ActionOf("serial", actionAbout, actionSample, actionDefaults(), NewAction),
	}
}

// Describe lists this machine's serial ports, as text for a plugin file.
func Describe() []string { return tty.Describe() }
