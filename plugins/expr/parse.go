package expr

// parse.go: source text to syntax tree. It bounds the parser's recursion and rewords its errors.

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/parser/lexer"
)

// parse returns the syntax tree of src. The library's parser refuses integers beyond 32 bits on
// 32-bit machines. So these are replaced by names of the same length, which big maps to their
// values.
func parse(src string) (root ast.Node, big map[string]number) {
	if len(src) > MaxSource {
		panic(&Error{Length: len(src), Message: "the expression is longer than 8KiB"})
	}
	if strings.TrimSpace(src) == "" {
		panic(&Error{Length: len(src), Message: "the expression is empty"})
	}
	for i, c := range src {
		if c == unicode.ReplacementChar && !strings.HasPrefix(src[i:], string(unicode.ReplacementChar)) {
			panic(&Error{Offset: i, Length: 1, Message: "not valid UTF-8"})
		}
	}
	tokens, err := lexer.Lex(file.NewSource(src))
	if err != nil {
		panic(translate(src, nil, err))
	}
	checkTokens(src, tokens)
	src, big = replaceIntegers(src, tokens)
	tree, err := parser.Parse(src)
	if err != nil {
		panic(translate(src, tokens, err))
	}
	return tree.Node, big
}

// checkTokens finds errors that the parser would report unclearly or at another position, and
// nesting that would cost it too much stack.
func checkTokens(src string, tokens []lexer.Token) {
	type open struct {
		lexer.Token
		closer string
	}
	var brackets []open
	nesting := 0
	at := func(t lexer.Token, hint, format string, args ...any) {
		offset, length := position(src, t.Location)
		panic(&Error{Offset: offset, Length: length, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	for i, t := range tokens {
		var prev lexer.Token
		if i > 0 {
			prev = tokens[i-1]
		}
		if prev.Kind == lexer.Operator && (prev.Value == "." || prev.Value == "?.") && t.Kind != lexer.Bracket {
			continue // a field may have any name
		}
		switch {
		case t.Kind == lexer.Bracket && strings.Contains("([{", t.Value):
			brackets = append(brackets, open{t, map[string]string{"(": ")", "[": "]", "{": "}"}[t.Value]})
			if len(brackets) > maxBrackets {
				at(t, "", "brackets are nested deeper than %d", maxBrackets)
			}
		case t.Kind == lexer.Bracket:
			if len(brackets) == 0 {
				at(t, "", "%q without an opening bracket", t.Value)
			}
			last := brackets[len(brackets)-1]
			if last.closer != t.Value {
				at(t, fmt.Sprintf("%q is open", last.Value), "%q where %q is expected", t.Value, last.closer)
			}
			brackets = brackets[:len(brackets)-1]
		case t.Kind == lexer.Identifier && strings.HasPrefix(t.Value, "$"):
			hint := ""
			if t.Value == "$" && i+1 < len(tokens) && tokens[i+1].Is(lexer.Bracket, "{") {
				hint = "inside an expression, write no ${…}"
			}
			at(t, hint, "unknown name %q", cut(t.Value, 40))
		case t.Is(lexer.Operator, "="):
			if i < 2 || !tokens[i-2].Is(lexer.Operator, "let") {
				at(t, "use == to compare", `"=" is not an operator`)
			}
		case t.Is(lexer.Operator, "&"):
			at(t, "use && or and", `"&" is not an operator`)
		case t.Is(lexer.Operator, "|"):
			if i+2 >= len(tokens) || tokens[i+1].Kind != lexer.Identifier || !tokens[i+2].Is(lexer.Bracket, "(") {
				at(t, "use || or or; a single | passes a value to a function: list | count()",
					`"|" without a function after it`)
			}
		case t.Is(lexer.Operator, "**", "^", "?", "let", "if", "!", "not"),
			t.Is(lexer.Operator, "-", "+") && (i == 0 || prev.Kind == lexer.Operator || prev.Kind == lexer.Bracket && strings.Contains("([{", prev.Value)):
			if nesting++; nesting > maxDepth {
				at(t, "simplify it", "operators are nested too deeply")
			}
		}
	}
	if len(brackets) > 0 {
		last := brackets[len(brackets)-1]
		at(last.Token, fmt.Sprintf("add %q", last.closer), "%q is not closed", last.Value)
	}
}

func replaceIntegers(src string, tokens []lexer.Token) (string, map[string]number) {
	var found map[string]number
	var b []byte
	for _, t := range tokens {
		digits := strings.ReplaceAll(t.Value, "_", "")
		if t.Kind != lexer.Number || len(digits) < 8 || strings.ContainsAny(digits, ".") {
			continue
		}
		base := 10
		if digits[0] == '0' {
			base = 0
		}
		x, ok := new(big.Int).SetString(digits, base)
		if !ok || len(digits) > maxDigits || x.IsInt64() && x.Int64() <= math.MaxInt32 {
			continue // small, or a float, or an error that the parser reports
		}
		if b == nil {
			b, found = []byte(src), map[string]number{}
		}
		offset, length := position(src, t.Location)
		name := "$" + fmt.Sprintf("%0*d", length-1, len(found))
		copy(b[offset:], name)
		found[name] = exactly(x)
	}
	if b == nil {
		return src, nil
	}
	return string(b), found
}

var tokenNoise = regexp.MustCompile(`(?:Identifier|Number|String|Bytes|Operator|Bracket)\(("(?:[^"\\]|\\.)*"|` + "`[^`]*`" + `)\)`)

// translate rewords an error of the library.
func translate(src string, tokens []lexer.Token, err error) *Error {
	var lib *file.Error
	if !errors.As(err, &lib) {
		return &Error{Length: len(src), Message: "can't be read"}
	}
	e := &Error{}
	e.Offset, e.Length = position(src, lib.Location)
	m := lib.Message
	value := ""
	if q := tokenNoise.FindStringSubmatch(m); q != nil {
		value, _ = strconv.Unquote(q[1])
	}
	begins := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(m, p) })
	}
	switch {
	case m == "unexpected token EOF", begins("unexpected end"):
		e.Offset, e.Length = len(strings.TrimRightFunc(src, unicode.IsSpace)), 0
		e.Message = "ends too early"
		if n := len(tokens) - 2; n >= 0 {
			e.Message = fmt.Sprintf("something is missing after %q", cut(tokens[n].Value, 40))
		}
	case begins("unexpected token"):
		e.Message = fmt.Sprintf("unexpected %q", cut(value, 40))
		e.Hint = hintFor(tokens, lib.Location, value)
	case begins("a map key"):
		e.Message, e.Hint = fmt.Sprintf("unexpected %q in a map", cut(value, 40)),
			"a key is a name, a text, a number, or in parentheses"
	case begins("expected name"):
		e.Message = "a name is missing after the dot"
	case begins("literal not terminated"):
		return unclosedText(src)
	case begins("unclosed comment"):
		e.Message, e.Hint = "the comment is not closed", "add */"
	case begins("invalid char escape", "unable to unescape"):
		e.Message, e.Hint = "unknown escape in a text", `write \\ for a backslash`
	case begins("unrecognized character"):
		c, _ := utf8.DecodeRuneInString(src[e.Offset:])
		e.Message = fmt.Sprintf("unexpected character %q", string(c))
		if strings.ContainsRune("“”‘’„", c) {
			e.Hint = `use plain quotes: "`
		}
	case strings.Contains(m, "literal is too large"), strings.Contains(m, "out of range"):
		e.Message = "the number is too large"
	case begins("invalid hex", "invalid float", "invalid binary", "invalid octal", "invalid integer", "bad number"):
		e.Message = "not a number"
	case begins("Operator"):
		e.Message, e.Hint = "?? is mixed with another operator", "put it in parentheses: (a ?? b)"
	case begins("compilation failed"):
		e.Message, e.Offset, e.Length = "the expression has too many parts", 0, len(src)
	case begins("expected at least"):
		e.Message = "an argument is missing"
	case begins("wrap predicate"):
		e.Message, e.Hint = `";" in a condition`, "put the condition in { and }"
	default:
		e.Message = "can't be read here"
	}
	return e
}

