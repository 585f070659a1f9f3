// This file has the errors: what each means, and what to do.

package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

var (
	// ErrClosed is of calls on a Stream or Reader that is closed.
	ErrClosed = errors.New("closed")
	// ErrRestarted is a Reader's: the connection or the consumer was lost and made again, so the hub
	// may have lost messages or had them replaced. Compare your place; then read on with this Reader
	// if it holds, or close it and Read from another place.
	ErrRestarted = errors.New("reading was interrupted")
	// ErrNobody is Ask's: nobody listens on the subject.
	ErrNobody = errors.New("nobody listens")
	// ErrOffline is in errors of calls that sent nothing, because the hub is not connected or not
	// checked yet.
	ErrOffline = errors.New("not connected to the hub")
)

// Fault is what time alone does not mend: somebody has to do what Hint says. The hub is asked
// again from time to time all the same.
type Fault struct {
	what, hint string
	err        error
}

func fault(what, hint string, err error) *Fault { return &Fault{what, hint, err} }

func (f *Fault) Error() string {
	if f.err == nil {
		return f.what
	}
	return f.what + ": " + f.err.Error()
}

// Hint says what to do.
func (f *Fault) Hint() string  { return f.hint }
func (f *Fault) Unwrap() error { return f.err }

// Conflict is Append's: nothing was stored, because the last message on the subject is another one
// than the caller expected, or because the hub still decides about an earlier one (Pending).
type Conflict struct {
	Subject        string
	Expected, Last uint64 // sequences; Last is 0 if there is none, and if Pending
	Pending        bool
}

func (c *Conflict) Error() string {
	if c.Pending {
		return fmt.Sprintf("%s: the hub still decides about an earlier message", c.Subject)
	}
	return fmt.Sprintf("%s: the last message is %d, not %d", c.Subject, c.Last, c.Expected)
}

// apiError is JetStream's description of an error.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// The codes of JetStream's errors that matter here (nats-server, errors.json).
const (
	codeNotEnabledAccount = 10039
	codeNotEnabled        = 10076
	codeStreamMismatch    = 10060
	codeNoMessage         = 10037
	codeNoStream          = 10059
	codeSubjectsOverlap   = 10065
	codeWrongLast         = 10071
	codeWrongLastConstant = 10164
	codeTooLarge          = 10054
	codeReplicas          = 10074
	codeSealed            = 10109
)

// explainAPI makes a *Fault of an error that time alone does not mend; others stay as they are.
func (o *Options) explainAPI(err *apiError) error {
	switch err.ErrCode {
	case codeNotEnabled, codeNotEnabledAccount:
		return noJetStream(err)
	case codeNoStream:
		return fault(fmt.Sprintf("the hub has no stream %s", o.Stream),
			"make it with `postbus fleet init`, or correct the fleet's name", err)
	case codeTooLarge:
		return fault("the message is larger than the stream allows",
			"raise the stream's max_msg_size", err)
	case codeSealed:
		return fault(fmt.Sprintf("the stream %s is sealed", o.Stream),
			"make another stream: a seal can't be removed", err)
	}
	return err
}

func noJetStream(err error) error {
	return fault("JetStream is not enabled on the hub",
		"add `jetstream {}` to the hub's configuration, or enable it for this account", err)
}

// explainConnect recognizes what keeps a connection from being made.
func explainConnect(err error) error {
	var (
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
		hostname x509.HostnameError
		record   tls.RecordHeaderError
	)
	text := strings.ToLower(err.Error()) // while connecting, the client returns the hub's words
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, ErrClosed):
		return err
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fault("the hub's certificate is not valid at this time",
			"renew the certificate, or correct this machine's clock", err)
	case errors.As(err, &unknown):
		return fault("the hub's certificate is not from a known authority",
			"add ca: with the file of the authority that signed it", err)
	case errors.As(err, &hostname):
		return fault("the hub's certificate is of another host",
			"use a name that is in the certificate in hub:", err)
	case errors.As(err, &invalid):
		return fault("the hub's certificate is not valid", "renew the certificate", err)
	case errors.As(err, &record):
		return fault("the hub does not speak TLS",
			"use nats:// in hub:, or enable TLS on the hub", err)
	case errors.Is(err, nats.ErrSecureConnWanted):
		return fault("the hub does not offer TLS",
			"use nats:// in hub:, or enable TLS on the hub", err)
	case errors.Is(err, nats.ErrSecureConnRequired):
		return fault("the hub demands TLS", "use tls:// in hub:", err)
	case strings.Contains(text, "authentication expired"):
		return fault("the credentials have expired",
			"get new ones from the hub's operator, and replace creds:", err)
	case strings.Contains(text, "authentication revoked"):
		return fault("the credentials were revoked",
			"get new ones from the hub's operator, and replace creds:", err)
	case errors.Is(err, nats.ErrNkeysNotSupported),
		strings.Contains(text, "authorization violation"):
		return fault("the hub does not accept the credentials",
			"add this bus with `postbus fleet add`, or correct creds:", err)
	case strings.Contains(text, "certificate required"), strings.Contains(text, "bad certificate"),
		strings.Contains(text, "tls: expired certificate"):
		return fault("the hub does not accept this bus's certificate",
			"get a certificate from an authority that the hub knows", err)
	}
	return err
}

// isFault reports whether waiting alone does not help.
func isFault(err error) bool {
	var f *Fault
	return errors.As(err, &f)
}
