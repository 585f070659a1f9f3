package expr

// functions_format.go: format, with the verbs of C and Go that a reader of either knows. The format
// is constant and checked when the file is loaded. Width and precision are bounded.

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// maxFormat is the maximum width and precision of a verb.
const maxFormat = 100

const formatHint = `write it as format("%05.1f", x), with the verbs %s %d %f %e %g %x %t %q and %%`

// verb is a verb of a format, or the text between two verbs.
type verb struct {
	text string // without a verb
	spec string // flags, width and precision as they were written, with %
	verb byte
}

// format compiles format(text, …).
func (c *compiler) format(k *call) fn {
	verbs, err := parseFormat(c.constantText(k, 0, "the format is not constant"))
	if err != nil {
		c.fail(k.args[0], formatHint, "%v", err)
	}
	n := 0
	for _, v := range verbs {
		if v.verb != 0 {
			n++
		}
	}
	args := k.args[1:]
	if n != len(args) {
		c.fail(k.node, formatHint, "want %s for the format, got %s", plural(n, "value"), plural(len(args), "value"))
	}
	compiled := c.each(args)
	return func(r *run) any {
		r.step(2)
		var parts []string
		size, i := 0, 0
		for _, v := range verbs {
			s := v.text
			if v.verb != 0 {
				s = r.verb(args[i], v, compiled[i](r))
				i++
			}
			parts = append(parts, s)
			if size += len(s); size > MaxResult {
				r.limit("result is larger than 1MiB", "")
			}
		}
		r.items(len(parts))
		r.size(size)
		return strings.Join(parts, "")
	}
}

// parseFormat splits a format.
func parseFormat(s string) ([]verb, error) {
	var verbs []verb
	for len(s) > 0 {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			return append(verbs, verb{text: s}), nil
		}
		if i > 0 {
			verbs = append(verbs, verb{text: s[:i]})
			s = s[i:]
		}
		if strings.HasPrefix(s, "%%") {
			verbs, s = append(verbs, verb{text: "%"}), s[2:]
			continue
		}
		end := 1
		for end < len(s) && strings.IndexByte("+- 0#", s[end]) >= 0 {
			end++
		}
		flags := s[1:end]
		_, rest, err := formatNumber(s, end, "width")
		if err != nil {
			return nil, err
		}
		if end = rest; end < len(s) && s[end] == '.' {
			if _, end, err = formatNumber(s, end+1, "precision"); err != nil {
				return nil, err
			}
		}
		switch {
		case end == len(s):
			return nil, fmt.Errorf("%q at the end of the format has no verb", cut(s, 40))
		case strings.IndexByte("sdfegxtq", s[end]) < 0:
			return nil, fmt.Errorf("%q is not a verb of format", cut(s[:end]+string([]rune(s[end:])[:1]), 40))
		case len(flags) > 5 || strings.Contains(flags, "#"):
			return nil, fmt.Errorf("%q has other flags than +, -, space and 0", cut(s[:end+1], 40))
		}
		verbs, s = append(verbs, verb{spec: s[:end], verb: s[end]}), s[end+1:]
	}
	return verbs, nil
}

// formatNumber reads the digits of s at i.
func formatNumber(s string, i int, what string) (n, end int, err error) {
	for end = i; end < len(s) && s[end] >= '0' && s[end] <= '9'; end++ {
	}
	if end == i {
		return 0, end, nil
	}
	if n, err = strconv.Atoi(s[i:end]); err != nil || n > maxFormat {
		return 0, 0, fmt.Errorf("the %s %s is more than the maximum of %d", what, cut(s[i:end], 20), maxFormat)
	}
	return n, end, nil
}

// verb returns v, the value of n, as its verb says.
func (r *run) verb(n ast.Node, how verb, v any) string {
	spec := how.spec + string(how.verb)
	r.step(8)
	switch how.verb {
	case 'd':
		return fmt.Sprintf(spec, r.anyInteger(n, v))
	case 'f', 'e', 'g':
		x := r.number(n, v).float()
		if math.IsNaN(x) || math.IsInf(x, 0) {
			r.fail(n, "", "%s is %s, which is not a number", r.label(n), Text(x))
		}
		r.step(32)
		return fmt.Sprintf(spec, x)
	case 't':
		b, ok := v.(bool)
		if !ok {
			if v == nil {
				r.missing(n)
			}
			r.fail(n, "", "%s is %s; want true or false", r.label(n), r.describe(v))
		}
		return fmt.Sprintf(spec, b)
	case 'x':
		if _, ok := asNumber(v); ok {
			return fmt.Sprintf(spec, r.anyInteger(n, v))
		}
		s := r.text(n, v)
		r.size(4 * len(s))
		r.step(len(s) >> 3)
		return fmt.Sprintf(spec, s)
	case 'q':
		s := r.format(n, v)
		r.size(12 * len(s)) // U+FFFD is \ufffd with the + flag
		r.step(len(s) >> 2)
		return fmt.Sprintf(spec, s)
	}
	s := r.format(n, v)
	r.size(len(s) + maxFormat)
	r.step(len(s) >> 4)
	return fmt.Sprintf(spec, s)
}

// anyInteger returns v as an int64 or a *big.Int, or fails.
func (r *run) anyInteger(n ast.Node, v any) any {
	if x, ok := asNumber(v); ok && x.big != nil {
		return x.big
	}
	return r.integer(n, v)
}
