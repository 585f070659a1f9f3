package desktop

import (
	_ "embed"
	"strings"
)

// forHomeAssistant is a plugin file with HOST in place of the machine's name.
//
//go:embed homeassistant.yaml
var forHomeAssistant string

// HomeAssistant returns a plugin file that announces the desktop of a machine to Home Assistant.
func HomeAssistant(host string) string { return strings.ReplaceAll(forHomeAssistant, "HOST", host) }
