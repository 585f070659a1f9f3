// Package headers checks the headers that a plugin file gives to an HTTP request.
package headers

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/postbus/postbus/plugins/kind"
)

// Check checks the headers of a request, which are the option headers. It never quotes a value.
func Check(headers map[string]string) []error {
	var errs []error
	seen := map[string]bool{}
	for name, value := range headers {
		add := func(format string, args ...any) {
			errs = append(errs, kind.Wrong("headers."+name, fmt.Sprintf(format, args...), ""))
		}
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !isToken(name):
			add("%q is not a header's name", name)
		case seen[canonical]:
			add("the header %s is given twice", canonical)
		case canonical == "Content-Length" || canonical == "Transfer-Encoding" || canonical == "Connection" || canonical == "Trailer":
			add("the header %s is set by the bus", canonical)
		case strings.ContainsAny(value, "\r\n\x00"):
			add("the value has a line break")
		}
		seen[canonical] = true
	}
	return errs
}

// isToken reports whether a name is a token of RFC 9110, section 5.6.2.
func isToken(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
	}) < 0
}

// Is reports whether a header has one of the names, which are in their canonical form.
func Is(name string, names ...string) bool {
	return slices.Contains(names, http.CanonicalHeaderKey(name))
}
