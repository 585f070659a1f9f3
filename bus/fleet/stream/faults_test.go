package stream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// certificate is a server's certificate for 127.0.0.1, which signs itself.
func certificate(t *testing.T, from, to time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hub"}, NotBefore: from, NotAfter: to,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// oldServer greets like an nats-server of a version, and answers PING as it is told.
func oldServer(t *testing.T, version, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				fmt.Fprintf(conn, "INFO {\"server_id\":\"x\",\"version\":%q,\"headers\":true,\"max_payload\":1048576,\"proto\":1}\r\n", version)
				b := make([]byte, 4096)
				for {
					n, err := conn.Read(b)
					if err != nil {
						return
					}
					if strings.Contains(string(b[:n]), "PING") {
						fmt.Fprint(conn, answer+"\r\n")
					}
				}
			}()
		}
	}()
	return "nats://" + l.Addr().String()
}

func TestFaults(t *testing.T) {
	day := 24 * time.Hour
	good, pool := certificate(t, time.Now().Add(-day), time.Now().Add(day))
	expired, expiredPool := certificate(t, time.Now().Add(-2*day), time.Now().Add(-day))
	seed, _, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		hub        func(*server.Options)
		shape      *Shape // of the stream that is there; nil: homeShape
		options    func(*Options)
		error      string
		hint       string
		noStream   bool
		createsToo bool // Create fails with the same error
	}{
		{name: "a wrong password", hub: func(o *server.Options) { o.Username, o.Password = "u", "p" }, noStream: true,
			options: func(o *Options) { o.URLs[0] = strings.Replace(o.URLs[0], "//", "//u:wrong@", 1) },
			error:   "u:xxxxx@127.0.0.1:PORT: the hub does not accept the credentials: nats: Authorization Violation", hint: "postbus fleet add", createsToo: true},
		{name: "a key that the hub does not know", hub: func(o *server.Options) {
			_, public, _ := NewKey()
			o.Nkeys = []*server.NkeyUser{{Nkey: public}}
		}, noStream: true, options: func(o *Options) { o.Creds = seed },
			error: "nats://127.0.0.1:PORT: the hub does not accept the credentials: nats: Authorization Violation", hint: "postbus fleet add", createsToo: true},
		{name: "no key at all", noStream: true, options: func(o *Options) { o.Creds = []byte("hello") },
			error: "the credentials hold no key of a user", hint: "begins with SU", createsToo: true},
		{name: "an expired certificate", noStream: true, hub: func(o *server.Options) {
			o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{expired}}
		}, options: func(o *Options) { o.TLS = &tls.Config{RootCAs: expiredPool} },
			error: "the hub's certificate is not valid at this time", hint: "renew the certificate", createsToo: true},
		{name: "an unknown authority", noStream: true, hub: func(o *server.Options) {
			o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{good}}
		}, error: "the hub's certificate is not from a known authority", hint: "add ca:", createsToo: true},
		{name: "a certificate of another host", noStream: true, hub: func(o *server.Options) {
			o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{good}}
		}, options: func(o *Options) {
			o.TLS = &tls.Config{RootCAs: pool}
			o.URLs[0] = strings.Replace(o.URLs[0], "127.0.0.1", "localhost", 1)
		}, error: "the hub's certificate is of another host", hint: "use a name that is in the certificate", createsToo: true},
		{name: "tls:// without TLS", noStream: true, options: func(o *Options) { o.URLs[0] = strings.Replace(o.URLs[0], "nats:", "tls:", 1) },
			error: "the hub does not offer TLS", hint: "nats://", createsToo: true},
		{name: "no JetStream", noStream: true, hub: func(o *server.Options) { o.JetStream = false },
			error: "JetStream is not enabled on the hub", hint: "jetstream {}", createsToo: true},
		{name: "an old server", noStream: true, options: func(o *Options) { o.URLs = []string{oldServer(t, "2.11.9", "PONG")} },
			error: "the hub runs nats-server 2.11.9, which is too old", hint: "install nats-server 2.12 or newer", createsToo: true},
		{name: "expired credentials", noStream: true, options: func(o *Options) {
			o.URLs = []string{oldServer(t, "2.15.0", "-ERR 'User Authentication Expired'")}
		}, error: "the credentials have expired", hint: "get new ones", createsToo: true},
		{name: "revoked credentials", noStream: true, options: func(o *Options) {
			o.URLs = []string{oldServer(t, "2.15.0", "-ERR 'User Authentication Revoked'")}
		}, error: "the credentials were revoked", hint: "get new ones", createsToo: true},
		{name: "no stream", noStream: true, error: "the hub has no stream PBF_home", hint: "postbus fleet init"},
		{name: "a small max_payload", noStream: true, hub: func(o *server.Options) { o.MaxPayload = 256 << 10 },
			error: "the hub's max_payload is 262144 bytes, too small for messages of 327680", hint: "set max_payload to 328192 or more", createsToo: true},
		{name: "a stream with other subjects", shape: &Shape{Subjects: []string{"pbf.home.*"}}, options: func(o *Options) { o.Shape = &homeShape },
			error: "the stream PBF_home has another shape: subjects are pbf.home.*, which lack pbf.home.>", hint: "nats stream edit", createsToo: true},
		{name: "a stream with small messages", shape: &Shape{Subjects: []string{"pbf.home.>"}, MaxMessage: 1000},
			error: "the stream PBF_home has another shape: max_msg_size is 1000, less than 328192", hint: "nats stream edit"},
		{name: "a stream in memory that refuses", shape: &Shape{Subjects: []string{"pbf.home.>"}, Storage: "memory", Discard: "new", MaxAge: time.Hour},
			options: func(o *Options) { o.Shape = &Shape{Storage: "file", Discard: "old", MaxAge: 7 * day, Replicas: 3} },
			error:   "the stream PBF_home has another shape: max_age is 1h0m0s, not 168h0m0s; discard is new, not old; storage is memory, not file; num_replicas is 1, not 3", hint: "nats stream edit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := startHub(t, c.hub)
			o := h.options()
			if !c.noStream {
				shape := homeShape
				if c.shape != nil {
					shape = *c.shape
				}
				if err := Create(t.Context(), o, shape); err != nil {
					t.Fatal(err)
				}
			}
			if c.options != nil {
				c.options(&o)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			check := func(what string, err error) {
				t.Helper()
				var f *Fault
				if !errors.As(err, &f) {
					t.Errorf("%s: got %v, which is no fault", what, err)
					return
				}
				want := strings.Replace(c.error, "PORT", fmt.Sprint(h.opts.Port), 1)
				if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "wrong@") {
					t.Errorf("%s: got the error  %s\nwant %s", what, err, want)
				}
				if !strings.Contains(f.Hint(), c.hint) {
					t.Errorf("%s: the hint %q lacks %q", what, f.Hint(), c.hint)
				}
			}
			s, err := Open(ctx, o)
			if err == nil {
				s.Close()
			}
			check("open", err)
			if c.createsToo {
				check("create", Create(ctx, o, homeShape))
			}
		})
	}
}

