package expr

// source.go: the position of a node in the source, and how messages quote it.

import (
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser/lexer"
)

// position converts the library's location, in runes, to one in bytes.
func position(src string, l file.Location) (offset, length int) {
	from, to, runes := len(src), len(src), 0
	for i := range src {
		if runes == l.From {
			from = i
		}
		if runes == l.To {
			to = i
			break
		}
		runes++
	}
	return from, max(to-from, 0)
}

// place returns where an error at n points: the sign of an operator, the name of a member or a
// call.
func errorSpan(src string, n ast.Node) (offset, length int) {
	offset, length = position(src, n.Location())
	if p, ok := n.(*ast.PointerNode); ok && strings.HasPrefix(src[offset:], "#") {
		length = 1 + len(p.Name)
	}
	if _, ok := n.(*ast.ConditionalNode); ok {
		return 0, len(src)
	}
	return offset, length
}

// label quotes n as the author wrote it, on one line of at most 60 bytes.
func (r *run) label(n ast.Node) string {
	if r.prog == nil || n == nil {
		return "it"
	}
	return cut(strings.Join(strings.Fields(quote(r.prog.src, n)), " "), 60)
}

// extent is the first and the last rune at which a node's descendants are located.
type extent struct{ from, to int }

func (e *extent) Visit(n *ast.Node) {
	if _, ok := (*n).(*ast.ConditionalNode); ok {
		return // its location is that of what follows it
	}
	if l := (*n).Location(); l.To > l.From {
		e.from, e.to = min(e.from, l.From), max(e.to, l.To)
	}
}

// quote returns the source text of n. The library locates an operator at its sign and a call at its
// name. So the text extends from the first to the last token of all nodes below n, and as far as is
// needed to close the brackets in it.
func quote(src string, n ast.Node) string {
	e := extent{from: utf8.RuneCountInString(src)}
	ast.Walk(&n, &e)
	tokens, err := lexer.Lex(file.NewSource(src))
	if err != nil || e.to <= e.from {
		return src
	}
	first, last := -1, -1
	for i, t := range tokens {
		if t.From >= e.from && first < 0 {
			first = i
		}
		if t.From < e.to && t.Kind != lexer.EOF {
			last = i
		}
	}
	if first < 0 || last < first {
		return src
	}
	next := func(kind lexer.Kind, values ...string) bool { return tokens[last+1].Is(kind, values...) }
	switch m := n.(type) {
	case *ast.CallNode, *ast.BuiltinNode:
		if next(lexer.Bracket, "(") {
			last++
		}
	case *ast.PointerNode:
		if m.Name != "" && next(lexer.Identifier) {
			last++
		}
	}
	if first > 0 && tokens[first-1].Is(lexer.Operator, "let", "if") {
		first--
	}
	open := 0 // opened brackets that are not closed
	for i := first; i <= last || open > 0 && i < len(tokens)-1; i++ {
		last = max(last, i)
		switch {
		case tokens[i].Is(lexer.Bracket, "(", "[", "{"):
			open++
		case tokens[i].Is(lexer.Bracket):
			open--
			for depth := 1; open < 0 && first > 0; { // closes one opened before first
				first--
				if tokens[first].Is(lexer.Bracket, "(", "[", "{") {
					depth--
				} else if tokens[first].Is(lexer.Bracket) {
					depth++
				}
				if depth == 0 {
					open++
				}
			}
		}
	}
	from, _ := position(src, tokens[first].Location)
	to, length := position(src, tokens[last].Location)
	return src[from : to+length]
}

// cut shortens s to at most n bytes, at a rune's boundary.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
