// This file is the certificate of tls:// and https:// listeners. A renewed certificate is loaded
// without a restart.

package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/config"
)

// recheckEvery is the minimum time between two checks, made in handshakes, whether the files have
// changed. They are not watched, because they may be links of links to anywhere, as certbot's and
// Kubernetes' are.
const recheckEvery = time.Second

// keyPair is the certificate and its key.
type keyPair struct {
	files   config.TLS
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate]
	clients *x509.CertPool
	revoked *revoked      // nil: there is no list
	ask     atomic.Bool   // clients of https:// are asked for a certificate
	every   time.Duration // recheckEvery, shorter in tests

	looking sync.Mutex
	looked  time.Time
	seen    [2]stamp // of the files as last read, valid or not
}

// stamp identifies one version of a file.
type stamp struct {
	at   time.Time
	size int64
}

// loadKeys reads the files of listen.tls; nil when there are none.
func loadKeys(t config.TLS, log *slog.Logger) (*keyPair, error) {
	if t.Cert == "" {
		return nil, nil
	}
	k := &keyPair{files: t, log: log, every: recheckEvery}
	if _, err := k.reload(); err != nil {
		return nil, err
	}
	if t.ClientCA != "" {
		pem, err := os.ReadFile(t.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("listen.tls.client_ca: %w", err)
		}
		k.clients = x509.NewCertPool()
		authorities := certificatesIn(pem)
		if len(authorities) == 0 {
			return nil, withHint(fmt.Errorf("listen.tls.client_ca: %s contains no certificate", t.ClientCA),
				"want the PEM certificate of the authority that signed the clients' certificates")
		}
		for _, c := range authorities {
			k.clients.AddCert(c)
		}
		if t.ClientCRL != "" {
			k.revoked = newRevoked(t.ClientCRL, authorities, log)
		}
	}
	return k, nil
}

// certificatesIn returns the certificates of a PEM file; it skips what is none.
func certificatesIn(text []byte) (list []*x509.Certificate) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			list = append(list, c)
		}
	}
	return list
}

// reload reads the files again, and reports whether the certificate has changed. On an error the
// previous certificate stays in use.
func (k *keyPair) reload() (renewed bool, err error) {
	k.looking.Lock()
	defer k.looking.Unlock()
	return k.read(k.stamps())
}

// read reads the files. now are the files' stamps from before the read, so that a change in between
// is detected the next time.
func (k *keyPair) read(now [2]stamp) (renewed bool, err error) {
	k.seen, k.looked = now, time.Now()
	c, err := tls.LoadX509KeyPair(k.files.Cert, k.files.Key)
	if err != nil {
		return false, withHint(fmt.Errorf("listen.tls: %w", err),
			"cert wants the PEM certificate chain, key its PEM private key")
	}
	old := k.current.Swap(&c)
	if old == nil || old.Leaf.Equal(c.Leaf) {
		return false, nil
	}
	k.log.Info("certificate renewed", "file", k.files.Cert, "until", c.Leaf.NotAfter.UTC().Format(time.RFC3339))
	return true, nil
}

func (k *keyPair) stamps() (s [2]stamp) {
	for i, file := range []string{k.files.Cert, k.files.Key} {
		if st, err := os.Stat(file); err == nil {
			s[i] = stamp{st.ModTime(), st.Size()}
		}
	}
	return s
}

// certificate returns the current certificate. The handshake that finds the files changed reads
// them; others do not wait for that.
func (k *keyPair) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if k.looking.TryLock() {
		if time.Since(k.looked) >= k.every {
			k.looked = time.Now()
			if now := k.stamps(); now != k.seen {
				if _, err := k.read(now); err != nil { // perhaps only one of the two files is written yet
					k.log.Warn("certificate not renewed: the previous one stays in use", "err", err)
				}
			}
		}
		k.looking.Unlock()
	}
	return k.current.Load(), nil
}

// names reports whether the certificate is for a host name.
func (k *keyPair) names(host string) bool { return k.current.Load().Leaf.VerifyHostname(host) == nil }

// mqtt is TLS for MQTT clients.
func (k *keyPair) mqtt() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: k.certificate}
	if k.clients != nil {
		k.verify(c, tls.RequireAndVerifyClientCert)
	}
	return c
}

// verify asks clients for certificates.
func (k *keyPair) verify(c *tls.Config, how tls.ClientAuthType) {
	c.ClientCAs, c.ClientAuth = k.clients, how
	if k.revoked != nil {
		c.VerifyConnection = k.revoked.verify
	}
}

// http is TLS for browsers. It asks for a client certificate, which few browsers have, only while a
// user has one, and offers only HTTP/1.1, with which a WebSocket begins.
func (k *keyPair) http() *tls.Config {
	plain := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: k.certificate, NextProtos: []string{"http/1.1"}}
	if k.clients == nil {
		return plain
	}
	asking := plain.Clone()
	k.verify(asking, tls.VerifyClientCertIfGiven)
	c := plain.Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if k.ask.Load() {
			return asking, nil
		}
		return plain, nil
	}
	return c
}

// askFor lets clients of https:// present a certificate, if a user has one.
func (k *keyPair) askFor(users []config.User) {
	if k != nil {
		k.ask.Store(slices.ContainsFunc(users, func(u config.User) bool { return len(u.Certificates) > 0 }))
	}
}
