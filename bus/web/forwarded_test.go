package web

import (
	"bufio"
	"net/http"
	"net/netip"
	"net/textproto"
	"strings"
	"testing"
)

// FuzzForwarded: headers of a proxy never make a client a local one. With any of them, however it is
// written, a request from loopback counts as remote; without, only loopback's own addresses are local.
func FuzzForwarded(f *testing.F) {
	for _, h := range forwarded {
		f.Add("127.0.0.1:1", h+": 127.0.0.1\r\n")
		f.Add("[::1]:1", strings.ToUpper(h)+":\r\n")
	}
	f.Add("192.0.2.1:1", "X-Forwarded-For: 127.0.0.1\r\nHost: localhost\r\n")
	f.Add("127.0.0.1:1", "X-Forwarded-For : 192.0.2.1\r\n")
	f.Add("[::ffff:127.0.0.1]:1", "Accept: */*\r\n")
	f.Add("[::ffff:192.0.2.1%lo]:1", "")
	f.Add("127.0.0.1", "")
	f.Add("@", "Forwarded: for=_hidden\r\n")
	s := New(nil, Options{Local: true})
	f.Fuzz(func(t *testing.T, address, headers string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n")))
		if err != nil {
			return
		}
		r.RemoteAddr = address
		if !s.local(r) {
			return
		}
		host := strings.Trim(address[:max(0, strings.LastIndex(address, ":"))], "[]")
		if a, err := netip.ParseAddr(host); err != nil || !a.Unmap().IsLoopback() {
			t.Errorf("%q is local", address)
		}
		for name := range r.Header {
			if strings.ContainsAny(name, " \t") {
				return // net/http's server refuses it
			}
			for _, h := range forwarded {
				if strings.EqualFold(name, h) || textproto.CanonicalMIMEHeaderKey(h) != h {
					t.Errorf("local with %q", name)
				}
			}
		}
	})
}
