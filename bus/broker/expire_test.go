package broker_test

// This file tests tokens that expire in mid-session, and logins that a reload revokes.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pahov5 "github.com/eclipse/paho.golang/paho"
	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/internal/logtest"
)

// memoryKey is a key that is in no file.
type memoryKey []byte

func (k memoryKey) Key() ([]byte, error)     { return k, nil }
func (k memoryKey) MakeKey() ([]byte, error) { return k, nil }

// withTokens is a policy with the user pi, and makes tokens for it.
func withTokens(t *testing.T) (a broker.Authenticate, mint func(life time.Duration) (string, time.Time)) {
	t.Helper()
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	tokens := auth.NewTokens(memoryKey(auth.NewTokenKey()))
	all := auth.Rules{Publish: []string{"#"}, Subscribe: []string{"#"}}
	p, err := auth.NewPolicy(auth.NewVerifier(0), auth.Options{Users: []auth.User{{Name: "pi", Password: hash, Rules: all}}, Anonymous: &all, Tokens: tokens})
	if err != nil {
		t.Fatal(err)
	}
	pi, _ := p.LookupPassword("pi", "")
	mint = func(life time.Duration) (string, time.Time) {
		token, ends, err := tokens.Mint(pi, life)
		if err != nil {
			t.Fatal(err)
		}
		return token, ends
	}
	return judgeBy(p), mint
}

// TestTokenEndsInMidSession: the client gets a DISCONNECT when its token expires and not before.
// The old token is refused afterwards, and with a new one the client gets all that it missed.
func TestTokenEndsInMidSession(t *testing.T) {
	t.Parallel()
	who, mint := withTokens(t)
	addr, b := start(t, t.TempDir(), bus.Options{SegmentSize: 1 << 20}, broker.Options{Authenticate: who})
	p := paho5{addr, b}
	token, ends := mint(10 * time.Second) // a slow machine needs four seconds to get this far
	type goodbye struct {
		*pahov5.Disconnect
		at time.Time
	}
	disconnects := make(chan goodbye, 1)
	events := make(chan string, 100)
	login := func(token string) func(*pahov5.ClientConfig, *pahov5.Connect) {
		return func(conf *pahov5.ClientConfig, cp *pahov5.Connect) {
			cp.PasswordFlag, cp.Password = true, []byte(token)
			conf.OnServerDisconnect = func(d *pahov5.Disconnect) { disconnects <- goodbye{d, time.Now()} }
			conf.OnPublishReceived = []func(pahov5.PublishReceived) (bool, error){func(r pahov5.PublishReceived) (bool, error) {
				events <- string(r.Packet.Payload)
				return true, nil
			}}
		}
	}
	c, _, _ := p.connect(t, "page", true, login(token))
	p.filter(t, c, "t", 1)
	p.publish(t, "t", 1, false, "0", "1")
	compare(t, take(t, events, 2), []string{"0", "1"})
	sessions := b.Sessions() // the publisher's session may still exist
	if i := slices.IndexFunc(sessions, func(s bus.SessionInfo) bool { return s.Name == "page" }); i < 0 || sessions[i].User != "pi" {
		t.Errorf("the session is not the user's: %+v", sessions)
	}
	select {
	case d := <-disconnects:
		if d.ReasonCode != 0x87 || d.Properties == nil || !strings.Contains(d.Properties.ReasonString, "has expired") || !strings.Contains(d.Properties.ReasonString, "new one") {
			t.Errorf("got %#x %+v", d.ReasonCode, d.Properties)
		}
		if late := d.at.Sub(ends); late < 0 || late > 30*time.Second {
			t.Errorf("the DISCONNECT came %s after the expiry", late)
		}
	case <-time.After(time.Minute):
		t.Fatal("silence")
	}
	p.publish(t, "t", 1, false, "2", "3", "4")

	w := knock(t, addr, v5, "CONNECT id=page keep password="+token)
	if got, err := w.read(answerTimeout); !strings.HasPrefix(got, "CONNACK 86") {
		t.Errorf("with the expired token: %q %v", got, err)
	}
	token, _ = mint(time.Hour)
	c, ack, _ := p.connect(t, "page", true, login(token))
	defer p.bye(c)
	if !ack.SessionPresent {
		t.Error("the session is gone")
	}
	compare(t, take(t, events, 3), []string{"2", "3", "4"})
	settle(b, "page")
	select {
	case e := <-events:
		t.Errorf("%s came twice", e)
	case d := <-disconnects:
		t.Errorf("ended again: %+v", d)
	default:
	}
}

// TestTokenEndsForAll: tokens also expire for MQTT 3, whose connection is only closed, and for a
// client that sends a user name. A password does not expire, and a connection that is closed
// earlier has no timer.
func TestTokenEndsForAll(t *testing.T) {
	t.Parallel()
	who, mint := withTokens(t)
	addr, _ := start(t, t.TempDir(), bus.Options{SegmentSize: 1 << 16}, broker.Options{Authenticate: who})
	in := func(version byte, connect string) *wire {
		w := knock(t, addr, version, "CONNECT "+connect)
		if got, err := w.read(answerTimeout); !strings.HasPrefix(got, "CONNACK 00") {
			t.Fatalf("version %d: %q %v", version, got, err)
		}
		return w
	}
	password := in(v5, "id=password username=pi password=secret") // slow on a small machine
	token, _ := mint(10 * time.Second)
	in(v5, "id=early password="+token).Close()
	named := map[byte]*wire{}
	for _, v := range all {
		named[v] = in(v, fmt.Sprintf("id=named%d username=pi password=%s", v, token))
	}
	for _, v := range all {
		want := "closed"
		if v == v5 {
			want = "DISCONNECT 87"
		}
		if got, err := named[v].read(time.Minute); !strings.HasPrefix(got, want) {
			t.Errorf("version %d: %q %v, want %s", v, got, err, want)
		}
	}
	other := knock(t, addr, v5, "CONNECT id=other username=cat password="+token)
	if got, _ := other.read(answerTimeout); !strings.HasPrefix(got, "CONNACK 86") {
		t.Errorf("with another name: %q", got)
	}
	if got, err := password.read(200 * time.Millisecond); err != errNothing {
		t.Errorf("a password ended: %q", got)
	}
}

