package webhook

// This file tests options that are refused.

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"good", func(o *Options) {}, ""},
		{"deep", func(o *Options) { o.Path = "/hooks/a/b.c~1" }, ""},
		{"elsewhere", func(o *Options) { o.Path = "/api/x" }, `path: "/api/x" does not begin with /hooks/ and a name`},
		{"no name", func(o *Options) { o.Path = "/hooks/" }, `path: "/hooks/" does not begin with /hooks/ and a name`},
		{"dots", func(o *Options) { o.Path = "/hooks/../x" }, `path: "/hooks/../x" ends with a slash, or contains //, . or ..`},
		{"slash", func(o *Options) { o.Path = "/hooks/x/" }, `path: "/hooks/x/" ends with a slash, or contains //, . or ..`},
		{"wildcard", func(o *Options) { o.Path = "/hooks/{x}" }, `path: "/hooks/{x}" is too long, or contains characters other than letters, digits, - . _ ~ and /`},
		{"query", func(o *Options) { o.Path = "/hooks/x?y" }, `path: "/hooks/x?y" is too long, or contains characters other than letters, digits, - . _ ~ and /`},
		{"no method", func(o *Options) { o.Methods = nil }, "methods: the list of methods is empty"},
		{"method", func(o *Options) { o.Methods = []string{"post"} }, `methods: "post" is not a method of a web hook`},
		{"method twice", func(o *Options) { o.Methods = []string{"PUT", "PUT"} }, "methods: PUT is given twice"},
		{"both", func(o *Options) { o.HMAC, o.Token = &HMAC{Header: "X"}, &Token{} }, "token: hmac_sha256 and token exclude each other"},
		{"header", func(o *Options) { o.HMAC = &HMAC{Header: "X: y"} }, `hmac_sha256.header: "X: y" is not a header's name`},
		{"no body", func(o *Options) { o.Respond = &Respond{Status: 204, Body: "x"} }, "respond.body: a response with status 204 has no body"},
		{"listen", func(o *Options) { o.Listen = "9000" }, `listen: "9000" is not host:port`},
	} {
		o := options()
		c.change(&o)
		var got []string
		for _, err := range o.Check() {
			got = append(got, err.(interface{ Key() string }).Key()+": "+err.Error())
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s: got %q, want %q", c.name, s, c.want)
		}
	}
}
