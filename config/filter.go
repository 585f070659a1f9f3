// This file explains the faults of a topic filter, and of a rule, which may have variables, and
// suggests a correct one.

package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/postbus/postbus/bus/topic"
)

// checkFilter checks an MQTT topic filter of a rule. The error may be a *topic.VariableError.
func checkFilter(f string) error {
	if strings.HasPrefix(f, topic.SharePrefix) {
		inner := topic.Inner(f)
		if inner == "" {
			inner = "#"
		}
		return hintf(fmt.Sprintf("write %q: a shared subscription is judged by its filter", inner),
			"a rule can't name a shared subscription: %q", f)
	}
	_, err := topic.ParseTemplate(f)
	var wrong *topic.Error
	if !errors.As(err, &wrong) {
		return err
	}
	return explainFilter(f, wrong)
}

// explainFilter returns a fault of a filter in the words of a config, with a correct filter.
func explainFilter(f string, wrong *topic.Error) error {
	levels := strings.Split(f, "/")
	switch wrong.Fault {
	case topic.Empty:
		return hintf(`write "#" for every topic, or remove it`, "a topic filter can't be empty")
	case topic.TooLong:
		return fmt.Errorf("the filter has %d bytes, more than the %d that MQTT allows", len(f), topic.MaxLen)
	case topic.NotText:
		return fmt.Errorf("the filter %q holds a NUL character or is not UTF-8", f)
	case topic.HashNotLast:
		return hintf(fmt.Sprintf("write %q", strings.Join(levels[:wrong.Level+1], "/")), `"#" must be the last level: %q`, f)
	}
	before, level := levels[:wrong.Level:wrong.Level], levels[wrong.Level]
	if strings.Contains(level, "#") {
		return hintf(fmt.Sprintf("write %q", strings.Join(append(before, strings.ReplaceAll(level, "#", ""), "#"), "/")), `"#" must be a level of its own: %q`, f)
	}
	return hintf(`"+" stands for one whole level, as in "home/+/temp"`, `"+" must be a level of its own: %q`, f)
}
