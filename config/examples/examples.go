// Package examples holds the shipped config and plugin files unchanged: the program writes the
// starter plugin from here, and tests run every file's own tests.
package examples

import "embed"

// Plugins are the plugin files, in the folder plugins.
//
//go:embed plugins/*.yaml
var Plugins embed.FS

// Starter is the name of the file that postbus writes to a new plugins folder.
const Starter = "vital-signs.yaml"
