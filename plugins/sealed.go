package plugins

// This file keeps secrets out of the journal. A queued job holds their names, and where in its arguments they
// belong; the worker fills them in. An event cannot name a secret: its values are nowhere searched for one.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
)

// sealedText is a text with secrets in the arguments of a queued job.
type sealedText struct {
	At   []string    `json:"at"` // keys and indexes
	Text expr.Sealed `json:"text"`
}

// sealedIn finds the texts with secrets in x, in a fixed order.
func sealedIn(x any, at []string) (list []sealedText) {
	switch x := x.(type) {
	case expr.Sealed:
		return []sealedText{{slices.Clone(at), x}}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(x)) {
			list = append(list, sealedIn(x[key], append(at, key))...)
		}
	case []any:
		for i, e := range x {
			list = append(list, sealedIn(e, append(at, strconv.Itoa(i)))...)
		}
	}
	return list
}

// secretError is why a secret is not to be had. The job waits for it.
type secretError struct{ error }

func (e *secretError) Unwrap() error { return e.error }

// openJob returns the arguments of a job with its secrets filled in. o itself stays as it is, because it
// becomes a dead letter if it fails.
func openJob(o job, payload []byte, urls map[string]urlSpec, secret func(string) (string, error)) (map[string]any, error) {
	if len(o.Secrets) == 0 {
		return o.Args, nil
	}
	var c job
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if err := d.Decode(&c); err != nil {
		return nil, err
	}
	for _, s := range o.Secrets {
		text, err := s.Text.Open(func(before, name string) (string, error) {
			value, err := secret(name)
			if err != nil {
				return "", &secretError{err}
			}
			if _, isURL := urls[s.At[0]]; isURL && len(s.At) == 1 {
				value = escapeSecret(before, value)
			}
			return value, nil
		})
		if err != nil {
			return nil, err
		}
		if !put(c.Args, s.At, text) {
			return nil, fmt.Errorf("the queued job cannot be decoded: it has no %s", strings.Join(s.At, "."))
		}
	}
	return c.Args, nil
}

// put sets a part of a tree.
func put(tree any, at []string, text string) bool {
	for i, key := range at {
		last := i == len(at)-1
		switch t := tree.(type) {
		case map[string]any:
			if last {
				t[key] = text
				return true
			}
			tree = t[key]
		case []any:
			n, err := strconv.Atoi(key)
			if err != nil || n < 0 || n >= len(t) {
				return false
			}
			if last {
				t[n] = text
				return true
			}
			tree = t[n]
		default:
			return false
		}
	}
	return false
}

// hasExpressions reports whether a text in n has a hole that is no secret.
func hasExpressions(n yamlnode.Node) bool {
	switch {
	case n.IsMap():
		m, _ := n.Map()
		for i := range m.Len() {
			if _, item := m.Entry(i); hasExpressions(item) {
				return true
			}
		}
	case n.IsList():
		items, _ := n.List()
		return slices.ContainsFunc(items, hasExpressions)
	case n.IsScalar():
		return expr.HoleBeside(n.Raw().Value) >= 0
	}
	return false
}

// secretsExist reports the secrets that n names and that do not exist.
func (f *fileReader) secretsExist(n yamlnode.Node) {
	switch {
	case f.Secret == nil || n.Raw() == nil:
	case n.IsMap():
		m, _ := n.Map()
		for i := range m.Len() {
			_, item := m.Entry(i)
			f.secretsExist(item)
		}
	case n.IsList():
		items, _ := n.List()
		for _, item := range items {
			f.secretsExist(item)
		}
	case n.IsScalar():
		s := n.Raw().Value
		names := expr.Seal(s).Names()
		if name, ok := strings.CutPrefix(s, secretPrefix); ok && checkSecretName(name) == nil {
			names = append(names, name)
		}
		for _, name := range names {
			if err := f.Secret(name); err != nil && !errors.Is(err, fs.ErrPermission) {
				what, hint := err.Error(), ""
				if fault := (*secretFault)(nil); errors.As(err, &fault) {
					what, hint = fault.reason, fault.hint
				}
				n.FailWithin(max(strings.Index(s, name), 0), hint, "%s", what)
			}
		}
	}
}
