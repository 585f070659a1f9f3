package pwm

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Action[Args] = (*Action)(nil)
	_ kind.Claimer      = ActionOptions{}
	_ kind.Accessor     = ActionOptions{}
)

// Kinds declares an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.ActionOf("pwm", actionAbout, actionSample, actionDefaults(), NewAction),
	}
}
