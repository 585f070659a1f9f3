package bridge

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Stream       = (*Source)(nil)
	_ kind.Action[Args] = (*Action)(nil)
	_ kind.Opener       = (*Source)(nil)
	_ kind.Checker      = Options{}
	_ kind.Checker      = ActionOptions{}
	_ kind.Warner       = Options{}
	_ kind.Claimer      = Options{}
	_ kind.Accessor     = Options{}
	_ kind.Accessor     = ActionOptions{}
)

// Kinds declares a source and an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.StreamOf("bridge", about, sample, defaults(), event{}, New).PassesThrough(),
		kind.ActionOf("bridge", actionAbout, actionSample, actionDefaults(), NewAction),
	}
}