// TestReloadBetweenLogins: a right that a reload revokes during a login does not admit the client.
func TestReloadBetweenLogins(t *testing.T) {
	t.Parallel()
	asked, reloaded := make(chan struct{}), make(chan struct{})
	var gone atomic.Bool
	o := broker.Options{Authenticate: func(broker.Credentials) (broker.Identity, error) {
		if gone.Load() {
			return nil, errors.New("the user is gone")
		}
		asked <- struct{}{} // the current policy admitted it
		<-reloaded
		return limited{}, nil
	}}
	b, err := bus.Open(t.Context(), bus.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	addr, k := serve(t, b, o)
	w := knock(t, addr, v5, "CONNECT id=x username=pi password=secret")
	<-asked
	gone.Store(true)
	k.Reauthorize(func(broker.Identity, string, bool) (broker.Identity, error) { return nil, errors.New("gone") })
	close(reloaded)
	if got, err := w.read(answerTimeout); !strings.HasPrefix(got, "CONNACK 86") {
		t.Errorf("got %q %v", got, err)
	}
}

// TestANameWithoutUsers is a device that sends a user name and a password to a bus without users:
// it gets the rights of anonymous, its session belongs to no particular user, and the log reports
// it once.
func TestANameWithoutUsers(t *testing.T) {
	t.Parallel()
	log := new(logtest.Buffer)
	b, err := bus.Open(context.Background(), bus.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	p, err := auth.NewPolicy(auth.NewVerifier(0), auth.Options{Anonymous: &auth.Rules{Publish: []string{"a"}, Subscribe: []string{"a"}}})
	if err != nil {
		t.Fatal(err)
	}
	addr, k := serve(t, b, broker.Options{Logger: slog.New(slog.NewTextHandler(log, nil)), Authenticate: judgeBy(p)})
	for _, name := range []string{"tasmota", "DVES_USER"} { // the second finds the session of the first
		c := client(t, addr, "plug", false, nil, func(o *paho.ClientOptions) { o.SetUsername(name).SetPassword("secret") })
		wait(t, c.Publish("a", 1, false, "on"))
		k.Reauthorize(func(id broker.Identity, client string, local bool) (broker.Identity, error) {
			if user, _ := id.(broker.Login).Login(); user != "" || client != "plug" {
				t.Errorf("the client %q is judged as user %q", client, user)
			}
			return judgeBy(p)(broker.Credentials{Local: local})
		})
		c.Disconnect(50)
	}
	if n := strings.Count(log.String(), "rights of anonymous"); n != 1 {
		t.Errorf("it was logged %d times:\n%s", n, log.String())
	}
}

// TestReloadMovesTheEndOfALogin: after a reload, a connection ends when the new file says, and not when
// the old one said.
func TestReloadMovesTheEndOfALogin(t *testing.T) {
	t.Parallel()
	began := time.Now()
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	cost := time.Since(began) // of a login, on this machine
	v := auth.NewVerifier(0)
	until := func(first, second time.Time) *auth.Policy {
		p, err := auth.NewPolicy(v, auth.Options{Users: []auth.User{
			{Name: "pi", Passwords: []auth.NamedPassword{{Name: "a", Hash: hash, Expires: first}}},
			{Name: "cat", Passwords: []auth.NamedPassword{{Name: "a", Hash: hash, Expires: second}}}}})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	soon := time.Now().Add(3*time.Second + 20*cost)
	b, err := bus.Open(context.Background(), bus.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	addr, k := serve(t, b, broker.Options{Authenticate: judgeBy(until(time.Time{}, soon))})
	in := map[string]*wire{}
	for _, user := range []string{"pi", "cat"} {
		in[user] = knock(t, addr, v5, fmt.Sprintf("CONNECT ka=0 id=%s username=%[1]s password=secret", user))
		if got, err := in[user].read(answerTimeout); !strings.HasPrefix(got, "CONNACK 00") {
			t.Fatalf("%s: %q %v", user, got, err)
		}
	}
	next := until(soon, time.Time{})
	k.Reauthorize(func(id broker.Identity, client string, local bool) (broker.Identity, error) {
		return next.Renew(id.(*auth.Identity), client, local)
	})
	if got, err := in["pi"].read(time.Until(soon) + time.Minute); !strings.HasPrefix(got, "DISCONNECT 87") || time.Now().Before(soon) {
		t.Errorf("%q %v at %s, want it at %s", got, err, time.Now(), soon)
	}
	if _, err := in["cat"].Write(encode("PINGREQ", "", v5)); err != nil {
		t.Fatal(err)
	}
	if got, err := in["cat"].read(answerTimeout); got != "PINGRESP" {
		t.Errorf("%q %v", got, err)
	}
}
