// Package mail sends mails as an action.
//
// What it promises: an event is done when the server has accepted its mail for every recipient. A recipient
// that the server refuses for good (5xx) makes the event fail for good; the others have got the mail then. If
// the server defers one (4xx, as greylisting does), no recipient gets it, and all is tried again later. When the connection
// breaks after the mail was sent and before the server's answer, it is sent again, with the same Message-ID.
//
// It costs one connection while a mail is sent, which is closed after it, and no goroutine or memory between
// mails. A mail is at most 1 MiB and has at most 100 recipients.
//
// It is net/smtp: it takes no text that would end a line, so that nothing can be added to the dialogue or the
// headers.
package mail

import (
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"os"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// sample is a complete plugin file with this action.
//
//go:embed action.yaml
var sample string

const about = "Sends a mail through an SMTP server, encrypted by STARTTLS (port 587) or TLS (port 465). An event is done when the server has accepted its mail for all recipients. " +
	"If the server is away or defers a recipient, as greylisting does, the mail is retried, and no recipient has got it. If the server refuses a recipient for good, the event fails " +
	"and the other recipients have got the mail. A mail is at most 1 MiB, with at most 100 recipients. There is one connection while a mail is sent. It runs on every platform."

const (
	maxMail       = 1 << 20
	maxRecipients = 100
)

// Options of the action, fixed when the file is loaded.
type Options struct {
	Server   string        `key:"server" doc:"the server's address, as smtp.example.com:587" need:"yes"`
	TLS      string        `key:"tls" doc:"starttls: encrypted after the greeting, as on port 587; tls: from the beginning, as on port 465; off: not at all, without a password and on this machine only" oneof:"starttls|tls|off"`
	Insecure bool          `key:"insecure" doc:"accept any TLS certificate: anyone on the network path can then read the password and the mails"`
	User     string        `key:"user" doc:"the user name at the server; empty: no login" secret:"within"`
	Password string        `key:"password" doc:"the password, best as secret:name" secret:"yes"`
	From     string        `key:"from" doc:"the sender, as \"House <house@example.com>\"" need:"yes"`
	Timeout  time.Duration `key:"timeout" doc:"the maximum time for a mail" min:"1s" max:"10m"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{TLS: "starttls", Timeout: 30 * time.Second} }

// Check checks the options against each other.
func (o Options) Check() []error {
	errs := kind.CheckAddress("server", o.Server, false)
	if _, err := mail.ParseAddress(o.From); err != nil {
		errs = append(errs, kind.Wrong("from", fmt.Sprintf("%q is not a mail address", o.From), `write from: "House <house@example.com>"`))
	}
	host, port, _ := net.SplitHostPort(o.Server)
	switch {
	case o.TLS == "off" && !local(host):
		errs = append(errs, kind.Wrong("tls", "the mails would cross the network unencrypted", "write tls: starttls, or leave it out"))
	case o.TLS == "starttls" && port == "465":
		errs = append(errs, kind.Wrong("tls", "on port 465 a connection is encrypted from the beginning", "write tls: tls"))
	case o.TLS == "tls" && port == "587":
		errs = append(errs, kind.Wrong("tls", "on port 587 a connection is encrypted by STARTTLS", "write tls: starttls, or leave it out"))
	}
	switch {
	case o.Password != "" && o.User == "":
		errs = append(errs, kind.Wrong("password", "there is a password without a user", "add the user"))
	case o.Password == "" && o.User != "":
		errs = append(errs, kind.Wrong("user", "there is a user without a password", "add password: secret:name"))
	case o.Password != "" && o.TLS == "off":
		errs = append(errs, kind.Wrong("password", "the password would be sent unencrypted", "write tls: starttls"))
	}
	return errs
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Access is the server that the action connects to.
func (o Options) Access() []string { return []string{"host:" + o.Server} }

// Args are the arguments for one event.
type Args struct {
	To      []string `key:"to" doc:"the recipients, as [\"Ada <ada@example.com>\"]" need:"yes"`
	CC      []string `key:"cc" doc:"further recipients, whom all see"`
	BCC     []string `key:"bcc" doc:"further recipients, whom nobody sees"`
	ReplyTo string   `key:"reply_to" doc:"where answers go"`
	Subject string   `key:"subject" doc:"the subject, one line" need:"yes"`
	Text    string   `key:"text" doc:"the mail as text; either this or html, or both"`
	HTML    string   `key:"html" doc:"the mail as HTML"`
}

// Action sends mails.
type Action struct {
	o    Options
	pool *tls.Config
}

// New makes an action of checked options.
func New(o Options, _ kind.Env) *Action {
	host, _, _ := net.SplitHostPort(o.Server)
	return &Action{o: o, pool: &tls.Config{ServerName: host, InsecureSkipVerify: o.Insecure}} // the user asked for it in the file, and the docs explain the risk
}

// Batch implements kind.BatchAction: a mail is sent alone.
func (a *Action) Batch() kind.Batch { return kind.Batch{Count: 1} }

// DoAll sends a mail for each job.
func (a *Action) DoAll(ctx context.Context, jobs []kind.Job[Args]) (int, error) {
	for i, j := range jobs {
		if err := a.do(ctx, j.ID, j.Args); err != nil {
			return i, err
		}
	}
	return len(jobs), nil
}

// do sends one mail. id makes its Message-ID, which a repetition has too.
func (a *Action) do(ctx context.Context, id string, args Args) error {
	m, err := newMessage(a.o.From, id, args, time.Now())
	if err != nil {
		return kind.Permanent(err)
	}
	ctx, cancel := context.WithTimeout(ctx, a.o.Timeout)
	defer cancel()
	if err := a.send(ctx, m); err != nil {
		return a.failure(ctx, err)
	}
	return nil
}

// failure says what failed, and whether a retry can help.
func (a *Action) failure(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
		err = fmt.Errorf("no answer in time: %w", err)
	}
	out := fmt.Errorf("mail by %s: %w", a.o.Server, err)
	var answer *textproto.Error
	if errors.As(err, &answer) && answer.Code/100 == 5 {
		return kind.Permanent(out)
	}
	return out
}

// send gives a mail to the server.
func (a *Action) send(ctx context.Context, m *message) error {
	c, stop, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer stop()
	defer c.Close()
	if a.o.User != "" {
		host, _, _ := net.SplitHostPort(a.o.Server)
		if err := c.Auth(login{smtp.PlainAuth("", a.o.User, a.o.Password, host), a.o}); err != nil {
			return fmt.Errorf("login: %w", err)
		}
	}
	if err := c.Mail(m.from); err != nil {
		return fmt.Errorf("sender %s: %w", m.from, err)
	}
	var refused []error
	for _, to := range m.to {
		err := c.Rcpt(to)
		if answer := (*textproto.Error)(nil); errors.As(err, &answer) && answer.Code/100 == 5 {
			refused = append(refused, fmt.Errorf("recipient %s: %w", to, err))
		} else if err != nil { // deferred: nobody gets the mail now, so that nobody gets it twice
			return fmt.Errorf("recipient %s: %w", to, err)
		}
	}
	if len(refused) == len(m.to) {
		return errors.Join(refused...)
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(m.body); err != nil {
		return err
	}
	if err := w.Close(); err != nil { // the server's answer to the mail
		return err
	}
	_ = c.Quit() // it has the mail
	return errors.Join(refused...)
}

// dial connects and encrypts. stop ends the watch over ctx.
func (a *Action) dial(ctx context.Context) (c *smtp.Client, stop func(), err error) {
	host, _, _ := net.SplitHostPort(a.o.Server)
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", a.o.Server)
	if err != nil {
		return nil, nil, err
	}
	watch := kind.Interrupt(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // fails only when it is closed
	defer func() {
		if err != nil {
			watch()
			_ = conn.Close()
		}
	}()
	inner := conn
	if a.o.TLS == "tls" {
		inner = tls.Client(conn, a.pool)
	}
	if c, err = smtp.NewClient(inner, host); err != nil {
		return nil, nil, err
	}
	if err := c.Hello("localhost"); err != nil {
		return nil, nil, err
	}
	if a.o.TLS == "starttls" {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return nil, nil, kind.Permanent(errors.New("the server has no STARTTLS, and the mail would be sent unencrypted"))
		}
		if err := c.StartTLS(a.pool); err != nil {
			return nil, nil, err
		}
	}
	return c, watch, nil
}

// login is AUTH PLAIN, or LOGIN for servers that have nothing else.
type login struct {
	smtp.Auth
	o Options
}

// Start implements smtp.Auth.
func (l login) Start(s *smtp.ServerInfo) (string, []byte, error) {
	has := func(mechanism string) bool {
		for _, m := range s.Auth {
			if strings.EqualFold(m, mechanism) {
				return true
			}
		}
		return false
	}
	switch {
	case !s.TLS:
		return "", nil, errors.New("the connection is not encrypted")
	case !has("PLAIN") && has("LOGIN"):
		return "LOGIN", nil, nil
	}
	return l.Auth.Start(s)
}

// Next implements smtp.Auth.
func (l login) Next(from []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	switch strings.ToLower(strings.TrimRight(string(from), ": \x00")) {
	case "username", "user name":
		return []byte(l.o.User), nil
	case "password":
		return []byte(l.o.Password), nil
	}
	return nil, errors.New("the server asks for something other than user and password")
}
