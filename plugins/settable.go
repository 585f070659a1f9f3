package plugins

// This file lists the types that options and arguments of a kind may have: those that reader.value
// and assign can set.

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

const settableTypes = "there are string, bool, int, int64, float64, time.Duration, any, encoding.TextUnmarshaler, and structs, pointers to structs, lists and maps with text keys of these; []byte in arguments"

// settable returns an error if a file cannot set a field of a struct type. outer are the enclosing
// structs.
func settable(t reflect.Type, path string, outer []reflect.Type) error {
	if t.Kind() != reflect.Struct {
		return fmt.Errorf("%s is a %s; want a struct", cmp.Or(path, "the declared type"), t)
	}
	if slices.Contains(outer, t) {
		return fmt.Errorf("%s holds itself: %s", path, t)
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("key") != "" && !f.IsExported() {
			return fmt.Errorf("%s%s: the field %s is not exported", path, f.Tag.Get("key"), f.Name)
		}
	}
	for _, f := range fieldsOf(t) {
		at := path + f.key
		if err := settableField(f, f.typ, at, append(outer, t)); err != nil {
			return err
		}
	}
	return nil
}

func settableField(f field, t reflect.Type, at string, outer []reflect.Type) error {
	whole := t.Kind() == reflect.Int || t.Kind() == reflect.Int64
	switch {
	case isText(t), t == durationType, t == keysType:
		return nil
	case f.size && !whole:
		return fmt.Errorf("%s has the unit size and is a %s: want int or int64", at, t)
	case len(f.oneOf) > 0 && t.Kind() != reflect.String && t.Kind() != reflect.Slice && t.Kind() != reflect.Map:
		return fmt.Errorf("%s is one of some words and is a %s: want string", at, t)
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Float64:
		return nil
	case reflect.Int, reflect.Int64:
		return nil
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return nil
		}
	case reflect.Struct:
		if t != timeType {
			return settable(t, at+".", outer)
		}
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Struct && t.Elem() != timeType {
			return settable(t.Elem(), at+".", outer)
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return nil
		}
		return settableField(f, t.Elem(), at+"[]", outer)
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			return settableField(f, t.Elem(), at+".*", outer)
		}
	}
	return fmt.Errorf("%s is a %s, which no file can set: %w", at, t, errSettable)
}

var errSettable = errors.New(settableTypes)
