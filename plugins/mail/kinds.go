package mail

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Action[Args] = (*Action)(nil)
	_ kind.Checker      = Options{}
	_ kind.Accessor     = Options{}
)

// Kinds declares an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{kind.ActionOf("mail", about, sample, defaults(), New)}
}
