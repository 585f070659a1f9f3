// This file is the parameters, the only way from an event to a command line.

package exec

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postbus/postbus/plugins/kind"
)

// param is the declaration of one parameter.
type param struct {
	kind     string // text, int or oneof
	max      int    // of a text: its largest number of characters
	dash     bool   // a text may begin with "-"
	pattern  *regexp.Regexp
	low, top int64    // of an int
	oneof    []string // the values that are allowed
}

const (
	defaultLength = 256
	maxLength     = 32768 // characters: the kernel accepts 128 KiB in one argument
)

var paramName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// readParams parses the key params.
func readParams(v any) (map[string]param, []error) {
	if v == nil {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, []error{kind.Wrong("params", "this is not a mapping of names", "params: {title: {type: text, max: 100}}")}
	}
	params := map[string]param{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(m)) {
		key := "params." + name
		if !paramName.MatchString(name) {
			errs = append(errs, kind.Wrong(key, fmt.Sprintf("%q is not a parameter's name", name), "lower-case letters, digits and _"))
			continue
		}
		fields, ok := m[name].(map[string]any)
		if !ok {
			errs = append(errs, kind.Wrong(key, "the parameter's type is missing", "{type: text}, {type: int} or {oneof: [a, b]}"))
			continue
		}
		p, bad := readParam(key, fields)
		params[name] = p
		errs = append(errs, bad...)
	}
	return params, errs
}

func readParam(key string, fields map[string]any) (p param, errs []error) {
	bad := func(name, reason, hint string) { errs = append(errs, kind.Wrong(key+name, reason, hint)) }
	kind, isText := fields["type"].(string)
	_, list := fields["oneof"]
	allowed := map[string][]string{"text": {"type", "max", "pattern", "dash"}, "int": {"type", "min", "max"}, "oneof": {"oneof"}}
	switch {
	case list && fields["type"] == nil:
		kind = "oneof"
	case list:
		bad(".type", "oneof excludes type", "leave type out")
		return p, errs
	case fields["type"] == nil:
		bad("", "its type is missing", "{type: text}, {type: int} or {oneof: [a, b]}")
		return p, errs
	case !isText || kind != "text" && kind != "int":
		bad(".type", fmt.Sprintf("%v is not a type", fields["type"]), "text or int; or oneof: [a, b] instead")
		return p, errs
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(allowed[kind], name) {
			bad("."+name, fmt.Sprintf("unknown key %q", name), "allowed are "+strings.Join(allowed[kind], ", "))
		}
	}
	number := func(name string, none, low, top int64) int64 {
		v, given := fields[name]
		if !given {
			return none
		}
		n, ok := whole(v)
		if !ok || n < low || n > top {
			bad("."+name, fmt.Sprintf("%v is not a whole number from %d to %d", v, low, top), "")
			return none
		}
		return n
	}
	p.kind = kind
	switch kind {
	case "int":
		p.low, p.top = number("min", 0, math.MinInt64, math.MaxInt64), number("max", math.MaxInt32, math.MinInt64, math.MaxInt64)
		if p.low > p.top {
			bad(".min", fmt.Sprintf("min, %d, is more than max, %d", p.low, p.top), "")
		}
	case "oneof":
		items, ok := fields["oneof"].([]any)
		for _, i := range items {
			s, fine := scalar(i)
			ok = ok && fine && !strings.ContainsRune(s, 0)
			p.oneof = append(p.oneof, s)
		}
		if !ok || len(items) == 0 {
			bad(".oneof", "it must be a list of texts or numbers", "[on, off]")
		}
	case "text":
		p.max = int(number("max", defaultLength, 1, maxLength))
		if v, given := fields["dash"]; given {
			if p.dash, given = v.(bool); !given {
				bad(".dash", fmt.Sprintf("%v is not true or false", v), "")
			}
		}
		if v, given := fields["pattern"]; given {
			s, ok := v.(string)
			if _, err := regexp.Compile(s); err != nil || !ok { // checked without the group around it: "a)|(b" would close that group
				bad(".pattern", fmt.Sprintf("%v is not a regular expression (RE2)", v), "it is matched against the whole text")
				break
			}
			p.pattern = regexp.MustCompile(`\A(?:` + s + `)\z`)
		}
	}
	return p, errs
}

// placeholder returns the name in an item "{name}".
func placeholder(item string) (string, bool) {
	if len(item) < 3 || item[0] != '{' || item[len(item)-1] != '}' {
		return "", false
	}
	name := item[1 : len(item)-1]
	return name, paramName.MatchString(name)
}

var inside = regexp.MustCompile(`\{[a-z][a-z0-9_]*\}`)

// interpreters run the argument after one of these flags as a program. A parameter there would let
// an event inject code.
var interpreters = map[string][]string{
	"sh": {"-c"}, "bash": {"-c"}, "dash": {"-c"}, "ash": {"-c"}, "zsh": {"-c"}, "ksh": {"-c"}, "fish": {"-c"}, "busybox": {"-c"}, "su": {"-c"},
	"python": {"-c"}, "python3": {"-c"}, "perl": {"-e", "-E"}, "ruby": {"-e"}, "node": {"-e", "-p"}, "php": {"-r"}, "lua": {"-e"},
	"cmd": {"/c", "/k"}, "powershell": {"-command", "-c"}, "pwsh": {"-command", "-c"},
}

