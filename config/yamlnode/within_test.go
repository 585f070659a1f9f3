package yamlnode

import (
	"fmt"
	"strings"
	"testing"
)

// TestFailWithin puts the error at the X of each text and compares the reported position.
func TestFailWithin(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"plain", "k: a == X", "1:9"},
		{"plain, other letters", "k: grün == X", "1:12"},
		{"single quoted", "k: 'it''s X'", "1:11"},
		{"double quoted", `k: "a \"b\" X"`, "1:13"},
		{"double quoted with an escape", `k: "\u00e4\tX"`, "1:13"},
		{"in a list", "k:\n  - {w: \"a X\"}", "2:12"},
		{"literal", "k: |\n  one\n  two X\n", "3:7"},
		{"literal, first line", "k: |\n    X\n", "2:5"},
		{"folded over lines", "k: a\n  b X", "1:4"},
		{"folded block", "k: >\n  a\n  X", "1:4"},
	} {
		d, err := Parse("f", []byte(c.text))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		n := d.Root()
		for !n.IsScalar() {
			if n.IsList() {
				l, _ := n.List()
				n = l[0]
				continue
			}
			m, _ := n.Map()
			_, n = m.Entry(0)
		}
		s, _ := n.Text()
		n.FailWithin(strings.IndexByte(s, 'X'), "", "here")
		e := d.Errors()[0]
		if got := fmt.Sprintf("%d:%d", e.Line, e.Col); got != c.want {
			t.Errorf("%s: at %s, want %s", c.name, got, c.want)
		}
	}
}
