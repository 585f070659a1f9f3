package http

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Source            = (*Source)(nil)
	_ kind.BatchAction[Args] = (*Action)(nil)
	_ kind.Checker           = Options{}
	_ kind.Checker           = ActionOptions{}
)

// Kinds declares a source and an action.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.SourceOf("http", about, sample, defaults(), event{}, New),
		kind.BatchActionOf("http", actionAbout, actionSample, actionDefaults(), NewAction).Reporting(answer{}),
	}
}
