package mail

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// received is a mail as the server got it.
type received struct {
	From, Body, User string
	To               []string
	TLS              bool
}

// server runs Debian's SMTP server until the test ends.
func server(t *testing.T, mode, mechanisms string) (address string, mails <-chan received) {
	t.Helper()
	if exec.Command("/usr/bin/python3", "-c", "import aiosmtpd").Run() != nil {
		t.Skip("needs Debian's python3-aiosmtpd")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: cert}, "key": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/usr/bin/python3", "-W", "ignore", "testdata/server.py", mode, filepath.Join(dir, "cert"), filepath.Join(dir, "key"), mechanisms)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 4<<20)
	if !lines.Scan() {
		t.Fatal("the server does not start")
	}
	address = "127.0.0.1:" + lines.Text()
	list := make(chan received, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines.Scan() {
			var m received
			if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
				t.Error(err)
			}
			list <- m
		}
	}()
	t.Cleanup(func() {
		in.Close()
		<-ended
		_ = cmd.Wait() // it ends with its input
	})
	return address, list
}

func options(address string) Options {
	o := defaults()
	o.Server, o.Insecure = address, true // its certificate is its own
	o.From, o.User, o.Password = "Haus Nº 1 <house@example.com>", "house", "open sesame"
	return o
}

func body(t *testing.T, r io.Reader, encoding string) string {
	t.Helper()
	if encoding != "quoted-printable" {
		t.Errorf("encoding %q", encoding)
	}
	b, err := io.ReadAll(quotedprintable.NewReader(r))
	if err != nil {
		t.Error(err)
	}
	return strings.TrimRight(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n")
}

func TestMail(t *testing.T) {
	for _, mode := range []string{"starttls", "tls"} {
		for _, mechanisms := range []string{"PLAIN", "LOGIN"} {
			address, mails := server(t, mode, mechanisms)
			o := options(address)
			o.TLS = mode
			const long = "Grüße,\n.\n..\nFrom here on " // dots and From are special in the dialogue
			args := Args{To: []string{"Ädа <ada@example.com>", "bob@example.com"}, CC: []string{"ada@example.com"}, BCC: []string{"eve@example.com"}, ReplyTo: "x@example.com",
				Subject: "Tür offen: 5 °C", Text: long + strings.Repeat("x", 2000), HTML: "<b>Tür</b>"}
			if err := New(o, nil).do(t.Context(), "7-0-tag", args); err != nil {
				t.Fatalf("%s, %s: %v", mode, mechanisms, err)
			}
			got := <-mails
			if !got.TLS || got.User != "house" || got.From != "house@example.com" || fmt.Sprint(got.To) != "[ada@example.com bob@example.com eve@example.com]" {
				t.Errorf("%s, %s: %+v", mode, mechanisms, got)
			}
			m, err := mail.ReadMessage(strings.NewReader(got.Body))
			if err != nil {
				t.Fatal(err)
			}
			var words mime.WordDecoder
			for name, want := range map[string]string{"Subject": args.Subject, "To": "Ädа <ada@example.com>, <bob@example.com>", "Cc": "<ada@example.com>", "From": o.From, "Bcc": "", "Reply-To": "<x@example.com>", "Message-ID": "<7-0-tag@example.com>"} {
				if s, err := words.DecodeHeader(m.Header.Get(name)); err != nil || strings.ReplaceAll(s, `"`, "") != want {
					t.Errorf("%s: %q, want %q", name, s, want)
				}
			}
			if strings.Contains(got.Body, "eve@") {
				t.Error("bcc is shown")
			}
			_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
			if err != nil {
				t.Fatal(err)
			}
			parts := multipart.NewReader(m.Body, params["boundary"])
			for _, want := range []string{args.Text, args.HTML} {
				p, err := parts.NextRawPart()
				if err != nil {
					t.Fatal(err)
				}
				if s := body(t, p, p.Header.Get("Content-Transfer-Encoding")); s != want {
					t.Errorf("got %q, want %q", s, want)
				}
			}
			for line := range strings.SplitSeq(got.Body, "\r\n") {
				if len(line) > 998 {
					t.Errorf("a line has %d characters", len(line))
				}
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	address, mails := server(t, "starttls", "-")
	for _, c := range []struct {
		name   string
		change func(*Options)
		to     []string
		text   string
		want   string // in the error
		again  bool
		got    string // the recipients that have the mail
	}{
		{"all refused", nil, []string{"nobody@example.com"}, "x", "recipient nobody@example.com: 550 \"5.1.1 no such user\"", false, ""},
		{"one refused", nil, []string{"nobody@example.com", "ada@example.com"}, "x", "recipient nobody@example.com: 550", false, "[ada@example.com]"},
		{"greylisted", nil, []string{"ada@example.com", "grey@example.com"}, "x", "recipient grey@example.com: 451", true, ""},
		{"spam", nil, []string{"ada@example.com"}, "REFUSE", "554 \"5.7.1 looks like spam\"", false, ""},
		{"wrong password", func(o *Options) { o.Password = "wrong pass" }, []string{"ada@example.com"}, "x", "login: 535", false, ""},
		{"certificate", func(o *Options) { o.Insecure = false }, []string{"ada@example.com"}, "x", "certificate", true, ""},
		{"no server", func(o *Options) { o.Server = "127.0.0.1:1" }, []string{"ada@example.com"}, "x", "refused", true, ""},
	} {
		o := options(address)
		if c.change != nil {
			c.change(&o)
		}
		err := New(o, nil).do(t.Context(), "7-0-tag", Args{To: c.to, Subject: "s", Text: c.text})
		if err == nil || !strings.Contains(err.Error(), c.want) || kind.IsPermanent(err) == c.again || strings.Contains(err.Error(), o.Password) {
			t.Errorf("%s: %v, permanent %v", c.name, err, kind.IsPermanent(err))
		}
		if c.got != "" {
			if m := <-mails; fmt.Sprint(m.To) != c.got {
				t.Errorf("%s: %v have the mail, want %s", c.name, m.To, c.got)
			}
		}
		if len(mails) > 0 {
			t.Errorf("%s: %+v was sent", c.name, <-mails)
		}
	}
}

// Each attempt is a connection of its own to a server that defers only the first.
func TestGreylisting(t *testing.T) {
	address, mails := server(t, "starttls", "-")
	a := New(options(address), nil)
	args := Args{To: []string{"ada@example.com", "grey@example.com"}, Subject: "s", Text: "x"}
	if err := a.do(t.Context(), "7-0-tag", args); err == nil || kind.IsPermanent(err) {
		t.Errorf("the first attempt: %v", err)
	}
	if err := a.do(t.Context(), "7-0-tag", args); err != nil {
		t.Errorf("the second attempt: %v", err)
	}
	if m := <-mails; len(m.To) != 2 || len(mails) > 0 {
		t.Errorf("%v have the mail", m.To)
	}
}

func TestNothingCanBeAddedToAMail(t *testing.T) {
	evil := "x\r\nBcc: evil@example.com\r\n\r\nbuy"
	for name, args := range map[string]Args{
		"subject":   {To: []string{"a@b.c"}, Subject: evil, Text: "x"},
		"to":        {To: []string{"a@b.c>\r\nRCPT TO:<evil@example.com"}, Subject: "s", Text: "x"},
		"name":      {To: []string{"\"x\r\nBcc: evil@example.com\" <a@b.c>"}, Subject: "s", Text: "x"},
		"cc":        {To: []string{"a@b.c"}, CC: []string{"a@b.c, evil@example.com"}, Subject: "s", Text: "x"},
		"reply_to":  {To: []string{"a@b.c"}, ReplyTo: evil, Subject: "s", Text: "x"},
		"no body":   {To: []string{"a@b.c"}, Subject: "s"},
		"nobody":    {Subject: "s", Text: "x"},
		"too many":  {To: many(101), Subject: "s", Text: "x"},
		"too large": {To: []string{"a@b.c"}, Subject: "s", Text: strings.Repeat("x", maxMail+1)},
	} {
		if m, err := newMessage("a@b.c", "7-0-tag", args, time.Now()); err == nil {
			t.Errorf("%s: %s", name, m.body)
		}
	}
	m, err := newMessage("a@b.c", "7-0-tag", Args{To: []string{"a@b.c"}, Subject: "s", Text: evil, HTML: evil}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(m.body), "\r\n\r\n")
	if strings.Contains(head, "evil") {
		t.Errorf("the headers are %s", head)
	}
}

func many(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("a%d@b.c", i))
	}
	return list
}

func TestAServerThatHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		cancel() // it never greets
		_, _ = io.ReadAll(c)
	}()
	o := options(l.Addr().String())
	if err := New(o, nil).do(ctx, "7-0-tag", Args{To: []string{"a@b.c"}, Subject: "s", Text: "x"}); err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("%v", err)
	}
}