// unclosedText finds where an unclosed text begins.
func unclosedText(src string) *Error {
	for i := 0; i < len(src); i++ {
		quote := src[i]
		switch {
		case strings.HasPrefix(src[i:], "//"):
			n := strings.IndexByte(src[i:], '\n')
			if n < 0 {
				n = len(src) - i
			}
			i += n
		case strings.HasPrefix(src[i:], "/*"):
			n := strings.Index(src[i+2:], "*/")
			if n < 0 {
				n = len(src) - i
			}
			i += n + 3
		case quote == '"' || quote == '\'' || quote == '`':
			begin := i
			for i++; i < len(src) && src[i] != quote && (src[i] != '\n' || quote == '`'); i++ {
				if src[i] == '\\' && quote != '`' {
					i++
				}
			}
			if i >= len(src) || src[i] != quote {
				return &Error{Offset: begin, Length: len(src) - begin, Message: "the text is not closed", Hint: "add " + string(quote)}
			}
		}
	}
	return &Error{Length: len(src), Message: "a text is not closed", Hint: "add the closing quote"}
}

func hintFor(tokens []lexer.Token, at file.Location, value string) string {
	switch strings.ToLower(value) {
	case "and", "or", "not", "in", "matches", "contains":
		if value != strings.ToLower(value) {
			return "write it in lower case: " + strings.ToLower(value)
		}
	case "===":
		return "use =="
	case "!==":
		return "use !="
	case "<>":
		return "use !="
	case "then", "endif", "end":
		return "write condition ? a : b"
	}
	i := slices.IndexFunc(tokens, func(t lexer.Token) bool { return t.From == at.From })
	if i < 1 {
		return ""
	}
	prev, t := tokens[i-1], tokens[i]
	operand := func(t lexer.Token) bool {
		return t.Kind == lexer.Identifier || t.Kind == lexer.Number || t.Kind == lexer.String || t.Is(lexer.Bracket, ")", "]")
	}
	switch {
	case prev.Kind == lexer.Identifier && slices.Contains([]string{"AND", "And", "OR", "Or", "NOT", "Not", "IN"}, prev.Value):
		return "write it in lower case: " + strings.ToLower(prev.Value)
	case t.Is(lexer.Operator, "=") || prev.Is(lexer.Operator, "="):
		return "use == to compare"
	case t.Is(lexer.Operator, ":"):
		return "a map in a condition goes in parentheses: ({a: 1})"
	case prev.Is(lexer.Operator, "<") && t.Is(lexer.Operator, ">"):
		return "use !="
	case operand(prev) && operand(t):
		return "an operator is missing before it"
	case prev.Kind == lexer.Operator && t.Kind == lexer.Operator:
		return fmt.Sprintf("a value is missing after %q", prev.Value)
	}
	return ""
}
