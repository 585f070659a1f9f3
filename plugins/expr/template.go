package expr

// template.go: text with ${…} in it.

import (
	"slices"
	"strings"
)

// Template is a text in which ${…} stands for the value of an expression, and $${ for ${.
type Template struct {
	parts  []part
	whole  bool // only one hole, without text around it
	sealed bool // there is a secret in it
}

type part struct {
	text   string
	hole   *Program
	secret string                            // its name
	escape func(before, value string) string // of the hole; see Escape
	before string                            // the literal text to the left of the hole, for escape
}

// Part is a piece of a template: Text between holes, or the Source of a hole. A secret is a hole.
type Part struct {
	Text   string
	Hole   bool
	Source string
}

// ParseTemplate checks and compiles a template. The error is an *Error whose offset refers to text.
func ParseTemplate(text string, s Scope) (*Template, error) {
	if len(text) > MaxTemplate && strings.Contains(text, "${") {
		return nil, &Error{Length: len(text), Message: "the text is longer than 64KiB"}
	}
	t := &Template{}
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			t.parts = append(t.parts, part{text: literal.String()})
			literal.Reset()
		}
	}
	holes := 0
	for i := 0; i < len(text); {
		next := strings.IndexByte(text[i:], '$')
		if next < 0 {
			literal.WriteString(text[i:])
			break
		}
		literal.WriteString(text[i : i+next])
		i += next
		switch {
		case strings.HasPrefix(text[i:], "$${"):
			literal.WriteString("${")
			i += 3
			continue
		case !strings.HasPrefix(text[i:], "${"):
			literal.WriteByte('$')
			i++
			continue
		}
		flush()
		source, err := hole(text, i)
		if err != nil {
			return nil, err
		}
		if holes++; holes > maxHoles {
			return nil, &Error{Offset: i, Length: len(source) + 3, Message: "more than 256 holes in one text"}
		}
		if m := secretHole.FindStringSubmatch(source); m != nil && s.Secrets {
			t.parts, t.sealed = append(t.parts, part{secret: m[1]}), true
			i += len(source) + 3
			continue
		}
		p, err := compile(source, i+2, s)
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, part{hole: p})
		i += len(source) + 3
	}
	flush()
	t.whole = len(t.parts) == 1 && t.parts[0].hole != nil
	return t, nil
}

// hole returns the source of the expression of the hole at text[at:]. It ignores brackets in texts
// and comments.
func hole(text string, at int) (string, error) {
	from, depth := at+2, 0
	for i := from; i < len(text); i++ {
		switch c := text[i]; c {
		case '{':
			depth++
		case '}':
			if depth == 0 {
				source := text[from:i]
				if strings.TrimSpace(source) == "" {
					return "", &Error{Offset: at, Length: i + 1 - at, Message: "nothing between ${ and }", Hint: "write $${ for a literal ${"}
				}
				return source, nil
			}
			depth--
		case '"', '\'', '`':
			begin := i
			for i++; i < len(text) && text[i] != c; i++ {
				if text[i] == '\\' && c != '`' {
					i++
				}
			}
			if i >= len(text) {
				return "", &Error{Offset: begin, Length: len(text) - begin, Message: "the text is not closed", Hint: "add " + string(c)}
			}
		case '/':
			end, skip := "", 0
			if strings.HasPrefix(text[i:], "/*") {
				end, skip = "*/", 1
			} else if strings.HasPrefix(text[i:], "//") {
				end = "\n"
			}
			if end != "" {
				n := strings.Index(text[i+2:], end)
				if n < 0 {
					return "", &Error{Offset: i, Length: len(text) - i,
						Message: "the comment hides the rest, with the }", Hint: "write /* … */"}
				}
				i += 2 + n + skip
			}
		}
	}
	return "", &Error{Offset: at, Length: 2, Message: "${ is not closed", Hint: "add }, or write $${ for a literal ${"}
}

// Constant reports whether the template has no holes.
func (t *Template) Constant() bool {
	return len(t.parts) == 0 || len(t.parts) == 1 && t.parts[0].hole == nil && !t.sealed
}

// Parts returns the literal texts and the holes, in order.
func (t *Template) Parts() []Part {
	parts := make([]Part, len(t.parts))
	for i, p := range t.parts {
		switch {
		case p.hole != nil:
			parts[i] = Part{Hole: true, Source: p.hole.src}
		case p.secret != "":
			parts[i] = Part{Hole: true, Source: "secret." + p.secret}
		default:
			parts[i].Text = p.text
		}
	}
	return parts
}

// Uses returns what the holes read.
func (t *Template) Uses() Uses {
	var u Uses
	for _, p := range t.parts {
		if p.hole != nil {
			u.Merge(p.hole.uses)
		}
		if p.secret != "" {
			u.Merge(Uses{Secrets: []string{p.secret}})
		}
	}
	return u
}

// Escape returns a template whose holes are filled in as escape converts the text of their value. before is
// what is to the left of the hole: literal text, with _ for a hole in it. Secrets are not converted.
func (t *Template) Escape(escape func(before, value string) string) *Template {
	e := &Template{parts: slices.Clone(t.parts), sealed: t.sealed}
	before := ""
	for i := range e.parts {
		p := &e.parts[i]
		if p.hole == nil && p.secret == "" {
			before += p.text
			continue
		}
		p.escape, p.before = escape, before
		before += "_"
	}
	return e
}

// Eval returns the value of the only hole with its type, or otherwise the text. The value of a template with
// secrets is Sealed.
func (t *Template) Eval(v *Vars) (result any, err error) {
	if t.Constant() {
		return t.literal(), nil
	}
	r := begin(v)
	defer r.guard(&err)
	x := t.eval(r)
	r.checkResult(x)
	return x, nil
}

// Text returns the text, whatever the type of the holes.
func (t *Template) Text(v *Vars) (s string, err error) {
	if t.Constant() {
		return t.literal(), nil
	}
	r := begin(v)
	defer r.guard(&err)
	return t.text(r), nil
}

func (t *Template) literal() string {
	if len(t.parts) == 0 {
		return ""
	}
	return t.parts[0].text
}

func (t *Template) eval(r *run) any {
	switch {
	case t.whole:
		return r.eval(t.parts[0].hole)
	case t.sealed:
		return t.seal(r)
	}
	return t.text(r)
}

// text evaluates all holes before it writes, because functions use the run's buffer too.
func (t *Template) text(r *run) string {
	if t.Constant() {
		return t.literal()
	}
	base := len(r.args)
	for _, p := range t.parts {
		if p.hole != nil {
			v := r.eval(p.hole)
			if p.escape != nil {
				r.prog = p.hole
				v = p.escape(p.before, r.format(p.hole.tree, v))
			}
			r.args = append(r.args, v)
		}
	}
	w := writer{r: r, b: r.buf[:0]}
	values := r.args[base:]
	for _, p := range t.parts {
		if p.hole == nil {
			w.raw(p.text)
			continue
		}
		r.prog = p.hole
		if why := Missing(values[0]); why != "" {
			r.fail(p.hole.tree, `write ${… ?? "none"} for a text in its place`, "%s %s", r.label(p.hole.tree), why)
		}
		w.text(values[0])
		values = values[1:]
	}
	clear(r.args[base:])
	r.args, r.buf = r.args[:base], w.b
	r.size(len(w.b))
	return string(w.b)
}
