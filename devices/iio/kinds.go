package iio

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Source   = (*Source)(nil)
	_ kind.Accessor = Options{}
)

// Kinds declares a source.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.SourceOf("iio", about, sample, defaults(), eventFields{}, New),
	}
}
