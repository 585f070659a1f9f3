package usb

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Source  = (*Source)(nil)
	_ kind.Opener  = (*Source)(nil)
	_ kind.Checker = Options{}
)

// Kinds declares a source.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.SourceOf("usb", about, sample, defaults(), eventFields{}, New),
	}
}
