package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/config"
)

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// waitFor waits until the text is written.
func (s *syncBuffer) waitFor(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(s.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %q in\n%s", text, s)
		}
	}
}

// certificate makes a self-signed certificate for localhost and more names in dir.
func certificate(t *testing.T, dir string, names ...string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: append(names, "localhost"),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestTLSWithClientCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	conf := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(conf, []byte("listen: {mqtt: [\"tls://127.0.0.1:0\"], http: \"off\", tls: {cert: cert.pem, key: key.pem, client_ca: cert.pem}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, log syncBuffer
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int)
	env := []string{"HOME=" + dir}
	go func() {
		m := Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &log, Env: env}
		done <- m.Run(ctx, []string{"run", "--config", conf, "--data-dir", filepath.Join(dir, "d"), "--addr-file", filepath.Join(dir, "addr")})
	}()
	defer func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("exit code %d: %s", code, &log)
		}
	}()
	out.waitFor(t, "config ")
	addr, err := os.ReadFile(filepath.Join(dir, "addr"))
	for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		addr, err = os.ReadFile(filepath.Join(dir, "addr"))
	}
	if err != nil {
		t.Fatal(err)
	}
	url := strings.TrimSpace(string(addr))
	for _, c := range []struct {
		name  string
		flags []string
		code  int
		text  string
	}{
		{"an unknown authority", nil, 1, "hint: name the authority"},
		{"no client certificate", []string{"--cafile", cert}, 1, "error: "},
		{"both", []string{"--cafile", cert, "--cert", cert, "--key", key}, 0, ""},
	} {
		var errs bytes.Buffer
		m := Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Env: env}
		if code := m.Run(context.Background(), append([]string{"pub", "--url", url, "-t", "a", "-m", "b"}, c.flags...)); code != c.code || !strings.Contains(errs.String(), c.text) {
			t.Errorf("%s: exit code %d: %s", c.name, code, &errs)
		}
	}
}

func TestNothingIsLeftOpenAfterAnError(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	c := config.Default()
	dir := t.TempDir()
	c.DataDir, c.PluginsDir = filepath.Join(dir, "d"), filepath.Join(dir, "p")
	c.Listen.MQTT = []config.Listener{{Network: "tcp", Address: free.Addr().String()}}
	c.Listen.HTTP = taken.Addr().String()
	l := &loaded{Config: c}
	s, err := open(context.Background(), l, slog.New(slog.DiscardHandler))
	if err == nil || s != nil || !strings.Contains(err.Error(), "HTTP listener "+taken.Addr().String()) {
		t.Fatalf("server %v, error %v", s, err)
	}
	// The port and the data directory are free again.
	c.Listen.HTTP = ""
	if s, err = open(context.Background(), l, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if len(s.supervisor.List()) != 1 {
		t.Error("it runs and doesn't know its plugins")
	}
	if err := s.close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestSystemdIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "n")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Skip("needs unix datagram sockets:", err)
	}
	defer l.Close()
	dir := t.TempDir()
	var out, log syncBuffer
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan int, 1)
	go func() {
		m := Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &log, Env: []string{"HOME=" + dir, "NOTIFY_SOCKET=" + socket}}
		done <- m.Run(ctx, []string{"run", "--mqtt", "tcp://127.0.0.1:0", "--http", "off"})
	}()
	for _, want := range []string{"READY=1", "STOPPING=1"} {
		b := make([]byte, 64)
		if err := l.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(b)
		if err != nil || string(b[:n]) != want {
			t.Fatalf("got %q, %v; want %s\n%s", b[:n], err, want, &log)
		}
		cancel()
	}
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestColourIsForTerminals(t *testing.T) {
	var errs bytes.Buffer
	m := Main{Stderr: &errs}
	m.report(usagef("no\x1b[31m colour\nhere"))
	if want := "error: no [31m colour; here\nhint: postbus --help, or postbus COMMAND --help, shows the usage\n"; errs.String() != want {
		t.Errorf("got %q, want %q", errs.String(), want)
	}
}
