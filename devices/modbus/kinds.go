package modbus

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Source       = (*Source)(nil)
	_ kind.Action[Args] = (*Action)(nil)
	_ kind.Opener       = (*Source)(nil)
	_ kind.Checker      = Options{}
	_ kind.Checker      = ActionOptions{}
	_ kind.Claimer      = Options{}
	_ kind.Claimer      = ActionOptions{}
	_ kind.Accessor     = Options{}
	_ kind.Accessor     = ActionOptions{}
)

// Kinds declares a source and an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.SourceOf("modbus", about, sample, defaults(), eventFields{}, New),
		kind.ActionOf("modbus", actionAbout, actionSample, actionDefaults(), NewAction),
	}
}
