// This file is listen.tls.client_crl: the certificates of clients that their authority has revoked.

package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/postbus/postbus/bus/quiet"
)

// maxRevoked is the maximum size of the file in bytes; a revoked certificate takes about 40.
const maxRevoked = 64 << 20

// revoked is the lists of revoked certificates. They are checked in each handshake in which a client
// presents a certificate, and read again when the file has changed. A file that is unreadable, or that
// the authority has not signed, or that has expired, does not replace a good one. Until there was a
// good one, clients with certificates are refused.
type revoked struct {
	file        string
	authorities []*x509.Certificate
	log         *slog.Logger
	every       time.Duration

	mu      sync.Mutex
	looked  time.Time
	seen    stamp
	serials map[string]bool // of revoked certificates, behind their issuer's name; nil: there was no good file
	until   time.Time       // when a list expires; zero: never
	overdue bool            // that was logged
	quiet   quiet.Log       // for what clients cause
}

func newRevoked(file string, authorities []*x509.Certificate, log *slog.Logger) *revoked {
	return &revoked{file: file, authorities: authorities, log: log, every: recheckEvery}
}

// start reads the file. The bus starts without it, too, and then refuses clients with certificates.
func (r *revoked) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.reloadLocked(); err != nil {
		r.warnLocked(err)
	}
}

// reload reads the file if it has changed. The error says why the lists did not change.
func (r *revoked) reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reloadLocked()
}

func (r *revoked) reloadLocked() error {
	first := r.looked.IsZero()
	r.looked = time.Now()
	var now stamp
	if st, err := os.Stat(r.file); err == nil {
		now = stamp{st.ModTime(), st.Size()}
	}
	if now == r.seen && now.size > 0 {
		return nil
	}
	r.seen = now
	serials, until, err := r.read()
	if err != nil {
		return withHint(fmt.Errorf("listen.tls.client_crl: %w", err), "get a new list from the authority that signs the clients' certificates")
	}
	if !first {
		r.log.Info("list of revoked certificates renewed", "file", r.file, "revoked", len(serials))
	}
	r.serials, r.until, r.overdue = serials, until, false
	return nil
}

// read reads every list of the file: PEM blocks, or one list in DER.
func (r *revoked) read() (serials map[string]bool, until time.Time, err error) {
	if st, err := os.Stat(r.file); err == nil && st.Size() > maxRevoked {
		return nil, until, fmt.Errorf("%s has %d bytes, more than %d", r.file, st.Size(), maxRevoked)
	}
	text, err := os.ReadFile(r.file)
	if err != nil {
		return nil, until, err
	}
	lists := [][]byte{text}
	if bytes.Contains(text, []byte("-----BEGIN")) {
		lists = nil
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == "X509 CRL" {
				lists = append(lists, block.Bytes)
			}
		}
		if lists == nil {
			return nil, until, fmt.Errorf("%s holds no list of revoked certificates (X509 CRL)", r.file)
		}
	}
	serials = map[string]bool{}
	for _, der := range lists {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, until, fmt.Errorf("%s: %w", r.file, err)
		}
		if !r.signed(list) {
			return nil, until, fmt.Errorf("%s: no certificate of listen.tls.client_ca has signed the list of %s", r.file, list.Issuer)
		}
		if end := list.NextUpdate; !end.IsZero() {
			if !time.Now().Before(end) {
				return nil, until, fmt.Errorf("%s: the list of %s has expired at %s", r.file, list.Issuer, end.UTC().Format(time.RFC3339))
			}
			if until.IsZero() || end.Before(until) {
				until = end
			}
		}
		for _, e := range list.RevokedCertificateEntries {
			serials[string(list.RawIssuer)+"\x00"+e.SerialNumber.String()] = true
		}
	}
	return serials, until, nil
}

func (r *revoked) signed(list *x509.RevocationList) bool {
	for _, ca := range r.authorities {
		if bytes.Equal(ca.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(ca) == nil {
			return true
		}
	}
	return false
}

var (
	errRevoked    = errors.New("the client's certificate is revoked")
	errNoRevoked  = errors.New("certificates of clients can't be checked: see the log of the bus")
	errNoVerified = errors.New("the client's certificate was not verified")
)

// verify is tls.Config.VerifyConnection, which is called for resumed sessions too.
func (r *revoked) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) >= r.every {
		if err := r.reloadLocked(); err != nil {
			r.warnLocked(err)
		}
	}
	switch {
	case r.serials == nil:
		return errNoRevoked
	case !r.until.IsZero() && !r.overdue && !time.Now().Before(r.until):
		r.overdue = true
		r.log.Warn("the list of revoked certificates has expired: it stays in use until there is a new one", "file", r.file, "expired", r.until.UTC().Format(time.RFC3339))
	}
	for _, chain := range state.VerifiedChains {
		if !r.revokedLocked(chain) {
			return nil
		}
	}
	if len(state.VerifiedChains) == 0 {
		return errNoVerified
	}
	c := state.PeerCertificates[0]
	r.quiet.Warn(r.log, c.SerialNumber.String(), "client refused: its certificate is revoked", "subject", c.Subject.String(), "serial", c.SerialNumber.String())
	return errRevoked
}

// revokedLocked reports whether a certificate of the chain is revoked.
func (r *revoked) revokedLocked(chain []*x509.Certificate) bool {
	for _, c := range chain {
		if r.serials[string(c.RawIssuer)+"\x00"+c.SerialNumber.String()] {
			return true
		}
	}
	return false
}

func (r *revoked) warnLocked(err error) {
	if r.serials == nil {
		r.quiet.Log(r.log, slog.LevelError, err.Error(), "no list of revoked certificates: clients with certificates are refused", "err", err)
		return
	}
	r.quiet.Warn(r.log, err.Error(), "list of revoked certificates not renewed: the previous one stays in use", "err", err)
}
