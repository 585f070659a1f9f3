package plugins

// This file is secrets: "secret:name" and ${secret.name} are replaced by the content of a file that only
// its owner may read. Secrets of options are read when a plugin starts, those of an action's arguments when
// its first job is done that needs them. They are never shown. sealed.go is about queued jobs.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/payload"
)

const (
	secretPrefix = "secret:"
	maxSecret    = 64 << 10
)

var secretName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func checkSecretName(name string) error {
	if !secretName.MatchString(name) {
		return fmt.Errorf("%q is not a name of a secret: letters, digits, . _ -", name)
	}
	return nil
}

var secretWithin = regexp.MustCompile(`(?:^|[^A-Za-z0-9_])secret:[A-Za-z0-9]`)

// lostSecret refuses a text in which secret:name would be sent literally: inside other text, or
// where secrets are not replaced.
func lostSecret(n yamlnode.Node, s string) bool {
	at := secretWithin.FindStringIndex(s)
	if at == nil {
		return false
	}
	i := strings.Index(s[at[0]:], secretPrefix) + at[0]
	n.FailWithin(i, "within a text, and in an action's arguments, write ${secret.name}; secret:name is the whole value of an option that may be a secret",
		"%q would be sent literally", clip(s[i:], 40))
	return true
}

// ReadSecret reads a secret from the first folder that contains it.
func ReadSecret(dirs []string, name string) (string, error) {
	if err := checkSecretName(name); err != nil {
		return "", err
	}
	for _, dir := range dirs {
		file := filepath.Join(dir, name)
		s, err := ReadSecretFile(file)
		var fault *secretFault
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.As(err, &fault):
			return "", &secretFault{fmt.Sprintf("secret %s: %s", name, fault.reason), fault.joint, fault.hint}
		case err != nil:
			return "", fmt.Errorf("secret %s: %w", name, err)
		}
		return s, nil
	}
	if len(dirs) == 0 {
		return "", fmt.Errorf("secret %s not found: no folder for secrets is set", name)
	}
	return "", &secretFault{fmt.Sprintf("secret %s not found", name), ": ",
		"write it to " + filepath.Join(dirs[len(dirs)-1], name) + ", readable by its owner only (chmod 600)"}
}

// secretFault says why a secret cannot be used, and what to do.
type secretFault struct{ reason, joint, hint string }

func (e *secretFault) Error() string { return e.reason + e.joint + e.hint }

// ReadSecretFile reads a secret of at most 64 KiB from a file that only its owner may read.
func ReadSecretFile(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !st.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file", file)
	case runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0:
		return "", &secretFault{"others may read " + file, "; ", "chmod 600 it"}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch {
	case err != nil:
		return "", err
	case len(data) > maxSecret:
		return "", fmt.Errorf("%s is larger than 64KiB", file)
	}
	return strings.TrimRight(payload.Text(data), "\r\n"), nil
}

// FindSecret returns an error if no folder has the secret, or if it cannot be used.
func FindSecret(dirs []string, name string) error {
	_, err := ReadSecret(dirs, name)
	return err
}

// resolve returns a copy of options, a struct, with every secret replaced, and the secrets. urls are the
// options that are URLs.
func resolve(options any, urls map[string]urlSpec, dirs []string) (any, []string, error) {
	v := reflect.New(reflect.TypeOf(options)).Elem()
	v.Set(reflect.ValueOf(options))
	var found []string
	read := func(name string) (string, error) {
		secret, err := ReadSecret(dirs, name)
		if err == nil && secret != "" {
			found = append(found, secret)
		}
		return secret, err
	}
	err := eachSecret(v, func(f field, s string) (string, error) {
		if name, ok := strings.CutPrefix(s, secretPrefix); ok && f.secret {
			return read(name)
		}
		text, err := expr.Seal(s).Open(func(before, name string) (string, error) {
			secret, err := read(name)
			if f.url != "" {
				if escaped := escapeSecret(before, secret); escaped != secret {
					secret = escaped
					found = append(found, escaped)
				}
			}
			return secret, err
		})
		if err == nil && f.secret && text != "" {
			found = append(found, text) // written in the file: it must not be shown either
		}
		return text, err
	})
	for _, f := range fieldsOf(v.Type()) {
		if spec, ok := urls[f.key]; ok && err == nil && !v.Field(f.index).IsZero() { // otherwise it is an argument
			if err = spec.check(v.Field(f.index).String()); err != nil {
				err = fmt.Errorf("%s: %w", f.key, err)
			}
		}
	}
	return v.Interface(), found, err
}

