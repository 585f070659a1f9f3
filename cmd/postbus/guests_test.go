package main

// This file has an identity provider and MQTT 5 clients for tests of logins.

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/eclipse/paho.golang/packets"
	pahov5 "github.com/eclipse/paho.golang/paho"
	"github.com/golang-jwt/jwt/v5"
)

// tokenIssuer is an identity provider of a test: keys at a URL, and tokens.
type tokenIssuer struct {
	name string
	key  crypto.Signer
	keys []byte // the JWKS
	web  *httptest.Server
	away atomic.Bool
}

func newIssuer(t *testing.T) *tokenIssuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: "k1", ALG: jwkset.AlgES256, USE: jwkset.UseSig}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(jwkset.JWKSMarshal{Keys: []jwkset.JWKMarshal{jwk.Marshal()}})
	if err != nil {
		t.Fatal(err)
	}
	i := &tokenIssuer{name: "https://id.example", key: key, keys: text}
	i.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if i.away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write(i.keys)
	}))
	t.Cleanup(i.web.Close)
	return i
}

// token is valid for the time unless claims say otherwise.
func (i *tokenIssuer) token(t *testing.T, sub string, life time.Duration, more map[string]any) string {
	t.Helper()
	c := jwt.MapClaims{"iss": i.name, "aud": "postbus", "sub": sub, "iat": time.Now().Unix(), "exp": time.Now().Add(life).Unix()}
	for name, value := range more {
		c[name] = value
	}
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, c)
	tok.Header["kid"] = "k1"
	text, err := tok.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// guest is an MQTT 5 client of a test.
type guest struct {
	*pahov5.Client
	ended chan *pahov5.Disconnect // nil: without one
	conn  net.Conn
}

// dialGuest connects. The error is the reason string of a refusal, after its code.
func dialGuest(t *testing.T, address, id, user, password string, set func(*pahov5.Connect)) (*guest, error) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	c := &guest{ended: make(chan *pahov5.Disconnect, 1)}
	if u.Scheme == "http" {
		if c.conn, err = dialWebSocket(t.Context(), u, nil); err == nil {
			c.conn = packets.NewThreadSafeConn(c.conn) // paho writes from several goroutines
		}
	} else {
		c.conn, err = net.Dial("tcp", u.Host)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.conn.Close() })
	c.Client = pahov5.NewClient(pahov5.ClientConfig{Conn: c.conn, OnClientError: func(error) { c.ended <- nil }, OnServerDisconnect: func(d *pahov5.Disconnect) { c.ended <- d }})
	connect := &pahov5.Connect{ClientID: id, CleanStart: true, KeepAlive: 60, Username: user, UsernameFlag: user != "", Password: []byte(password), PasswordFlag: password != ""}
	if set != nil {
		set(connect)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ack, err := c.Connect(ctx, connect)
	if ack != nil && ack.ReasonCode != 0 {
		return nil, fmt.Errorf("0x%02X %s", ack.ReasonCode, ack.Properties.ReasonString)
	}
	return c, err
}

func loginGuest(t *testing.T, address, id, user, password string, set func(*pahov5.Connect)) *guest {
	t.Helper()
	c, err := dialGuest(t, address, id, user, password, set)
	if err != nil {
		t.Fatalf("%s as %s: %v", user, id, err)
	}
	return c
}

func refusedGuest(t *testing.T, address, user, password, want string) {
	t.Helper()
	if _, err := dialGuest(t, address, "refused", user, password, nil); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%q with %.20q…: %v, want %q", user, password, err, want)
	}
}

// mayPublish reports whether the bus takes an event.
func (c *guest) mayPublish(t *testing.T, topic string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ack, err := c.Publish(ctx, &pahov5.Publish{Topic: topic, QoS: 1})
	if ack == nil {
		t.Fatal(topic, err)
	}
	return ack.ReasonCode < 0x80
}

func (c *guest) waitEnd(t *testing.T, code byte, reason string) {
	t.Helper()
	select {
	case d := <-c.ended:
		if d == nil || d.ReasonCode != code || d.Properties == nil || !strings.Contains(d.Properties.ReasonString, reason) {
			t.Errorf("DISCONNECT %+v, want 0x%02X %q", d, code, reason)
		}
	case <-time.After(time.Minute):
		t.Error("the connection did not end")
	}
}

// call makes an HTTP request and returns the status and the body.
func call(t *testing.T, method, address string, set func(*http.Request), body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	set(r)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(text)
}

func withBearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}
