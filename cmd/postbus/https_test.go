package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/gorilla/websocket"

	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
	"github.com/postbus/postbus/config"
)

// running runs the program with a config until the test ends. The addresses are those in its
// --addr-file.
func running(t testing.TB, dir, text string) (addresses []string, log *syncBuffer) {
	t.Helper()
	conf, addr := filepath.Join(dir, "c.yaml"), filepath.Join(dir, "addr")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log = &syncBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int)
	go func() {
		m := Main{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: log, Env: []string{"HOME=" + dir}}
		done <- m.Run(ctx, []string{"run", "--config", conf, "--data-dir", filepath.Join(dir, "d"), "--addr-file", addr})
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("exit code %d: %s", code, log)
		}
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(addr); err == nil {
			return strings.Fields(string(b)), log
		}
		if time.Now().After(end) {
			t.Fatalf("the bus does not come up: %s", log)
		}
	}
}

// trust returns TLS settings for a client that trusts cert.
func trust(t *testing.T, cert string) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("no certificate in", cert)
	}
	return &tls.Config{RootCAs: pool}
}

func TestHTTPS(t *testing.T) {
	dir := t.TempDir()
	cert, _ := certificate(t, dir, "bus.example.org")
	// A client CA is for tls:// listeners: a browser is not asked for a certificate.
	address := programtest.FreePort(t)
	hook := filepath.Join(dir, "plugins.d", "hook.yaml")
	if err := os.Mkdir(filepath.Dir(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hook, []byte("source: {webhook: {path: /hooks/door}}\npublish: [{topic: home/door}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addresses, _ := running(t, dir, `listen: {mqtt: ["tcp://127.0.0.1:0"], http: "https://`+address+`", tls: {cert: cert.pem, key: key.pem, client_ca: cert.pem}}`)
	base := "https://" + address
	if len(addresses) != 2 || addresses[1] != base {
		t.Fatalf("addresses %q, want %s", addresses, base)
	}
	c := trust(t, cert)
	// When a client offers HTTP/2, the server chooses HTTP/1.1, with which a WebSocket begins.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.Clone(), ForceAttemptHTTP2: true}, Timeout: 10 * time.Second}
	get := func(t *testing.T, path string, header map[string]string) (int, string) {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			r.Header.Set(k, v)
		}
		if h := header["Host"]; h != "" {
			r.Host = h
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.ProtoMajor != 1 {
			t.Errorf("%s over %s", path, resp.Proto)
		}
		return resp.StatusCode, string(body)
	}
	t.Run("pages and API", func(t *testing.T) {
		for path, want := range map[string]string{"/": "<!doctype html>", "/postbus.js": "connect", "/api/v1/plugins": "[", "/healthz": "ok"} {
			if status, body := get(t, path, nil); status != 200 || !strings.Contains(strings.ToLower(body), want) {
				t.Errorf("%s: %d %.80s", path, status, body)
			}
		}
	})
	t.Run("web hooks", func(t *testing.T) {
		for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) { // it is mounted once the plugin runs
			resp, err := client.Post(base+"/hooks/door", "application/json", strings.NewReader(`{"open": true}`))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode == http.StatusNoContent {
				return
			}
			if time.Now().After(end) {
				t.Fatal(resp.Status)
			}
		}
	})
	t.Run("hosts and origins", func(t *testing.T) {
		for _, c := range []struct {
			name   string
			header map[string]string
			status int
		}{
			{"a name of the certificate", map[string]string{"Host": "bus.example.org:8443"}, 200},
			{"another name", map[string]string{"Host": "evil.example.org"}, 421},
			{"our own page", map[string]string{"Origin": base}, 200},
			{"a page without TLS at the same place", map[string]string{"Origin": "http://" + address}, 403},
		} {
			if status, body := get(t, "/healthz", c.header); status != c.status {
				t.Errorf("%s: %d %s", c.name, status, body)
			}
		}
	})
	t.Run("WebSocket", func(t *testing.T) {
		got := make(chan string, 1)
		o := paho.NewClientOptions().AddBroker("wss://" + address + "/mqtt").SetTLSConfig(c.Clone()).SetAutoReconnect(false)
		o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { got <- string(m.Payload()) })
		ws := paho.NewClient(o)
		for _, do := range []func() paho.Token{ws.Connect,
			func() paho.Token { return ws.Subscribe("a/#", 1, nil) },
			func() paho.Token { return ws.Publish("a/b", 1, false, "hello") }} {
			if tok := do(); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
				t.Fatal(tok.Error())
			}
		}
		defer ws.Disconnect(0)
		select {
		case p := <-got:
			if p != "hello" {
				t.Error(p)
			}
		case <-time.After(time.Minute):
			t.Error("the event does not come")
		}
		// A browser offers HTTP/2 with its handshake, and sends its page's origin.
		d := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: c.RootCAs, NextProtos: []string{"h2", "http/1.1"}}, Subprotocols: []string{"mqtt"}}
		conn, _, err := d.Dial("wss://"+address+"/mqtt", http.Header{"Origin": {base}})
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	})
	t.Run("commands", func(t *testing.T) {
		own := "POSTBUS_CONFIG=" + filepath.Join(dir, "c.yaml")
		for _, c := range []struct {
			name string
			args []string
			env  string
			text string // of the error
		}{
			{"an authority", []string{"plugin", "list", "--url", base, "--cafile", cert}, "", ""},
			{"sessions", []string{"sessions", "--url", base, "--cafile", cert}, "", ""},
			{"the bus of this machine, by its config", []string{"plugin", "list"}, own, ""},
			{"no authority", []string{"plugin", "list", "--url", base}, "", "hint: name the authority"},
			{"no TLS", []string{"plugin", "list", "--url", "http://" + address}, "", "hint: it speaks TLS: --url " + base},
		} {
			var out, errs bytes.Buffer
			m := Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Env: []string{"HOME=" + dir, c.env}}
			code := m.Run(context.Background(), c.args)
			if (code == 0) != (c.text == "") || !strings.Contains(errs.String(), c.text) {
				t.Errorf("%s: exit code %d: %s%s", c.name, code, &out, &errs)
			}
		}
	})
}

// TestRenewedCertificate replaces the files while the bus runs, as certbot does.
func TestRenewedCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	var log syncBuffer
	k, err := loadKeys(config.TLS{Cert: cert, Key: key}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	k.every = 0
	l, err := tls.Listen("tcp", "127.0.0.1:0", k.mqtt())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	shown := func() string {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return string(c.ConnectionState().PeerCertificates[0].Raw)
	}
	onDisk := func() string {
		text, err := os.ReadFile(cert)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := pem.Decode(text)
		return string(b.Bytes)
	}
	first := onDisk()
	if shown() != first {
		t.Fatal("another certificate")
	}
	// Only one of the two files is written yet.
	good, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a bad certificate is read, and warned about, once
		if shown() != first || strings.Count(log.String(), "certificate not renewed") != 1 {
			t.Errorf("half a renewal: %s", &log)
		}
	}
	_ = os.WriteFile(key, good, 0o600)
	certificate(t, dir)
	if second := onDisk(); second == first || shown() != second || !strings.Contains(log.String(), "certificate renewed") {
		t.Errorf("not renewed: %s", &log)
	}
	k.every = time.Hour
	certificate(t, dir)
	if shown() == onDisk() {
		t.Error("every handshake looks at the files")
	}
	if renewed, err := k.reload(); !renewed || err != nil || shown() != onDisk() {
		t.Error("SIGHUP does not renew it", err)
	}
}
