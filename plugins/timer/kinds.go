package timer

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Source  = (*Source)(nil)
	_ kind.Checker = Options{}
	_ kind.Siter   = Options{}
)

// Kinds declares a source.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.SourceOf("timer", about, sample, defaults(), event{}, New),
	}
}
