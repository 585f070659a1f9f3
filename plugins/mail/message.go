package mail

// This file makes the text of a mail (RFC 5322), with MIME for what is not ASCII.

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"time"
	"unicode"
)

// message is a mail that is ready to be sent.
type message struct {
	from string // addresses only
	to   []string
	body []byte
}

// newMessage makes a mail. The error is for good.
func newMessage(from, id string, args Args, now time.Time) (*message, error) {
	if args.Text == "" && args.HTML == "" {
		return nil, errors.New("the mail has neither text nor html")
	}
	if len(args.Text)+len(args.HTML) > maxMail {
		return nil, fmt.Errorf("the mail is larger than 1 MiB")
	}
	sender, err := mail.ParseAddress(from)
	if err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	m := &message{from: sender.Address}
	var b bytes.Buffer
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	header("From", sender.String())
	seen := map[string]bool{}
	for _, list := range []struct {
		name, header string
		addresses    []string
	}{{"to", "To", args.To}, {"cc", "Cc", args.CC}, {"bcc", "", args.BCC}} {
		var shown []string
		for _, text := range list.addresses {
			a, err := mail.ParseAddress(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %q is not a mail address", list.name, text)
			}
			if shown = append(shown, a.String()); !seen[a.Address] {
				seen[a.Address] = true
				m.to = append(m.to, a.Address)
			}
		}
		if list.header != "" && len(shown) > 0 {
			header(list.header, strings.Join(shown, ",\r\n "))
		}
	}
	switch n := len(m.to); {
	case n == 0:
		return nil, errors.New("the mail has no recipient")
	case n > maxRecipients:
		return nil, fmt.Errorf("the mail has %d recipients, at most %d are allowed", n, maxRecipients)
	}
	if args.ReplyTo != "" {
		a, err := mail.ParseAddress(args.ReplyTo)
		if err != nil {
			return nil, fmt.Errorf("reply_to: %q is not a mail address", args.ReplyTo)
		}
		header("Reply-To", a.String())
	}
	if strings.ContainsFunc(args.Subject, unicode.IsControl) {
		return nil, errors.New("the subject has a line break or another control character")
	}
	header("Subject", mime.QEncoding.Encode("utf-8", args.Subject))
	header("Date", now.Format(time.RFC1123Z))
	header("Message-ID", fmt.Sprintf("<%s@%s>", id, sender.Address[strings.LastIndexByte(sender.Address, '@')+1:]))
	header("Auto-Submitted", "auto-generated") // so that nobody's holiday notice answers
	header("MIME-Version", "1.0")
	if err := m.parts(&b, args); err != nil {
		return nil, err
	}
	m.body = b.Bytes()
	return m, nil
}

// parts writes the text, the HTML, or both as alternatives.
func (m *message) parts(b *bytes.Buffer, args Args) error {
	const text, html = "text/plain; charset=utf-8", "text/html; charset=utf-8"
	one := func(kind, body string) error {
		fmt.Fprintf(b, "Content-Type: %s\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", kind)
		return quote(b, body)
	}
	switch {
	case args.HTML == "":
		return one(text, args.Text)
	case args.Text == "":
		return one(html, args.HTML)
	}
	w := multipart.NewWriter(b)
	fmt.Fprintf(b, "Content-Type: multipart/alternative; boundary=%s\r\n\r\n", w.Boundary())
	for _, p := range [][2]string{{text, args.Text}, {html, args.HTML}} {
		part, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {p[0]}, "Content-Transfer-Encoding": {"quoted-printable"}})
		if err != nil {
			return err
		}
		if err := quote(part, p[1]); err != nil {
			return err
		}
	}
	return w.Close()
}

func quote(w interface{ Write([]byte) (int, error) }, text string) error {
	q := quotedprintable.NewWriter(w)
	if _, err := q.Write([]byte(strings.ToValidUTF8(text, "\uFFFD"))); err != nil {
		return err
	}
	return q.Close()
}
