package mail

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.BatchAction[Args] = (*Action)(nil)
	_ kind.Checker           = Options{}
	_ kind.Accessor          = Options{}
)

// Kinds declares an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{kind.BatchActionOf("mail", about, sample, defaults(), New)}
}
