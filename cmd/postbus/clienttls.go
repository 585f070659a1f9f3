// This file lets commands trust the bus of this machine by the certificate in its config.

package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
)

// trustOwn makes c accept exactly the certificate in file, whoever signed it and for whatever name,
// because the address is from the same config. Other certificates are verified as usual. So are all
// when the file can't be read.
func trustOwn(c *tls.Config, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		return
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return
	}
	c.InsecureSkipVerify = true // because VerifyConnection verifies it
	c.VerifyConnection = func(s tls.ConnectionState) error {
		leaf := s.PeerCertificates[0]
		if string(leaf.Raw) == string(block.Bytes) {
			return nil
		}
		o := x509.VerifyOptions{DNSName: s.ServerName, Intermediates: x509.NewCertPool()}
		for _, more := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(more)
		}
		if _, err := leaf.Verify(o); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
		}
		return nil
	}
}
