package input

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Stream   = (*Source)(nil)
	_ kind.Checker  = Options{}
	_ kind.Claimer  = Options{}
	_ kind.Accessor = Options{}
)

// Kinds declares a source.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.StreamOf("input", about, sample, defaults(), eventFields{}, New),
	}
}