func TestAStreamThatIsNoLog(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	nc := open(t, h.options()).link.nc
	for config, want := range map[string]string{
		`"retention":"workqueue"`:                                "retention is workqueue, not limits: messages vanish when they are read",
		`"max_msgs_per_subject":1`:                               "max_msgs_per_subject is 1: older messages of a subject vanish",
		`"allow_rollup_hdrs":true`:                               "allow_rollup_hdrs is set: any bus could remove the others' messages",
		`"allow_msg_ttl":true`:                                   "allow_msg_ttl is set: any bus could store messages that vanish",
		`"allow_msg_schedules":true`:                             "allow_msg_schedules is set: any bus could forge messages of others",
		`"allow_msg_counter":true`:                               "allow_msg_counter is set: it stores numbers only",
		`"no_ack":true`:                                          "no_ack is set: messages are not acknowledged",
		`"sources":[{"name":"PBF_home"}]`:                        "it has sources: messages of other streams are mixed in",
		`"persist_mode":"async"`:                                 "persist_mode is async: messages are acknowledged before they are written",
		`"subject_transform":{"src":"pbf.other.>","dest":"x.>"}`: "it has a subject_transform: messages change their subjects",
	} {
		m, err := nc.Request("$JS.API.STREAM.CREATE.PBF_other", []byte(`{"name":"PBF_other","subjects":["pbf.other.>"],`+config+`}`), 5*time.Second)
		if err != nil || strings.Contains(string(m.Data), `"error"`) {
			t.Fatalf("%s: %s, %v", config, m.Data, err)
		}
		o := h.options()
		o.Stream = "PBF_other"
		if s, err := Open(t.Context(), o); err == nil {
			s.Close()
			t.Errorf("%s is accepted", config)
		} else if !isFault(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
		if _, err := nc.Request("$JS.API.STREAM.DELETE.PBF_other", nil, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTLSAndKeys(t *testing.T) {
	good, pool := certificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	seed, public, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	h := startHub(t, func(o *server.Options) {
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{good}}
		o.Nkeys = []*server.NkeyUser{{Nkey: public}}
	})
	o := h.options()
	o.TLS = &tls.Config{RootCAs: pool}
	for _, creds := range []string{string(seed), string(seed) + "\n", "-----BEGIN USER NKEY SEED-----\n" + string(seed) + "\n------END USER NKEY SEED------\n"} {
		o.Creds = []byte(creds)
		createHome(t, o)
		s := open(t, o)
		if err := s.SelfTest(t.Context(), "pbf.home.attic.test"); err != nil {
			t.Error(err)
		}
	}
}

func TestCreateChangesNothing(t *testing.T) {
	h := startHub(t, nil)
	o := h.options()
	shape := Shape{Subjects: []string{"pbf.home.>"}, MaxAge: 7 * 24 * time.Hour, MaxBytes: 1 << 20, Discard: "old", Storage: "file", Replicas: 1}
	for range 2 {
		if err := Create(t.Context(), o, shape); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, o)
	before, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if list := before.Differences(shape); len(list) > 0 {
		t.Error(list)
	}
	if before.Version != server.VERSION || before.MaxPayload != 1<<20 || before.Now.IsZero() || before.Window != 2*time.Minute || before.Server != "hub" {
		t.Errorf("%+v", before)
	}
	other := shape
	other.MaxAge, other.MaxBytes = time.Hour, 2<<20
	err = Create(t.Context(), o, other)
	if !isFault(err) || !strings.Contains(err.Error(), "max_age is 168h0m0s, not 1h0m0s; max_bytes is 1048576, not 2097152") {
		t.Error(err)
	}
	if after, err := s.Info(t.Context()); err != nil || after.MaxAge != before.MaxAge || after.MaxBytes != before.MaxBytes {
		t.Errorf("%+v, %v", after, err)
	}
	o.Stream = "PBF_second"
	if err := Create(t.Context(), o, shape); !isFault(err) || !strings.Contains(err.Error(), "another stream on the hub takes these subjects") {
		t.Error(err)
	}
	shape.Subjects, shape.Replicas = []string{"pbf.second.>"}, 3
	if err := Create(t.Context(), o, shape); !isFault(err) || !strings.Contains(err.Error(), "too few servers") {
		t.Error(err)
	}
}
