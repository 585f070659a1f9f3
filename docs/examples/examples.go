// Package pages holds the example pages, which the bus serves at /examples/. Each is small enough
// to read.
package pages

import "embed"

// Files are the pages as they are.
//
//go:embed *.html *.js *.css
var Files embed.FS
