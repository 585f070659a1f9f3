package webhook

// This file tests the event of a request, and refused requests.

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestEvent(t *testing.T) {
	b, server := newBus(t)
	o := options()
	o.Methods = []string{"POST", "PUT"}
	start(t, b, o)
	url := server.URL + "/hooks/x"
	if _, public := b.Mounted("/hooks/x"); public {
		t.Error("a path without a signature or token is public")
	}
	got := ask(t, "POST", url+"?a=1&a=2&b", `{"ref": "main"}`, "Content-Type", "application/json; charset=utf-8",
		"X-GitHub-Event", "push", "Authorization", "Basic eDp5", "Cookie", "session=1")
	if got.status != 204 || got.body != "" {
		t.Errorf("answer: %+v", got)
	}
	e := b.Next(t)
	headers := e["headers"].(map[string]any)
	if headers["x-github-event"] != "push" || headers["content-type"] != "application/json; charset=utf-8" {
		t.Errorf("headers: %v", headers)
	}
	if headers["authorization"] != nil || headers["cookie"] != nil {
		t.Errorf("headers have what must not be seen: %v", headers)
	}
	if !strings.HasPrefix(e["remote"].(string), "127.0.0.1:") {
		t.Errorf("remote: %v", e["remote"])
	}
	delete(e, "headers")
	delete(e, "remote")
	want := map[string]any{"method": "POST", "path": "/hooks/x", "query": map[string]any{"a": "1", "b": ""},
		"text": `{"ref": "main"}`, "json": map[string]any{"ref": "main"}, "form": nil}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got %v, want %v", e, want)
	}

	ask(t, "PUT", url, "a=1&b=x+y&a=2", "Content-Type", "application/x-www-form-urlencoded")
	if e := b.Next(t); !reflect.DeepEqual(e["form"], map[string]any{"a": "1", "b": "x y"}) {
		t.Errorf("form: %v", e)
	}
	ask(t, "POST", url, "\xef\xbb\xbf{\"id\": 2882429806056571124}", "Content-Type", "application/json")
	if e := b.Next(t); !reflect.DeepEqual(e["json"], map[string]any{"id": int64(2882429806056571124)}) || e["text"] != `{"id": 2882429806056571124}` {
		t.Errorf("a byte order mark: %v", e)
	}
	ask(t, "POST", url, "\xff\xfe[\x001\x00]\x00", "Content-Type", "application/json")
	if e := b.Next(t); !reflect.DeepEqual(e["json"], []any{int64(1)}) || e["text"] != "[1]" {
		t.Errorf("UTF-16: %v", e)
	}
	ask(t, "POST", url, "\xef\xbb\xbfa=1", "Content-Type", "application/x-www-form-urlencoded")
	if e := b.Next(t); !reflect.DeepEqual(e["form"], map[string]any{"a": "1"}) {
		t.Errorf("a form with a byte order mark: %v", e)
	}
	ask(t, "POST", url, "a\xffb")
	if e := b.Next(t); e["text"] != "a\uFFFDb" || e["json"] != nil {
		t.Errorf("bytes: %v", e)
	}
	ask(t, "POST", url, "null", "Content-Type", "application/vnd.x+json")
	if e := b.Next(t); e["json"] != nil {
		t.Errorf("null: %v", e)
	}
}

func TestDecode(t *testing.T) {
	b, server := newBus(t)
	o := options()
	o.Decode = "msgpack"
	start(t, b, o)
	url := server.URL + "/hooks/x"
	ask(t, "POST", url, "\x92\x01\xc3", "Content-Type", "application/msgpack")
	if e := b.Next(t); !reflect.DeepEqual(e["json"], []any{int64(1), true}) {
		t.Errorf("%v", e)
	}
	ask(t, "POST", url, "")
	if e := b.Next(t); e["json"] != nil {
		t.Errorf("%v", e)
	}
	ask(t, "POST", url, "a=1", "Content-Type", "application/x-www-form-urlencoded")
	if e := b.Next(t); !reflect.DeepEqual(e["form"], map[string]any{"a": "1"}) {
		t.Errorf("%v", e)
	}
	if got := ask(t, "POST", url, "\x92\x01"); got.status != 400 || !strings.Contains(got.body, "this is not MessagePack") {
		t.Errorf("%+v", got)
	}
	b.None(t)
}

