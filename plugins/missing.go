package plugins

// This file prevents an absent value from becoming a command. An absent field, a register that
// could not be read and the NaN of a sensor that failed evaluate to nothing. But an empty retained
// payload deletes the value, a missing argument means its default, and null removes a name from the
// state. Each of these must be written in the file as a literal. If an expression yields nothing,
// the entry fails, and the failure is counted and shown.

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/postbus/postbus/plugins/expr"
)

// errEmptied is the error of an expression that yields empty text where that would delete a
// retained value.
var errEmptied = errors.New(`it is empty, and an empty retained payload deletes the retained value; to delete it, write payload: "" in an entry of its own, with a when`)

// written returns an error if value, a template, yielded nothing. A literal may be null.
func written(value expr.Value, x any) error {
	why := expr.Missing(x)
	if why == "" || value.Constant() {
		return nil
	}
	what := value.Source()
	if what == "" {
		what = "it"
	}
	return fmt.Errorf("%s %s", what, why)
}

// present returns an error if an expression yielded nothing for an argument, or for a required part
// of one.
func (a *actionSpec) present(args map[string]any) error {
	for _, arg := range a.dynamic {
		x, ok := args[arg.field.key]
		if !ok {
			continue
		}
		if err := written(arg.value, x); err != nil {
			return fmt.Errorf("%s: %w", arg.field.key, err)
		}
		if path, why := missingIn(arg.field.typ, x); why != "" {
			return fmt.Errorf("%s%s %s", arg.field.key, path, why)
		}
		if arg.field.key == "payload" && args["retain"] == true && isEmpty(x) {
			return fmt.Errorf("payload: %w", errEmptied)
		}
	}
	return nil
}

// dynamicArg is an argument whose value differs from event to event.
type dynamicArg struct {
	field field
	value expr.Value
}

// missingIn finds the first part of x that is nothing, inside declared lists, mappings or structs
// of values that cannot be null. A part that is declared as any may be nil, as in JSON, but not
// NaN, which JSON does not have.
func missingIn(t reflect.Type, x any) (path, why string) {
	switch v := x.(type) {
	case []any:
		for i, e := range v {
			if path, why = missingPart(elementOf(t), e); why != "" {
				return fmt.Sprintf("[%d]%s", i, path), why
			}
		}
	case map[string]any:
		for k, e := range v {
			if path, why = missingPart(elementOf(t), e); why != "" {
				return "." + k + path, why
			}
		}
	}
	return "", ""
}

func missingPart(t reflect.Type, x any) (path, why string) {
	open := t == nil || t.Kind() == reflect.Interface
	if why := expr.Missing(x); why != "" && !(open && x == nil) {
		return "", why
	}
	return missingIn(t, x)
}

// elementOf is the type of the elements of a list or mapping. It is nil, which means any, for
// structs, whose parts may be absent.
func elementOf(t reflect.Type) reflect.Type {
	if t == nil {
		return nil
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Map, reflect.Array:
		return t.Elem()
	case reflect.Pointer:
		return elementOf(t.Elem())
	}
	return nil
}

// isEmpty reports whether x is empty text.
func isEmpty(x any) bool {
	switch v := x.(type) {
	case string:
		return v == ""
	case []byte:
		return len(v) == 0
	case fmt.Stringer:
		return v.String() == ""
	}
	return false
}
