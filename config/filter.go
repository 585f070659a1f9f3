// This file: the syntax of topic filters in rules, [MQTT-4.7.1-1] to [MQTT-4.7.3-1]. Package auth
// has the matching; config may not import it.

package config

import (
	"fmt"
	"strings"
)

// checkFilter accepts an MQTT topic filter that a rule may hold.
func checkFilter(f string) error {
	switch {
	case f == "":
		return hintf(`write "#" for every topic, or remove it`, "a topic filter can't be empty")
	case len(f) > 65535:
		return fmt.Errorf("the filter has %d bytes, more than the 65535 that MQTT allows", len(f))
	case strings.ContainsRune(f, 0):
		return fmt.Errorf("the filter %q holds a NUL character", f)
	case strings.HasPrefix(f, "$share/"):
		inner := strings.SplitN(f, "/", 3)
		if len(inner) < 3 {
			inner = append(inner, "#")
		}
		return hintf(fmt.Sprintf("write %q: a shared subscription is judged by its filter", inner[2]), "a rule can't name a shared subscription: %q", f)
	}
	levels := strings.Split(f, "/")
	for i, l := range levels {
		switch {
		case l == "#" && i < len(levels)-1:
			return hintf(fmt.Sprintf("write %q", strings.Join(levels[:i+1], "/")), `"#" must be the last level: %q`, f)
		case l != "#" && strings.Contains(l, "#"):
			return hintf(fmt.Sprintf("write %q", strings.Join(append(levels[:i:i], strings.ReplaceAll(l, "#", ""), "#"), "/")), `"#" must be a level of its own: %q`, f)
		case l != "+" && strings.Contains(l, "+"):
			return hintf(`"+" stands for one whole level, as in "home/+/temp"`, `"+" must be a level of its own: %q`, f)
		}
	}
	return nil
}