func TestRefused(t *testing.T) {
	b, server := newBus(t)
	o := options()
	o.MaxBody = 10
	start(t, b, o)
	url := server.URL + "/hooks/x"
	for _, c := range []struct {
		name, method, body string
		header             []string
		status             int
	}{
		{"method", "GET", "", nil, 405},
		{"body too large", "POST", "01234567890", nil, 413},
		{"no JSON", "POST", "{", []string{"Content-Type", "application/json"}, 400},
		{"no body at all", "POST", "", []string{"Content-Type", "application/json"}, 400},
		{"JSON and more", "POST", "{} {}", []string{"Content-Type", "application/json"}, 400},
		{"no form", "POST", "a=%zz", []string{"Content-Type", "application/x-www-form-urlencoded"}, 400},
		{"compressed", "POST", "x", []string{"Content-Encoding", "gzip"}, 415},
	} {
		got := ask(t, c.method, url, c.body, c.header...)
		if got.status != c.status {
			t.Errorf("%s: %+v", c.name, got)
		}
		if c.status == 405 && got.header.Get("Allow") != "POST" {
			t.Errorf("%s: %v", c.name, got.header)
		}
	}
	r, _ := http.NewRequest("POST", url, io.MultiReader(strings.NewReader("0123456789"), strings.NewReader("x"))) // chunked
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 413 {
		t.Errorf("chunked body too large: %d", res.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
	b.None(t)
}

func sign(key, body string) []byte {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(body))
	return m.Sum(nil)
}

func TestSignature(t *testing.T) {
	const key, body = "hunter2-key", "It's a secret"
	hexed, based := hex.EncodeToString(sign(key, body)), base64.StdEncoding.EncodeToString(sign(key, body))
	var none, v1 Prefix
	none.UnmarshalText(nil)
	v1.UnmarshalText([]byte("v1="))
	github := HMAC{Header: "X-Sig", Key: key}
	for _, c := range []struct {
		name   string
		h      HMAC
		header []string
		status int
	}{
		{"GitHub", github, []string{"X-Sig", "sha256=" + hexed}, 204},
		{"upper case", github, []string{"X-Sig", "sha256=" + strings.ToUpper(hexed)}, 204},
		{"none", github, nil, 401},
		{"empty", github, []string{"X-Sig", ""}, 401},
		{"only the prefix", github, []string{"X-Sig", "sha256="}, 401},
		{"without the prefix", github, []string{"X-Sig", hexed}, 401},
		{"other key", github, []string{"X-Sig", "sha256=" + hex.EncodeToString(sign("x", body))}, 401},
		{"other body", github, []string{"X-Sig", "sha256=" + hex.EncodeToString(sign(key, "x"))}, 401},
		{"shorter", github, []string{"X-Sig", "sha256=" + hexed[:62]}, 401},
		{"not hex", github, []string{"X-Sig", "sha256=zz" + hexed[2:]}, 401},
		{"other header", github, []string{"X-Other", "sha256=" + hexed}, 401},
		{"no prefix", HMAC{Header: "X-Sig", Key: key, Prefix: none}, []string{"X-Sig", hexed}, 204},
		{"base64", HMAC{Header: "X-Sig", Key: key, Prefix: v1, Encoding: "base64"}, []string{"X-Sig", "v1=" + based}, 204},
		{"hex for base64", HMAC{Header: "X-Sig", Key: key, Prefix: v1, Encoding: "base64"}, []string{"X-Sig", "v1=" + hexed}, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, server := newBus(t)
			o := options()
			o.HMAC = &c.h
			_, stop := start(t, b, o)
			if _, public := b.Mounted("/hooks/x"); !public {
				t.Error("not public")
			}
			got := ask(t, "POST", server.URL+"/hooks/x", body, c.header...)
			if got.status != c.status {
				t.Errorf("%+v", got)
			}
			if c.status != 204 {
				b.None(t)
			} else if e := fmt.Sprint(b.Next(t)); strings.Contains(strings.ToLower(e), hexed) || strings.Contains(e, based) {
				t.Errorf("the signature is in the event: %s", e)
			}
			stop()
			if strings.Contains(b.Logged()+got.body+fmt.Sprint(o, o.HMAC), key) {
				t.Errorf("the key is in the log or the answer: %s", b.Logged())
			}
		})
	}
}

func TestToken(t *testing.T) {
	for _, c := range []struct {
		name, header string
		given        []string
		status       int
	}{
		{"bearer", "", []string{"Authorization", "Bearer s3cret"}, 204},
		{"bearer in lower case", "", []string{"Authorization", "bearer s3cret"}, 204},
		{"plain", "", []string{"Authorization", "s3cret"}, 204},
		{"own header", "X-Token", []string{"X-Token", "s3cret"}, 204},
		{"none", "", nil, 401},
		{"empty", "", []string{"Authorization", ""}, 401},
		{"bearer of nothing", "", []string{"Authorization", "Bearer "}, 401},
		{"wrong", "", []string{"Authorization", "Bearer s3creT"}, 401},
		{"longer", "", []string{"Authorization", "Bearer s3cret1"}, 401},
		{"other header", "X-Token", []string{"Authorization", "Bearer s3cret"}, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, server := newBus(t)
			o := options()
			o.Token = &Token{Header: c.header, Value: "s3cret"}
			_, stop := start(t, b, o)
			if _, public := b.Mounted("/hooks/x"); !public {
				t.Error("not public")
			}
			if got := ask(t, "POST", server.URL+"/hooks/x", "x", c.given...); got.status != c.status {
				t.Errorf("%+v", got)
			}
			if c.status != 204 {
				b.None(t)
			} else if e := fmt.Sprint(b.Next(t)); strings.Contains(e, "s3cret") {
				t.Errorf("the token is in the event: %s", e)
			}
			stop()
			if strings.Contains(b.Logged(), "s3cret") {
				t.Errorf("the token is in the log: %s", b.Logged())
			}
		})
	}
	for _, o := range []Options{{Token: &Token{}}, {HMAC: &HMAC{}}} {
		if err := New(o, kindtest.NewBus()).Open(t.Context()); err == nil {
			t.Errorf("an empty secret opens: %+v", o)
		}
	}
}

func FuzzFields(f *testing.F) {
	f.Add("application/json", "a=1", []byte(`{}`))
	f.Add("application/x-www-form-urlencoded", "%ff", []byte("a=%ff&b"))
	f.Add("x/y; z=\"", "", []byte{0xff})
	s := New(options(), nil)
	f.Fuzz(func(t *testing.T, kind, query string, body []byte) {
		r := httptest.NewRequest("POST", "/hooks/x", nil)
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", kind)
		got, err := s.fields(r, body)
		if (err == nil) != (len(got) == 8) {
			t.Fatal(got, err)
		}
		h := HMAC{Header: "Content-Type", Key: "k"}
		if h.matches(r.Header, body) {
			t.Fatal("a guessed signature matches")
		}
	})
}
