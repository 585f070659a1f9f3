// This file is listen.tls.client_crl: the certificates of clients that their authority has revoked.

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus/quiet"
)

// maxRevoked is the maximum size of the file in bytes; a revoked certificate takes about 40.
const maxRevoked = 64 << 20

// recheckLists is how often the file is looked at without a handshake: connections of certificates that
// it revokes end then.
const recheckLists = 10 * time.Second

// revoked is the lists of revoked certificates. They are checked in each handshake in which a client
// presents a certificate, and at each login with one, and read again when the file has changed. A file
// that is unreadable, or that the authority has not signed, or that has expired, does not replace a good
// one. Until there was a good one, clients with certificates are refused.
type revoked struct {
	file        string
	authorities []*x509.Certificate
	log         *slog.Logger
	every       time.Duration
	renewed     func() // called when a new list is in force; nil: nothing is
	current     atomic.Pointer[lists]
	overdue     atomic.Pointer[lists] // whose expiry was logged
	quiet       quiet.Log             // for what clients cause

	kick  chan struct{} // a handshake asks for a look at the file
	asked atomic.Int64  // when, in Unix nanoseconds

	looking sync.Mutex
	looked  bool // once at least
	seen    stamp
}

// lists are those of one version of the file.
type lists struct {
	serials serials
	until   time.Time // when one of them expires; zero: never
}

func newRevoked(file string, authorities []*x509.Certificate, log *slog.Logger) *revoked {
	return &revoked{file: file, authorities: authorities, log: log, every: recheckEvery, kick: make(chan struct{}, 1)}
}

// watch looks at the file until ctx ends.
func (r *revoked) watch(ctx context.Context) {
	t := time.NewTicker(recheckLists)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			r.look()
		case <-r.kick:
			r.look()
		case <-ctx.Done():
			return
		}
	}
}

// look reads the file if it has changed, and logs an error. The bus starts without it, too, and then refuses
// clients with certificates.
func (r *revoked) look() {
	r.looking.Lock()
	changed, err := r.reloadLocked()
	r.looking.Unlock()
	if err != nil {
		r.warn(err)
	}
	if changed && r.renewed != nil {
		r.renewed()
	}
}

// reload reads the file if it has changed. The error says why the lists did not change.
func (r *revoked) reload() error {
	r.looking.Lock()
	defer r.looking.Unlock()
	_, err := r.reloadLocked()
	return err
}

func (r *revoked) reloadLocked() (changed bool, err error) {
	first := !r.looked
	r.looked = true
	var now stamp
	if st, err := os.Stat(r.file); err == nil {
		now = stamp{st.ModTime(), st.Size()}
	}
	if now == r.seen && now.size > 0 {
		return false, nil
	}
	r.seen = now
	l, err := r.read()
	if err != nil {
		return false, withHint(fmt.Errorf("listen.tls.client_crl: %w", err), "get a new list from the authority that signs the clients' certificates")
	}
	if !first {
		r.log.Info("list of revoked certificates renewed", "file", r.file, "revoked", len(l.serials))
	}
	r.current.Store(l)
	return true, nil
}

// read reads every list of the file: PEM blocks, or one list in DER.
func (r *revoked) read() (*lists, error) {
	if st, err := os.Stat(r.file); err == nil && st.Size() > maxRevoked {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", r.file, st.Size(), maxRevoked)
	}
	text, err := os.ReadFile(r.file)
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(text, []byte("-----BEGIN")) {
		l := &lists{}
		if err := r.addTo(l, text); err != nil {
			return nil, err
		}
		return l.sorted(), nil
	}
	var l *lists
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		if l == nil {
			l = &lists{}
		}
		if err := r.addTo(l, block.Bytes); err != nil {
			return nil, err
		}
	}
	if l == nil {
		return nil, fmt.Errorf("%s holds no list of revoked certificates (X509 CRL)", r.file)
	}
	return l.sorted(), nil
}

// addTo adds a list that is signed and has not expired.
func (r *revoked) addTo(l *lists, der []byte) error {
	list, entries, err := parseList(der)
	if err != nil {
		return fmt.Errorf("%s: %w", r.file, err)
	}
	if !r.signed(list) {
		return fmt.Errorf("%s: no certificate of listen.tls.client_ca has signed the list of %s", r.file, list.Issuer)
	}
	if end := list.NextUpdate; !end.IsZero() {
		if !time.Now().Before(end) {
			return fmt.Errorf("%s: the list of %s has expired at %s", r.file, list.Issuer, end.UTC().Format(time.RFC3339))
		}
		if l.until.IsZero() || end.Before(l.until) {
			l.until = end
		}
	}
	if l.serials, err = appendSerials(l.serials, list.RawIssuer, entries); err != nil {
		return fmt.Errorf("%s: %w", r.file, err)
	}
	return nil
}

func (l *lists) sorted() *lists {
	slices.SortFunc(l.serials, compareKeys)
	l.serials = slices.Clip(slices.Compact(l.serials))
	return l
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

// verify is tls.Config.VerifyConnection, which is called for resumed sessions too. It does not
// wait for a list that is being read, which may take seconds: the new list disconnects a client that the old
// one let in.
func (r *revoked) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	if now, last := time.Now().UnixNano(), r.asked.Load(); now-last >= int64(r.every) && r.asked.CompareAndSwap(last, now) {
		select {
		case r.kick <- struct{}{}:
		default:
		}
	}
	l := r.current.Load()
	switch {
	case l == nil:
		return errNoRevoked
	case !l.until.IsZero() && !time.Now().Before(l.until) && r.overdue.Swap(l) != l:
		r.log.Warn("the list of revoked certificates has expired: it stays in use until there is a new one", "file", r.file, "expired", l.until.UTC().Format(time.RFC3339))
	}
	for _, chain := range state.VerifiedChains {
		if !slices.ContainsFunc(chain, l.serials.has) {
			return nil
		}
	}
	if len(state.VerifiedChains) == 0 {
		return errNoVerified
	}
	r.refuse(state.PeerCertificates[0])
	return errRevoked
}

// check is for a client that made its handshake before, perhaps by another list.
func (r *revoked) check(c *x509.Certificate) error {
	if r == nil || c == nil {
		return nil
	}
	if l := r.current.Load(); l != nil && l.serials.has(c) {
		r.refuse(c)
		return errRevoked
	}
	return nil
}

func (r *revoked) refuse(c *x509.Certificate) {
	r.quiet.Warn(r.log, c.SerialNumber.String(), "client refused: its certificate is revoked", "subject", c.Subject.String(), "serial", c.SerialNumber.String())
}

func (r *revoked) warn(err error) {
	if r.current.Load() == nil {
		r.quiet.Log(r.log, slog.LevelError, err.Error(), "no list of revoked certificates: clients with certificates are refused", "err", err)
		return
	}
	r.quiet.Warn(r.log, err.Error(), "list of revoked certificates not renewed: the previous one stays in use", "err", err)
}
