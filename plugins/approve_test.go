package plugins

import (
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"plain", []string{"touch", "./a-b", "--x={y}"}, "touch ./a-b --x={y}"},
		{"blanks and quotes", []string{"sh", "-c", `echo "a b" | sh`, ""}, `sh -c "echo \"a b\" | sh" ""`},
		{"one line", []string{"a", "b\nc\x1b[2K"}, `a "b\nc\x1b[2K"`},
		{"what turns text around", []string{"a", "\u202egnp"}, `a "\u202egnp"`},
		{"a long one", []string{"a", strings.Repeat("x", 300)}, "a " + strings.Repeat("x", 198) + "… (102 more characters)"},
	} {
		if got := commandLine(c.args); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
