// This file checks the topic filters of rules, and renames topics by strip and prefix.

package bridge

import (
	"fmt"
	"strings"

	"github.com/postbus/postbus/bus/topic"
)

// checkName reports why s is not a valid topic name.
func checkName(s string) error { return topic.Reason(topic.CheckName(s)) }

// checkFilter reports why f is not a valid topic filter for a bridge.
func checkFilter(f string) error {
	if topic.Shared(f) {
		return fmt.Errorf("%q: a bridge can't share a subscription", f)
	}
	return topic.Reason(topic.CheckFilter(f))
}

// rename removes strip from a topic and puts prefix before it. The error says why the result is not
// a valid topic.
func rename(name, strip, prefix string) (string, error) {
	name = prefix + strings.TrimPrefix(name, strip)
	return name, checkName(name)
}
