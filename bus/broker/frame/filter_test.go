package frame

import (
	"bytes"
	"testing"
)

func TestFilterUser(t *testing.T) {
	user := func(k, v string) []byte { return cat(0x26, str(k), str(v)) }
	a, b, c := user("a", "1"), user("postbus-x", "2"), user("a", "")
	content := cat(0x03, str("text"))
	correlation := cat(0x09, str("postbus-x"))
	for name, cs := range map[string]struct{ in, want []byte }{
		"nothing":                {nil, nil},
		"none to remove":         {cat(a, content, c), cat(a, content, c)},
		"one in the middle":      {cat(content, b, a), cat(content, a)},
		"the first and the last": {cat(b, correlation, b), correlation},
		"all":                    {cat(b, b), nil},
		"the end is cut off":     {cat(a, b[:len(b)-1]), a},
		"an unfinished number":   {cat(a, 0x02), a},
	} {
		got := FilterUser(bytes.Clone(cs.in), func(key, _ []byte) bool { return string(key) != "postbus-x" })
		if !bytes.Equal(got, cs.want) {
			t.Errorf("%s: %x, want %x", name, got, cs.want)
		}
	}
}