// A server, or somebody on the way, that hides STARTTLS gets no mail.
func TestNoMailWithoutEncryption(t *testing.T) {
	address, mails := server(t, "plain", "-")
	err := New(options(address), nil).do(t.Context(), "7-0-tag", Args{To: []string{"ada@example.com"}, Subject: "s", Text: "x"})
	if err == nil || !strings.Contains(err.Error(), "no STARTTLS") {
		t.Errorf("%v", err)
	}
	o := options(address)
	o.TLS, o.User, o.Password = "off", "", ""
	if err := New(o, nil).do(t.Context(), "7-0-tag", Args{To: []string{"ada@example.com"}, Subject: "s", Text: "x"}); err != nil {
		t.Error(err)
	}
	if m := <-mails; m.TLS || len(mails) > 0 {
		t.Errorf("%+v", m)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(*Options) {}, ""},
		{func(o *Options) { o.Server = "mail" }, `server: "mail" is not host:port`},
		{func(o *Options) { o.From = "house" }, `from: "house" is not a mail address`},
		{func(o *Options) { o.TLS, o.User, o.Password = "off", "", "" }, "tls: the mails would cross the network unencrypted"},
		{func(o *Options) { o.Server, o.TLS = "localhost:25", "off" }, "password: the password would be sent unencrypted"},
		{func(o *Options) { o.Server = "x:465" }, "tls: on port 465 a connection is encrypted from the beginning"},
		{func(o *Options) { o.TLS = "tls" }, "tls: on port 587 a connection is encrypted by STARTTLS"},
		{func(o *Options) { o.User = "" }, "password: there is a password without a user"},
		{func(o *Options) { o.Password = "" }, "user: there is a user without a password"},
	} {
		o := options("smtp.example.com:587")
		c.change(&o)
		var got []string
		for _, err := range o.Check() {
			got = append(got, err.(*kind.OptionError).Key()+": "+err.Error())
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("got %q, want %q", s, c.want)
		}
	}
}
