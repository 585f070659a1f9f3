package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus/web"
)

// send writes raw bytes to the server, reads the answer, and closes; then it checks that another
// client is served as before.
func send(t *testing.T, address string, first string, data []byte) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if first != "" {
		_, _ = io.WriteString(c, first)
		_, _ = bufio.NewReader(c).ReadString('\n')
	}
	_, _ = c.Write(data)
	_ = c.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, io.LimitReader(c, 1<<20))
	c.Close()
	resp, err := http.Get("http://" + address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || !strings.Contains(string(body), "ok") {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
}

func FuzzRequest(f *testing.F) {
	_, url := startMQTT(f, web.Options{Local: true, Plugins: noPlugins{}})
	address := strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/mqtt")
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /api/v1/events?filter=%23&since=1h HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"topic\":\"a\"}",
		"GET /assets/../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", "\x16\x03\x01\x02", "DELETE /api/v1/sessions/%00 HTTP/1.1\r\nHost: [::1]\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) { send(t, address, "", data) })
}

func FuzzWebSocket(f *testing.F) {
	_, url := startMQTT(f, web.Options{Local: true})
	address := strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/mqtt")
	hello := fmt.Sprintf("GET /mqtt HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", address)
	f.Add([]byte("\x82\x90\x00\x00\x00\x00\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02ab")) // CONNECT in a masked frame
	f.Add([]byte("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"))               // a length that no client has
	f.Add([]byte("\x81\x80\x00\x00\x00\x00"))
	f.Add([]byte("\x88\x82\x00\x00\x00\x00\x03\xe8"))
	f.Add([]byte("\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) { send(t, address, hello, data) })
}
