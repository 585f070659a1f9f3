// This file: filters of rules, and the rules that make one topic of another.

package bridge

import (
	"fmt"
	"strings"

	"github.com/postbus/postbus/bus/topic"
)

// checkName reports why s is no topic name.
func checkName(s string) error { return topic.Reason(topic.CheckName(s)) }

// checkFilter reports why f is no topic filter for a bridge.
func checkFilter(f string) error {
	if topic.Shared(f) {
		return fmt.Errorf("%q: a bridge can't share a subscription", f)
	}
	return topic.Reason(topic.CheckFilter(f))
}

// rename takes strip off a topic and puts prefix before it. The error says why what comes out is no topic.
func rename(name, strip, prefix string) (string, error) {
	name = prefix + strings.TrimPrefix(name, strip)
	return name, checkName(name)
}
