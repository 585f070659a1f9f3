package sql

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.BatchAction[Args] = (*Action)(nil)
	_ kind.Checker           = Options{}
	_ kind.Accessor          = Options{}
)

// Kinds declares an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{kind.BatchActionOf("sql", about, sample, defaults(), New).Persisting()}
}
