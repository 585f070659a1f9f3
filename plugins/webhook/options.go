package webhook

// This file is the options and their checks.

import (
	"fmt"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// Options of the source.
type Options struct {
	Path    string   `key:"path" doc:"the path of the web hook, as /hooks/github" need:"yes"`
	Methods []string `key:"methods" doc:"the accepted methods; others are answered with 405"`
	HMAC    *HMAC    `key:"hmac_sha256" doc:"require a signature of the body; either this or token"`
	Token   *Token   `key:"token" doc:"require a secret; either this or hmac_sha256"`
	MaxBody int64    `key:"max_body" doc:"the maximum size of a body; larger ones are answered with 413" unit:"size" min:"1B" max:"16MiB"`
	Listen  string   `key:"listen" doc:"an address to listen on instead of the bus's HTTP address, as 127.0.0.1:9000; :9000 is all interfaces; without TLS"`
	Respond *Respond `key:"respond" doc:"the response when the event is stored; default: 204 without a body"`

	Decode decode.Encoding `key:"decode" doc:"the encoding of the body, whose value is in event.json; csv: a list of records, each a list of texts; none: it is not decoded; a body that cannot be decoded is answered with 400" oneof:"json|cbor|msgpack|csv|none"`
}

// HMAC describes a signature: a header with the HMAC-SHA256 of the body.
type HMAC struct {
	Header   string `key:"header" doc:"the header with the signature, as X-Hub-Signature-256" need:"yes"`
	Key      string `key:"key" doc:"the shared secret" need:"yes" secret:"yes"`
	Prefix   Prefix `key:"prefix" doc:"the text before the signature in the header; default sha256=; may be empty"`
	Encoding string `key:"encoding" doc:"the encoding of the signature; default hex" oneof:"hex|base64"`
}

// Token describes a secret in a header.
type Token struct {
	Header string `key:"header" doc:"the header with the secret; default Authorization, where Bearer may precede it"`
	Value  string `key:"value" doc:"the secret" need:"yes" secret:"yes"`
}

// Respond describes an answer.
type Respond struct {
	Status int    `key:"status" doc:"the response's status; default 200" min:"200" max:"299"`
	Body   string `key:"body" doc:"the response's body" secret:"within"`
}

// Prefix is a text with the default sha256=. A given text may be empty.
type Prefix struct {
	value string
	given bool
}

// UnmarshalText accepts any text.
func (p *Prefix) UnmarshalText(b []byte) error {
	*p = Prefix{string(b), true}
	return nil
}

// MarshalText returns the text in effect.
func (p Prefix) MarshalText() ([]byte, error) { return []byte(p.text()), nil }

func (p Prefix) text() string {
	if !p.given {
		return "sha256="
	}
	return p.value
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{Methods: []string{http.MethodPost}, MaxBody: 1 << 20, Decode: decode.JSON}
}

// Claims is what only one plugin can hold: the path, or the port.
func (o Options) Claims() []string {
	if o.Listen != "" {
		return []string{"tcp:" + o.Listen}
	}
	return []string{"http:" + o.Path}
}

// Access is what the source uses beside the bus's own HTTP address.
func (o Options) Access() []string {
	if o.Listen != "" {
		return []string{"listen:" + o.Listen}
	}
	return nil
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

// Check checks the options against each other.
func (o Options) Check() []error {
	var errs []error
	add := func(key, hint, format string, args ...any) {
		errs = append(errs, kind.Wrong(key, fmt.Sprintf(format, args...), hint))
	}
	switch name, ok := strings.CutPrefix(o.Path, "/hooks/"); {
	case !ok || name == "":
		add("path", "as /hooks/github", "%q does not begin with /hooks/ and a name", o.Path)
	case path.Clean(o.Path) != o.Path:
		add("path", "write "+path.Clean(o.Path), "%q ends with a slash, or contains //, . or ..", o.Path)
	case len(o.Path) > 200 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/") != "":
		add("path", "", "%q is too long, or contains characters other than letters, digits, - . _ ~ and /", o.Path)
	}
	if len(o.Methods) == 0 {
		add("methods", "remove it for POST", "the list of methods is empty")
	}
	for i, m := range o.Methods {
		switch {
		case !slices.Contains(methods, m):
			add("methods", "allowed are "+strings.Join(methods, ", "), "%q is not a method of a web hook", m)
		case slices.Contains(o.Methods[:i], m):
			add("methods", "", "%s is given twice", m)
		}
	}
	if o.HMAC != nil && o.Token != nil {
		add("token", "remove one of them", "hmac_sha256 and token exclude each other")
	}
	if o.HMAC != nil && !isHeader(o.HMAC.Header) {
		add("hmac_sha256.header", "as X-Hub-Signature-256", "%q is not a header's name", o.HMAC.Header)
	}
	if o.Token != nil && !isHeader(o.Token.header()) {
		add("token.header", "as Authorization", "%q is not a header's name", o.Token.Header)
	}
	if r := o.Respond; r != nil && r.Body != "" && (r.Status == http.StatusNoContent || r.Status == http.StatusResetContent) {
		add("respond.body", "write status: 200", "a response with status %d has no body", r.Status)
	}
	if o.Listen != "" {
		_, port, err := net.SplitHostPort(o.Listen)
		if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n == 0 {
			add("listen", "as 127.0.0.1:9000, or :9000 for all interfaces", "%q is not host:port", o.Listen)
		}
	}
	return errs
}

// isHeader reports whether a name is a token of RFC 9110, section 5.6.2.
func isHeader(name string) bool {
	return name != "" && strings.IndexFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
	}) < 0
}
