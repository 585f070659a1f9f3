package bridge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/gorilla/websocket"
)

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	who := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "remote"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, who, who, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	url := strings.Replace(fakeRemote(t, l, func(_ int, c net.Conn) { hello(c, 0); serve(c, nil) }), "mqtt:", "mqtts:", 1)
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"with its certificate": {func(o *Options) { o.CA = ca }, "<nil>"},
		"insecure":             {func(o *Options) { o.Insecure = true }, "<nil>"},
		"a stranger":           {func(*Options) {}, "certificate"},
	} {
		b := newBus()
		o := inOnly(url)
		c.change(&o)
		r := run(t, o, b, nil, nil)
		b.Eventually(t, name, func() bool { return len(b.Conditions) > 0 && strings.Contains(b.Conditions[0], c.want) })
		r.stop()
	}
	o := inOnly(url)
	o.CA = filepath.Join(t.TempDir(), "none.pem")
	if err := New(o, newBus()).Open(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "ca: ") {
		t.Error(err)
	}
	o.CA = os.Args[0]
	if err := New(o, newBus()).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "contains no certificate") {
		t.Error(err)
	}
}

func TestWebSocket(t *testing.T) {
	var mu sync.Mutex
	var got []string
	over := make(chan struct{})
	big := strings.Repeat("x", 100_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
		ws, err := u.Upgrade(w, r, nil)
		if err != nil || ws.Subprotocol() != "mqtt" {
			t.Error(err)
			return
		}
		c := &wsConn{Conn: ws}
		defer c.Close()
		hello(c, 0)
		_ = message3("back/b", big, 1, 9).Write(c)
		serve(c, func(p packets.ControlPacket) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, strings.SplitN(fmt.Sprint(p), ":", 2)[0])
		})
		close(over)
	}))
	defer server.Close()
	threeOnly.Store(server.Listener.Addr().String(), true)
	b := newBus()
	o := options(strings.Replace(server.URL, "http:", "ws:", 1) + "/mqtt")
	o.In, o.Out = []In{{Filter: "back/#"}}, []Out{{Filter: "go/#"}}
	r := run(t, o, b, nil, nil)
	offer(b, "client:x", "go/a", big, false)
	b.Eventually(t, "both ways", func() bool { return b.Acknowledged() >= 1 && len(r.events) == 1 && r.events[0]["text"] == big })
	r.stop()
	<-over
	mu.Lock()
	defer mu.Unlock()
	if s := strings.Join(got, " "); !strings.Contains(s, "PUBLISH") || !strings.Contains(s, "PUBACK") || !strings.HasSuffix(s, "DISCONNECT") {
		t.Error(s)
	}

	refuses := httptest.NewServer(http.NotFoundHandler())
	defer refuses.Close()
	b = newBus()
	run(t, inOnly(strings.Replace(refuses.URL, "http:", "ws:", 1)), b, nil, nil)
	b.Eventually(t, "refused", func() bool {
		return len(b.Conditions) > 0 && strings.Contains(b.Conditions[0], "it answered the WebSocket request with 404 Not Found")
	})
}
