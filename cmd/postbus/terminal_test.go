package main

import "testing"

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\nGrüße 😀": "plain\ttext\nGrüße 😀", "": "",
		"\x1b]0;title\a": `\x1b]0;title\x07`, "a\x1b[2J\r\x7f": `a\x1b[2J\x0d\x7f`,
		"\u009b31m": `\xc2\x9b31m`, "\xff\x9b2J": `\xff\x9b2J`, "\x00": `\x00`,
	} {
		if got := string(printable([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
