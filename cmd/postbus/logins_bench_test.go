package main

// This file measures logins by JSON Web Token, against the whole program: TCP, CONNECT, the session, and
// the end. Each login has a token and a user of its own. The clients run on the same processors.

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

func BenchmarkLoginsByJWT(b *testing.B) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range []struct {
		method jwt.SigningMethod
		key    crypto.Signer
	}{{jwt.SigningMethodRS256, rsaKey}, {jwt.SigningMethodES256, ecKey}, {jwt.SigningMethodEdDSA, edKey}} {
		b.Run(m.method.Alg(), func(b *testing.B) {
			jwk, err := jwkset.NewJWKFromKey(m.key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: "k1", ALG: jwkset.ALG(m.method.Alg())}})
			if err != nil {
				b.Fatal(err)
			}
			set, err := json.Marshal(jwkset.JWKSMarshal{Keys: []jwkset.JWKMarshal{jwk.Marshal()}})
			if err != nil {
				b.Fatal(err)
			}
			dir := b.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "jwks.json"), set, 0o600); err != nil {
				b.Fatal(err)
			}
			addresses, log := running(b, dir, `listen: {mqtt: ["tcp://127.0.0.1:0"], http: "off"}
anonymous: off
jwt: [{issuer: i, audience: postbus, keys: jwks.json, publish: ["user/${claims.sub}/#"], subscribe: ["user/${claims.sub}/#"]}]
`)
			packets := make([][]byte, b.N)
			for i := range packets {
				tok := jwt.NewWithClaims(m.method, jwt.MapClaims{"iss": "i", "aud": "postbus", "sub": fmt.Sprint("u", i), "exp": time.Now().Add(time.Hour).Unix()})
				tok.Header["kid"] = "k1"
				text, err := tok.SignedString(m.key)
				if err != nil {
					b.Fatal(err)
				}
				packets[i] = connectPacket(fmt.Sprint("c", i), text)
			}
			address := strings.TrimPrefix(addresses[0], "tcp://")
			b.ResetTimer()
			var next atomic.Int64
			var clients sync.WaitGroup
			for range 16 {
				clients.Go(func() {
					for {
						n := int(next.Add(1)) - 1
						if n >= b.N {
							return
						}
						if err := logInOnce(address, packets[n]); err != nil {
							b.Errorf("%v\n%s", err, log)
							return
						}
					}
				})
			}
			clients.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Minutes(), "logins/min")
		})
	}
}

// connectPacket is an MQTT 3.1.1 CONNECT with a clean session, an empty user name and a password.
func connectPacket(id, password string) []byte {
	text := func(b []byte, s string) []byte { return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	body := append(text(nil, "MQTT"), 4, 0xC2, 0, 60)
	body = text(text(text(body, id), ""), password)
	return append(binary.AppendUvarint([]byte{0x10}, uint64(len(body))), body...)
}

func logInOnce(address string, packet []byte) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(packet); err != nil {
		return err
	}
	var ack [4]byte
	if _, err := io.ReadFull(c, ack[:]); err != nil {
		return err
	}
	if ack != [4]byte{0x20, 2, 0, 0} {
		return fmt.Errorf("CONNACK %x", ack)
	}
	_, err = c.Write([]byte{0xE0, 0})
	return err
}
