package uds

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Stream       = (*Source)(nil)
	_ kind.Action[Args] = (*Action)(nil)
	_ kind.Opener       = (*Source)(nil)
	_ kind.Checker      = Options{}
	_ kind.Checker      = ActionOptions{}
	_ kind.Claimer      = Options{}
	_ kind.Accessor     = Options{}
	_ kind.Accessor     = ActionOptions{}
)

// Kinds declares a source and an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.StreamOf("uds", about, sample, defaults(), event{}, New).Answering(),
		kind.ActionOf("uds", actionAbout, actionSample, actionDefaults(), NewAction),
	}
}
