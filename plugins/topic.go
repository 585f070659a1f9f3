package plugins

// This file is the topic of a rule: a template whose filled-in parts remain within their level, so
// that an event cannot choose its topic.

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
)

// topic reads the topic of an entry of "publish", or of an action. remote means that it is another
// broker's.
func (f *fileReader) topic(n yamlnode.Node, remote bool) *topicSpec {
	p := &f.spec.permissions
	t := readTopic(n, f.scope, !remote && p.publish != nil, remote)
	if t != nil && !remote && t.constant != "" && !p.mayPublish(t.constant) {
		n.Fail("add it there, or publish elsewhere", "%q is not listed in permissions.publish", t.constant)
	}
	return t
}

// readTopic checks a topic template. wide allows filled-in parts to contain levels; remote means that
// the topic is another broker's, which may begin with $.
func readTopic(n yamlnode.Node, scope expr.Scope, wide, remote bool) *topicSpec {
	s, ok := n.Text()
	if !ok {
		return nil
	}
	t, ok := template(n, s, scope)
	if !ok {
		return nil
	}
	if err := t.Slash(); err != nil && !wide {
		e := err.(*expr.Error)
		hint := "write the / outside of ${…}, or use one level such as event.topic[1]"
		if !remote {
			hint = "write the / outside of ${…}, use one level such as event.topic[1], or list the topics in permissions.publish"
		}
		n.FailWithin(e.Offset, hint, "%s: a filled-in value must stay within its level", e.Message)
		return nil
	}
	spec := &topicSpec{text: s, template: t, remote: remote}
	var pattern, shape strings.Builder
	hole := `[^/]*`
	if wide {
		hole = `.*`
	}
	for _, p := range t.Parts() {
		if p.Hole {
			pattern.WriteString(hole)
			shape.WriteString("x")
			continue
		}
		spec.slashes += strings.Count(p.Text, "/")
		pattern.WriteString(regexp.QuoteMeta(p.Text))
		shape.WriteString(p.Text)
		if i := strings.IndexAny(p.Text, "+#"); i >= 0 {
			n.FailWithin(max(strings.Index(s, p.Text), 0)+i,
				"wildcards are for filters, as in a source's topics", "a topic cannot contain %q", p.Text[i:i+1])
			return nil
		}
	}
	if err := topic.CheckName(shape.String()); err != nil {
		n.Fail("", "%v", err)
		return nil
	}
	if !remote && strings.HasPrefix(shape.String(), "$") {
		n.Fail("choose a name that does not begin with $", "topics that begin with $ are reserved")
		return nil
	}
	if t.Constant() {
		spec.constant = shape.String()
	}
	spec.sample = shape.String()
	spec.empty = emptyLevels(shape.String())
	spec.match = regexp.MustCompile(`^` + pattern.String() + `$`)
	return spec
}

// eval is the topic for one event.
func (t *topicSpec) eval(v *expr.Vars, p *permissions) (string, error) {
	name := t.constant
	if name == "" {
		var err error
		if name, err = t.template.Text(v); err != nil {
			return "", err
		}
	}
	return name, t.check(name, p)
}

// check checks the topic of one event.
func (t *topicSpec) check(name string, p *permissions) error {
	narrow := t.remote || p.publish == nil
	switch err := topic.CheckName(name); {
	case name != "" && name == t.constant:
	case err != nil:
		return err
	case !t.remote && name[0] == '$':
		return fmt.Errorf("topic %q: topics that begin with $ are reserved", name)
	case narrow && strings.Count(name, "/") != t.slashes && t.remote:
		return fmt.Errorf("topic %q: a filled-in value contains \"/\"", name)
	case narrow && strings.Count(name, "/") != t.slashes:
		return fmt.Errorf("topic %q: a filled-in value contains \"/\"; list the topics in permissions.publish to allow that", name)
	case narrow && emptyLevels(name) != t.empty:
		return fmt.Errorf("topic %q: a filled-in value is empty", name)
	}
	if !t.remote && !p.mayPublish(name) {
		return fmt.Errorf("topic %q is not listed in permissions.publish", name)
	}
	return nil
}

// emptyLevels counts the empty levels: all things without a name would share one topic.
func emptyLevels(topic string) (n int) {
	for level := range strings.SplitSeq(topic, "/") {
		if level == "" {
			n++
		}
	}
	return n
}

func (p *permissions) mayPublish(name string) bool {
	if p.publish == nil {
		return true
	}
	for _, f := range p.publish {
		if topic.Match(f, name) {
			return true
		}
	}
	return false
}

// template parses text that may contain ${…}, and reports errors at their positions.
func template(n yamlnode.Node, s string, scope expr.Scope) (*expr.Template, bool) {
	t, err := expr.ParseTemplate(s, scope)
	if err != nil {
		failExpr(n, err)
		return nil, false
	}
	return t, true
}

func failExpr(n yamlnode.Node, err error) {
	if e, ok := err.(*expr.Error); ok {
		n.FailWithin(e.Offset, e.Hint, "%s", e.Message)
		return
	}
	n.Fail("", "%v", err)
}

// valueOf reads a tree whose texts may contain ${…}.
func valueOf(n yamlnode.Node, scope expr.Scope) (expr.Value, bool) {
	switch {
	case n.Refused():
		return expr.Value{}, false
	case n.IsMap():
		m, ok := n.Map()
		var keys []string
		var values []expr.Value
		for i := range m.Len() {
			name, item := m.Entry(i)
			if fixedKey(item, name) {
				ok = false
				continue
			}
			v, good := valueOf(item, scope)
			keys, values, ok = append(keys, name), append(values, v), ok && good
		}
		return expr.Map(keys, values), ok
	case n.IsList():
		items, ok := n.List()
		var values []expr.Value
		for _, item := range items {
			v, good := valueOf(item, scope)
			values, ok = append(values, v), ok && good
		}
		return expr.List(values), ok
	case n.IsScalar() && n.Raw().Tag == "!!str" && lostSecret(n, n.Raw().Value):
		return expr.Value{}, false
	case n.IsScalar() && n.Raw().Tag == "!!str" && strings.Contains(n.Raw().Value, "${"):
		t, ok := template(n, n.Raw().Value, scope)
		if !ok {
			return expr.Value{}, false
		}
		return expr.FromTemplate(t), true
	}
	v, ok := plain(n)
	return expr.Const(v), ok
}
