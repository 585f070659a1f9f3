package main

// This file tests a device with mbedTLS, the TLS of esp-mqtt: a small program in C.

import (
	"bufio"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// device is the running program.
type device struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    interface{ Close() error }
	lines chan string
	seen  []string
}

// until waits for a line, and returns all before it since the last call.
func (d *device) until(want string) (before []string) {
	d.t.Helper()
	for end := time.After(time.Minute); ; {
		select {
		case line, ok := <-d.lines:
			if !ok {
				d.t.Fatalf("the device ended before it printed %q: %q", want, d.seen)
			}
			d.seen = append(d.seen, line)
			if line == want {
				before, d.seen = d.seen, nil
				return before
			}
		case <-end:
			d.t.Fatalf("the device does not print %q: %q", want, d.seen)
		}
	}
}

// TestADeviceWithMbedTLS: it logs in by certificate, is killed, and gets what it has missed, in order.
func TestADeviceWithMbedTLS(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is missing: install the Debian packages gcc and libc6-dev")
	}
	if exec.Command("gcc", "-fsyntax-only", "-include", "mbedtls/ssl.h", "-x", "c", os.DevNull).Run() != nil {
		t.Skip("mbedTLS is missing: install the Debian package libmbedtls-dev")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "esp")
	if out, err := exec.Command("gcc", "-Wall", "-Wextra", "-Werror", "-O1", "-o", program, "testdata/esp/esp.c", "-lmbedtls", "-lmbedx509", "-lmbedcrypto").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ca, cert := newAuthority(t, "devices"), filepath.Join(dir, "ca.pem")
	save(t, cert, ca.pem())
	save(t, filepath.Join(dir, "crl.pem"), ca.list(time.Now().Add(time.Hour)))
	files := func(name string, c *x509.Certificate, key any) {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		save(t, filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
		save(t, filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	own := ca.client("esp")
	files("esp", own.Leaf, own.PrivateKey)
	// mbedTLS wants a subject, and a host name.
	server, serverKey := ca.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	files("bus", server, serverKey)
	addresses, log := running(t, dir, `listen: {mqtt: ["tls://127.0.0.1:0"], http: "off", tls: {cert: bus.pem, key: bus.key, client_ca: ca.pem, client_crl: crl.pem}}
anonymous: off
users:
  - {name: esp, certificates: ["CN=esp"], client_id: "${user}", publish: ["dev/${user}/#"], subscribe: ["cmd/${user}/#"]}
  - {name: app, certificates: ["CN=app"], publish: ["cmd/#"], subscribe: ["dev/#"]}
`)
	address := strings.TrimPrefix(addresses[0], "tls://")
	_, port, _ := net.SplitHostPort(address)
	start := func() *device {
		t.Helper()
		d := &device{t: t, cmd: exec.Command(program, "localhost", port, cert, filepath.Join(dir, "esp.pem"), filepath.Join(dir, "esp.key"), "esp"), lines: make(chan string, 1000)}
		in, err := d.cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		d.in = in
		out, err := d.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := d.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(d.lines)
			for s := bufio.NewScanner(out); s.Scan(); {
				d.lines <- s.Text()
			}
		}()
		t.Cleanup(func() { _ = d.cmd.Process.Kill() })
		return d
	}

	events := make(chan string, 1000)
	conf := trust(t, cert)
	appCert := ca.client("app")
	conf.Certificates = append(conf.Certificates, appCert)
	app := paho.NewClient(paho.NewClientOptions().AddBroker("ssl://" + address).SetClientID("app").SetTLSConfig(conf).SetAutoReconnect(false).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { events <- m.Topic() + "=" + string(m.Payload()) }))
	do := func(tok paho.Token) {
		t.Helper()
		if !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
			t.Fatal(tok.Error(), log)
		}
	}
	do(app.Connect())
	defer app.Disconnect(0)
	do(app.Subscribe("dev/#", 1, nil))
	want := func(list ...string) {
		t.Helper()
		for _, w := range list {
			select {
			case got := <-events:
				if got != w {
					t.Fatalf("%s, want %s", got, w)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%s does not come: %s", w, log)
			}
		}
	}
	command := func(n int) { t.Helper(); do(app.Publish("cmd/esp/n", 1, false, fmt.Sprint(n))) }
	numbers := func(first, last int, format string) (list []string) {
		for n := first; n <= last; n++ {
			list = append(list, fmt.Sprintf(format, n))
		}
		return list
	}

	d := start()
	tls := d.until("connected 0 present 0")[0]
	if !strings.HasPrefix(tls, "tls TLSv1.2 TLS-ECDHE-ECDSA-") {
		t.Error(tls)
	}
	d.until("subscribed 1")
	want("dev/esp/status=online") // and nothing on dev/another/status
	for n := range 10 {
		command(n)
	}
	want(numbers(0, 9, "dev/esp/echo=%d")...)
	d.until("event cmd/esp/n 9")
	d.until("pong")

	if err := d.cmd.Process.Kill(); err != nil { // SIGKILL
		t.Fatal(err)
	}
	want("dev/esp/status=offline")
	for n := 10; n < 300; n++ {
		command(n)
	}
	d = start()
	d.until("connected 0 present 1")
	before := d.until("event cmd/esp/n 299")
	got := slices.DeleteFunc(before, func(line string) bool { return !strings.HasPrefix(line, "event ") })
	if !slices.Equal(got, numbers(10, 299, "event cmd/esp/n %d")) {
		t.Errorf("missed events, in this order: %q", got)
	}
	// What it publishes itself may overtake: the status follows the subscription.
	var echoes []string
	for len(echoes) < 290 {
		select {
		case e := <-events:
			if strings.HasPrefix(e, "dev/esp/echo=") {
				echoes = append(echoes, e)
			} else if e != "dev/esp/status=online" {
				t.Error(e)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%d answers, want 290", len(echoes))
		}
	}
	if !slices.Equal(echoes, numbers(10, 299, "dev/esp/echo=%d")) {
		t.Errorf("answers: %q", echoes)
	}

	// It says goodbye, so that no last will follows.
	d.in.Close()
	d.until("bye")
	// Revoked, it does not come back.
	save(t, filepath.Join(dir, "crl.pem"), ca.list(time.Now().Add(time.Hour), own.Leaf.SerialNumber))
	for end := time.Now().Add(time.Minute); ; { // the list is in force a second later
		d = start()
		refused := false
		for line := range d.lines {
			refused = refused || strings.HasPrefix(line, "error ") || strings.HasPrefix(line, "ended ")
			if strings.HasPrefix(line, "connected ") {
				d.in.Close()
			}
		}
		_ = d.cmd.Wait()
		if refused {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a revoked device connects: %s", log)
		}
	}
	log.waitFor(t, "client refused: its certificate is revoked")
	for len(events) > 0 {
		if e := <-events; e == "dev/esp/status=offline" {
			t.Error("a last will after DISCONNECT")
		}
	}
}
