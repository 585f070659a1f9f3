package file

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Stream       = (*Source)(nil)
	_ kind.Action[Args] = (*Action)(nil)
	_ kind.Opener       = (*Source)(nil)
	_ kind.Checker      = Options{}
	_ kind.Accessor     = Options{}
	_ kind.Accessor     = ActionOptions{}
)

// Kinds declares a source and an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.StreamOf("file", about, sample, defaults(), event{}, New),
		kind.ActionOf("file", actionAbout, actionSample, actionDefaults(), NewAction).Persisting(),
	}
}
