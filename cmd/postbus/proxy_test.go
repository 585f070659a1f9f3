package main

// This file follows docs/https.md: the bus behind nginx and Caddy, with the config in that
// document.

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
)

// documented returns the block of a kind in docs/https.md that contains a text.
func documented(t *testing.T, kind, holds string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/https.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(text), "```"+kind+"\n")[1:] {
		if block, _, _ := strings.Cut(part, "```"); strings.Contains(block, holds) {
			return block
		}
	}
	t.Fatalf("docs/https.md has no %s with %q", kind, holds)
	return ""
}

// changed replaces texts, which must exist.
func changed(t *testing.T, s string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(s, pairs[i]) {
			t.Fatalf("no %q in:\n%s", pairs[i], s)
		}
		s = strings.ReplaceAll(s, pairs[i], pairs[i+1])
	}
	return s
}

// proxy starts a proxy in front of the bus at to, and returns its address.
type proxy func(t *testing.T, dir, cert, key, to string) (address string)

func spawn(t *testing.T, address string, argv ...string) {
	t.Helper()
	var out syncBuffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_DATA_HOME=", "XDG_CONFIG_HOME=")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not come up:\n%s", argv[0], &out)
		}
	}
}

// nginx uses the documented lines, except those of drop.
func nginx(drop ...string) proxy {
	return func(t *testing.T, dir, cert, key, to string) string {
		address := programtest.FreePort(t)
		block := changed(t, documented(t, "nginx", "proxy_pass"), "listen 443", "listen "+address, "127.0.0.1:8080", to,
			"/etc/ssl/bus/fullchain.pem", cert, "/etc/ssl/bus/privkey.pem", key)
		var kept []string
		for _, line := range strings.Split(block, "\n") {
			if !containsAny(line, drop) {
				kept = append(kept, line)
			}
		}
		temp := ""
		for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			temp += fmt.Sprintf("%s_temp_path %s/%s;\n", name, dir, name)
		}
		file := filepath.Join(dir, "nginx.conf")
		conf := "daemon off; master_process off; pid " + dir + "/pid; error_log stderr; events {} http { access_log off;\n" + temp + strings.Join(kept, "\n") + "}\n"
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		spawn(t, address, "nginx", "-p", dir, "-c", file)
		return address
	}
}

func containsAny(s string, list []string) bool {
	for _, x := range list {
		if strings.Contains(s, x) {
			return true
		}
	}
	return false
}

func caddy(t *testing.T, dir, cert, key, to string) string {
	address := programtest.FreePort(t)
	_, port, _ := net.SplitHostPort(address)
	block := changed(t, documented(t, "Caddyfile", "reverse_proxy"), "bus.example.org {", "https://bus.example.org:"+port+" {\n\tbind 127.0.0.1\n\ttls "+cert+" "+key, "127.0.0.1:8080", to)
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte("{\n\tadmin off\n\tauto_https disable_redirects\n}\n"+block), 0o600); err != nil {
		t.Fatal(err)
	}
	spawn(t, address, "caddy", "run", "--config", file, "--adapter", "caddyfile")
	return address
}