// eachSecret replaces the values of fields that may contain a secret. It copies maps, lists and pointers
// first, so that the checked file is unchanged.
func eachSecret(v reflect.Value, replace func(field, string) (string, error)) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		p := reflect.New(v.Type().Elem())
		p.Elem().Set(v.Elem())
		v.Set(p)
		return eachSecret(p.Elem(), replace)
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Struct {
			return nil
		}
		list := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(list, v)
		v.Set(list)
		for i := range list.Len() {
			if err := eachSecret(list.Index(i), replace); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			x := v.Field(f.index)
			switch {
			case f.mayHide() && x.Kind() == reflect.String:
				s, err := replace(f, x.String())
				if err != nil {
					return err
				}
				x.SetString(s)
			case f.mayHide() && x.Kind() == reflect.Slice && x.Type().Elem().Kind() == reflect.String:
				list := reflect.MakeSlice(x.Type(), x.Len(), x.Len())
				for i := range list.Len() {
					s, err := replace(f, x.Index(i).String())
					if err != nil {
						return err
					}
					list.Index(i).SetString(s)
				}
				x.Set(list)
			case f.mayHide() && x.Kind() == reflect.Map && !x.IsNil():
				m := reflect.MakeMap(x.Type())
				for it := x.MapRange(); it.Next(); {
					s, err := replace(f, it.Value().String())
					if err != nil {
						return err
					}
					m.SetMapIndex(it.Key(), reflect.ValueOf(s))
				}
				x.Set(m)
			default:
				if isText(x.Type()) {
					continue
				}
				if err := eachSecret(x, replace); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// redactor replaces secrets in texts for display. It ignores secrets of less than four bytes,
// because that would garble every text.
type redactor struct{ secrets []string }

func newRedactor(secrets []string) redactor {
	s := slices.DeleteFunc(slices.Clone(secrets), func(x string) bool { return len(x) < 4 })
	slices.SortFunc(s, func(a, b string) int { return len(b) - len(a) }) // one may be part of another
	return redactor{slices.Compact(s)}
}

func (r redactor) text(s string) string {
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, "•••")
	}
	return s
}

// hidingHandler is a slog.Handler that redacts secrets in messages, and in attributes that are text
// or errors.
type hidingHandler struct {
	slog.Handler
	redact func(string) string
}

// Handle implements slog.Handler.
func (h *hidingHandler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, h.redact(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool { out.AddAttrs(h.hide(a)); return true })
	return h.Handler.Handle(ctx, out)
}

func (h *hidingHandler) hide(a slog.Attr) slog.Attr {
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(h.redact(v.String()))
	case slog.KindAny:
		a.Value = slog.StringValue(h.redact(fmt.Sprint(v.Any())))
	case slog.KindGroup:
		var inner []slog.Attr
		for _, g := range v.Group() {
			inner = append(inner, h.hide(g))
		}
		a.Value = slog.GroupValue(inner...)
	}
	return a
}

// WithAttrs implements slog.Handler.
func (h *hidingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	hidden := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		hidden[i] = h.hide(a)
	}
	return &hidingHandler{h.Handler.WithAttrs(hidden), h.redact}
}

// WithGroup implements slog.Handler.
func (h *hidingHandler) WithGroup(name string) slog.Handler {
	return &hidingHandler{h.Handler.WithGroup(name), h.redact}
}
