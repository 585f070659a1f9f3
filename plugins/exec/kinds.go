package exec

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Source       = (*Source)(nil)
	_ kind.Action[Args] = (*Action)(nil)
	_ kind.Opener       = (*Source)(nil)
	_ kind.Checker      = Options{}
	_ kind.Checker      = ActionOptions{}
	_ kind.Accessor     = Options{}
	_ kind.Accessor     = ActionOptions{}
	_ kind.Commander    = Options{}
	_ kind.Commander    = ActionOptions{}
)

// Kinds declares a source and an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.SourceOf("exec", about, sample, defaults(), event{}, New),
		kind.ActionOf("exec", actionAbout, actionSample, actionDefaults(), NewAction),
	}
}
