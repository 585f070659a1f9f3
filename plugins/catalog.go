package plugins

// This file is the set of kinds that plugin files may use.

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/postbus/postbus/plugins/kind"
)

// Catalog is the set of all kinds.
type Catalog struct {
	kinds   []*kind.Kind
	sources map[string]*kind.Kind
	actions map[string]*kind.Kind
}

// NewCatalog makes a catalog of the kinds. It panics if two sources or two actions have the same
// name, if a declaration's tags are invalid, or if no file could set the type of an option or
// argument. All of these are bugs in the program, and the text names the place.
func NewCatalog(kinds ...*kind.Kind) *Catalog {
	c := &Catalog{kinds: kinds, sources: map[string]*kind.Kind{}, actions: map[string]*kind.Kind{}}
	for _, k := range kinds {
		m := c.sources
		if k.Action {
			m = c.actions
		}
		if m[k.Name] != nil {
			panic(fmt.Sprintf("two kinds are called %s", k.Name))
		}
		m[k.Name] = k
		for _, s := range []any{k.Options, k.Args, k.Event} {
			if s != nil {
				fieldsOf(reflect.TypeOf(s))
			}
		}
		for _, s := range []any{k.Options, k.Args} {
			if s == nil {
				continue
			}
			if err := settable(reflect.TypeOf(s), "", nil); err != nil {
				panic(fmt.Sprintf("the kind %s: %v", k.Name, err))
			}
		}
	}
	return c
}

// Kinds returns the declared kinds in their order.
func (c *Catalog) Kinds() []*kind.Kind { return c.kinds }

// Named returns the source and the action of a name; nil if there is none.
func (c *Catalog) Named(name string) (source, action *kind.Kind) {
	return c.sources[name], c.actions[name]
}

func names(m map[string]*kind.Kind) []string {
	var list []string
	for n := range m {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}
