package mqtt

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Stream       = (*Source)(nil)
	_ kind.Action[Args] = (*Action)(nil)
	_ kind.Consumer     = (*Source)(nil)
	_ kind.Checker      = Options{}
)

// Kinds declares a source and an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.StreamOf("mqtt", about, sample, defaults(), event{}, New),
		kind.ActionOf("mqtt", actionAbout, actionSample, actionDefaults(), NewAction),
	}
}