// checkUse checks the placeholders of a command against the parameters. known reports whether the
// parameters could be read.
func checkUse(command []string, params map[string]param, known bool) (errs []error) {
	bad := func(key, reason, hint string) { errs = append(errs, kind.Wrong(key, reason, hint)) }
	used := map[string]bool{}
	for i, item := range command {
		name, whole := placeholder(item)
		_, declared := params[name]
		switch {
		case !whole:
			for _, m := range inside.FindAllString(item, -1) {
				if _, ok := params[m[1:len(m)-1]]; ok {
					bad("command", fmt.Sprintf("%s is part of %q: a parameter must be a whole item", m, item), "write the option and its value as two items")
				}
			}
		case i == 0:
			bad("command", "a parameter can't be the program", "")
		case !declared && known:
			bad("command", fmt.Sprintf("there is no parameter for {%s}", name), "declare it: params: {"+name+": {type: text}}")
		case batch(command[0]):
			bad("command", command[0]+" is a batch file: Windows reads its arguments as a shell does", "call a program")
		case remote(command[:i]) && params[name].kind == "text" && params[name].pattern == nil:
			bad("command", fmt.Sprintf("ssh gives {%s} to a shell on the other side", name), "declare a pattern for it that lets through letters and digits only")
		case isCode(command[:i]):
			bad("command", fmt.Sprintf("{%s} would be a program for %s to run", name, command[0]), "pass it as an argument of a script of your own")
		}
		used[name] = used[name] || whole
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if !used[name] {
			bad("params."+name, "no item of the command is {"+name+"}", "")
		}
	}
	return errs
}

// isCode reports whether an interpreter would run the argument after these items as code.
func isCode(before []string) bool {
	last := strings.ToLower(before[len(before)-1])
	for _, item := range before { // also after env, sudo, timeout ...
		name := strings.TrimSuffix(strings.ToLower(filepath.Base(item)), ".exe")
		for _, flag := range interpreters[name] {
			if last == flag || strings.HasPrefix(flag, "-") && len(flag) == 2 && len(last) > 2 && last[0] == '-' && last[1] != '-' && strings.HasSuffix(last, flag[1:]) { // -ec
				return true
			}
		}
	}
	return false
}

func batch(program string) bool {
	ext := strings.ToLower(filepath.Ext(program))
	return ext == ".bat" || ext == ".cmd"
}

func remote(before []string) bool {
	return slices.ContainsFunc(before, func(item string) bool { return filepath.Base(item) == "ssh" })
}

// fill makes the arguments of one run. An error says which parameter is wrong, and quotes only a
// few characters of its value.
func fill(command []string, params map[string]param, with any) ([]string, error) {
	values, ok := with.(map[string]any)
	if !ok && with != nil {
		return nil, fmt.Errorf("with is not a mapping of parameters")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, ok := params[name]; !ok {
			return nil, fmt.Errorf("with.%s: there is no such parameter", name)
		}
	}
	args := make([]string, len(command))
	for i, item := range command {
		name, whole := placeholder(item)
		if !whole || i == 0 {
			args[i] = item
			continue
		}
		p, ok := params[name]
		if !ok {
			return nil, fmt.Errorf("with.%s: there is no such parameter", name)
		}
		v, ok := values[name]
		if !ok || v == nil {
			return nil, fmt.Errorf("with.%s is missing", name)
		}
		arg, err := p.argument(v)
		if err != nil {
			return nil, fmt.Errorf("with.%s: %w", name, err)
		}
		args[i] = arg
	}
	return args, nil
}

// argument returns the value as an argument, if the declaration allows it.
func (p param) argument(v any) (string, error) {
	if p.kind == "int" {
		n, ok := whole(v)
		if !ok {
			return "", fmt.Errorf("%s is not a whole number", shown(v))
		}
		if n < p.low || n > p.top {
			return "", fmt.Errorf("%d is not from %d to %d", n, p.low, p.top)
		}
		return strconv.FormatInt(n, 10), nil
	}
	s, ok := scalar(v)
	switch {
	case !ok:
		return "", fmt.Errorf("%s is not a text", shown(v))
	case p.kind == "oneof" && !slices.Contains(p.oneof, s):
		return "", fmt.Errorf("%s is not one of %s", shown(s), strings.Join(p.oneof, ", "))
	case p.kind == "oneof":
		return s, nil
	case !utf8.ValidString(s):
		return "", fmt.Errorf("%s is not UTF-8", shown(s))
	case utf8.RuneCountInString(s) > p.max:
		return "", fmt.Errorf("it has %d characters, more than %d", utf8.RuneCountInString(s), p.max)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", fmt.Errorf("%s contains a control character", shown(s))
	case strings.HasPrefix(s, "-") && !p.dash:
		return "", fmt.Errorf("%s begins with -, as an option does; dash: true allows that", shown(s))
	case p.pattern != nil && !p.pattern.MatchString(s):
		return "", fmt.Errorf("%s doesn't match the pattern", shown(s))
	}
	return s, nil
}

// shown returns the beginning of a value, quoted.
func shown(v any) string {
	s := fmt.Sprint(v)
	if r := []rune(s); len(r) > 40 {
		s = string(r[:40]) + "…"
	}
	return strconv.Quote(s)
}

// scalar returns a text, number or truth value as text.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number: // an integer beyond int64
		return string(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), !math.IsNaN(v) && !math.IsInf(v, 0)
	}
	if n, ok := whole(v); ok {
		return strconv.FormatInt(n, 10), true
	}
	return "", false
}

// whole returns an integer. It accepts a text of digits too, since a template may have made text of
// a number.
func whole(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	case int32:
		return int64(v), true
	case uint64:
		return int64(v), v <= math.MaxInt64
	case float64:
		return int64(v), v == math.Trunc(v) && math.Abs(v) < 1<<53
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil && strconv.FormatInt(n, 10) == v
	}
	return 0, false
}
