package webhook

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Stream   = (*Source)(nil)
	_ kind.Opener   = (*Source)(nil)
	_ kind.Checker  = Options{}
	_ kind.Claimer  = Options{}
	_ kind.Accessor = Options{}
)

// Kinds declares a source.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.StreamOf("webhook", about, sample, defaults(), event{}, New).Answering(),
	}
}
