package notify

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Source       = (*Source)(nil)
	_ kind.Action[Args] = (*Action)(nil)
	_ kind.Checker      = Options{}
	_ kind.Checker      = ActionOptions{}
)

// Kinds declares a source and an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.SourceOf("notify", about, sample, defaults(), eventFields{}, New),
		kind.ActionOf("notify", actionAbout, actionSample, actionDefaults(), NewAction),
	}
}
