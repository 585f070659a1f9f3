package websocket

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Stream       = (*Source)(nil)
	_ kind.Opener       = (*Source)(nil)
	_ kind.Action[Args] = (*Action)(nil)
	_ kind.Checker      = Options{}
	_ kind.Checker      = ActionOptions{}
	_ kind.GivenChecker = Args{}
)

// Kinds declares a source and an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.StreamOf("websocket", about, sample, defaults(), event{}, New),
		kind.ActionOf("websocket", actionAbout, actionSample, actionDefaults(), NewAction).Handing(),
	}
}
