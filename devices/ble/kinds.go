package ble

import "github.com/postbus/postbus/plugins/kind"

var (
	_ kind.Stream  = (*Source)(nil)
	_ kind.Checker = Options{}
)

// Kinds declares a source.
func Kinds() []*kind.Kind {
	return []*kind.Kind{
		kind.StreamOf("ble", about, sample, defaults(), eventFields{}, New),
	}
}
