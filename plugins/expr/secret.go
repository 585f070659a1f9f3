package expr

// secret.go: secrets in texts. An expression cannot read a secret; a text names it as ${secret.name}, and
// evaluates to parts that are put together where the text is sent.

import (
	"regexp"
	"strings"
)

// Sealed is a text with secrets that are not filled in: texts and names of secrets in turn. It begins and
// ends with a text, which may be empty.
type Sealed []string

var (
	secretHole = regexp.MustCompile(`^\s*secret\.([A-Za-z0-9][A-Za-z0-9._-]{0,99})\s*$`)
	secretIn   = regexp.MustCompile(`\$?\$\{\s*secret\.([A-Za-z0-9][A-Za-z0-9._-]{0,99})\s*\}`)
)

// Seal splits a text that is not a template: only ${secret.name} is special in it, and $${secret.name} is
// ${secret.name} itself. Without a secret the result is one text.
func Seal(text string) Sealed {
	s, from := Sealed{""}, 0
	for _, m := range secretIn.FindAllStringSubmatchIndex(text, -1) {
		s[len(s)-1] += text[from:m[0]]
		if from = m[1]; strings.HasPrefix(text[m[0]:], "$$") {
			s[len(s)-1] += text[m[0]+1 : m[1]]
		} else {
			s = append(s, text[m[2]:m[3]], "")
		}
	}
	s[len(s)-1] += text[from:]
	return s
}

// HoleBeside returns where a text has a ${ that is not a secret's, or -1.
func HoleBeside(text string) int {
	if !strings.Contains(text, "${") {
		return -1
	}
	blank := secretIn.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat("_", len(s)) })
	return strings.Index(blank, "${")
}

// String shows the text with ${secret.name} for each secret.
func (s Sealed) String() string {
	var b strings.Builder
	for i, part := range s {
		if i%2 == 1 {
			part = "${secret." + part + "}"
		}
		b.WriteString(part)
	}
	return b.String()
}

// Names are the names of the secrets.
func (s Sealed) Names() (names []string) {
	for i := 1; i < len(s); i += 2 {
		names = append(names, s[i])
	}
	return names
}

// Open fills in the secrets. before is the text to the left of one.
func (s Sealed) Open(secret func(before, name string) (string, error)) (string, error) {
	var b strings.Builder
	for i, part := range s {
		if i%2 == 1 {
			var err error
			if part, err = secret(b.String(), part); err != nil {
				return "", err
			}
		}
		b.WriteString(part)
	}
	return b.String(), nil
}

// seal evaluates a template with secrets.
func (t *Template) seal(r *run) Sealed {
	s := Sealed{""}
	rest := Template{}
	flush := func() {
		s[len(s)-1] = rest.text(r)
		rest.parts = nil
	}
	for _, p := range t.parts {
		if p.secret == "" {
			rest.parts = append(rest.parts, p)
			continue
		}
		flush()
		s = append(s, p.secret, "")
	}
	flush()
	size := 0
	for _, part := range s {
		size += len(part)
	}
	r.size(size)
	return s
}
