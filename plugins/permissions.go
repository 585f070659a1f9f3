package plugins

// This file is "permissions:": the upper bound of a file's rights. Without the key a file has the
// rights that are derived from it.

import (
	"path"
	"slices"
	"strings"

	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/config/yamlnode"
)

var permissionKeys = []string{"publish", "subscribe", "exec", "path", "host", "device", "listen", "power"}

func (f *fileReader) permissions(n yamlnode.Node) {
	m, ok := n.Map(permissionKeys...)
	if !ok {
		return
	}
	p := permissions{by: map[string][]string{}}
	for i := range m.Len() {
		name, v := m.Entry(i)
		list := []string{}
		items, _ := v.List()
		for _, item := range items {
			s, ok := item.Text()
			if !ok {
				continue
			}
			if name == "publish" || name == "subscribe" {
				if err := topic.CheckSubscription(s); err != nil {
					item.Fail("", "%v", err)
				}
			} else if _, err := path.Match(s, ""); err != nil {
				item.Fail("* matches everything except /, [ must be closed", "%q is not a pattern", s)
			}
			list = append(list, s)
		}
		p.by[name] = list
	}
	p.publish = p.by["publish"]
	f.spec.permissions = p
}

// allows reports whether one of the patterns of the category covers what.
func allows(category string, patterns []string, what string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if category == "subscribe" {
			return topic.Covers(p, what)
		}
		ok, err := path.Match(p, what)
		return err == nil && ok
	})
}

// accessOf lists the resources that are accessed in the categories.
func accessOf(access []string, categories ...string) []string {
	var out []string
	for _, a := range access {
		if c, _, _ := strings.Cut(a, ":"); slices.Contains(categories, c) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