func TestBehindAProxy(t *testing.T) {
	for _, name := range []string{"nginx", "caddy"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("needs nginx-light and caddy:", err)
		}
	}
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		proxy proxy
		off   bool // anonymous access is off, as the document recommends
		bare  bool // the proxy adds no header, and sends its own Host
		open  bool // every client of the proxy has all rights
	}{
		{"nginx", nginx(), true, false, false},
		{"caddy", caddy, true, false, false},
		{"nginx, but anonymous isn't off", nginx(), false, false, false},
		{"caddy, but anonymous isn't off", caddy, false, false, false},
		{"nginx with no header of a proxy", nginx("Host", "X-Forwarded-For"), true, true, false},
		{"what the document warns of", nginx("Host", "X-Forwarded-For"), false, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			cert, key := certificate(t, dir, "bus.example.org")
			inside := programtest.FreePort(t)
			text := changed(t, documented(t, "yaml", "origins"), "127.0.0.1:8080", inside, "$argon2id$…", hash, "listen:\n", "listen:\n  mqtt: [\"tcp://127.0.0.1:0\"]\n")
			if !c.off {
				text = changed(t, text, "anonymous: off", "#")
			}
			running(t, dir, text)
			at := c.proxy(t, dir, cert, key, inside)
			_, port, _ := net.SplitHostPort(at)
			outside := "bus.example.org:" + port
			trusted := trust(t, cert)
			trusted.ServerName = "bus.example.org"
			client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: trusted.Clone(), ForceAttemptHTTP2: true}}
			ask := func(method, path, password string, body io.Reader) int {
				r, err := http.NewRequest(method, "https://"+at+path, body)
				if err != nil {
					t.Fatal(err)
				}
				r.Host = outside
				r.Header.Set("Content-Type", "application/json")
				if !c.bare {
					r.Header.Set("Origin", "https://"+outside) // as the dashboard's
				}
				if password != "" {
					r.SetBasicAuth("pi", password)
				}
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				_, _ = io.Copy(io.Discard, resp.Body)
				return resp.StatusCode
			}
			publish := func(password string) int {
				return ask(http.MethodPost, "/api/v1/publish", password, strings.NewReader(`{"topic": "a/b", "payload": "1"}`))
			}
			webSocket := func(password string) error {
				o := paho.NewClientOptions().AddBroker("wss://" + at + "/mqtt").SetTLSConfig(trusted.Clone()).SetAutoReconnect(false).
					SetHTTPHeaders(http.Header{"Host": {outside}, "Origin": {"https://" + outside}}).SetConnectTimeout(time.Minute)
				if password != "" {
					o.SetUsername("pi").SetPassword(password)
				}
				c := paho.NewClient(o)
				tok := c.Connect()
				if !tok.WaitTimeout(time.Minute) {
					return fmt.Errorf("no answer")
				}
				if tok.Error() != nil {
					return tok.Error()
				}
				defer c.Disconnect(0)
				p := c.Publish("a/b", 1, false, "hello")
				p.WaitTimeout(time.Minute)
				return p.Error()
			}
			if c.open {
				if status := publish(""); status != 200 {
					t.Errorf("without a password: %d; it is better than the document says", status)
				}
				return
			}
			if status := publish(""); status != 401 {
				t.Errorf("without a password: %d", status)
			}
			if webSocket("") == nil {
				t.Error("a WebSocket without a password got in")
			}
			if c.bare {
				return
			}
			if status := publish("secret"); status != 200 {
				t.Errorf("with a password: %d", status)
			}
			if err := webSocket("secret"); err != nil {
				t.Error("a WebSocket with a password:", err)
			}
			if status := ask(http.MethodGet, "/", "", nil); status != 200 {
				t.Errorf("the dashboard: %d", status)
			}
		})
	}
}

// TestProxyProtocol: bytes in front of a client's login, such as a header of the PROXY protocol, end the
// connection. The address that such a header claims is believed on no listener.
func TestProxyProtocol(t *testing.T) {
	dir := t.TempDir()
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	addresses, log := running(t, dir, fmt.Sprintf("listen: {mqtt: [\"tcp://127.0.0.1:0\"], http: \"127.0.0.1:0\"}\nanonymous: off\nusers: [{name: pi, password: %q, publish: [\"#\"]}]\n", hash))
	login := []byte("\x10\x1a\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02id\x00\x02pi\x00\x06secret")
	headers := []string{"", "PROXY TCP4 203.0.113.7 127.0.0.1 50000 1883\r\n", "PROXY TCP6 2001:db8::7 ::1 50000 1883\r\n", "PROXY UNKNOWN\r\n", "PROXY TCP4 203.0.113.7 127.0.0.1 50000 1883",
		"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\x7f\x00\x00\x01\xc3\x50\x07\x5b", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "\r\n\r\n\x00\r\nQUIT\n\x21\x21\xff\xff", "\x00", "\xc0\x00"}
	exchange := func(t *testing.T, address string, data []byte) (answer []byte) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = c.Write(data)
		_ = c.(*net.TCPConn).CloseWrite()
		answer, err = io.ReadAll(io.LimitReader(c, 1<<16))
		if err != nil && os.IsTimeout(err) {
			t.Fatalf("the connection does not end after %q", answer)
		}
		return answer
	}
	mqtt, web := strings.TrimPrefix(addresses[0], "tcp://"), strings.TrimPrefix(addresses[1], "http://")
	for _, text := range headers {
		header := []byte(text)
		if answer := exchange(t, mqtt, append(header[:len(header):len(header)], login...)); (len(header) > 0) == bytes.HasPrefix(answer, []byte{0x20, 2, 0, 0}) {
			t.Errorf("%q is answered with %q", header, answer)
		}
		exchange(t, web, append(header[:len(header):len(header)], "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"...))
		if strings.Contains(log.String(), "203.0.113.7") {
			t.Errorf("an address that was only claimed is logged: %s", log)
		}
	}
}
