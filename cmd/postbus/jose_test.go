package main

// This file tests tokens of an issuer that is made with jose, a library that many Node servers use.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestJWTsOfJose(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is missing: install the Debian package nodejs")
	}
	if _, err := os.Stat("testdata/jose/node_modules/jose"); err != nil {
		t.Skip("jose is missing: run `npm ci` in cmd/postbus/testdata/jose")
	}
	node := exec.Command("node", "testdata/jose/issuer.js")
	node.Stderr = os.Stderr
	in, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := node.Wait(); err != nil {
			t.Error(err)
		}
	})
	lines := bufio.NewScanner(out)
	read := func() string {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("the issuer ended", lines.Err())
		}
		return lines.Text()
	}
	token := func(alg, sub string, rotate bool) string {
		t.Helper()
		if err := json.NewEncoder(in).Encode(map[string]any{"alg": alg, "sub": sub, "rotate": rotate}); err != nil {
			t.Fatal(err)
		}
		return read()
	}
	addresses, _ := running(t, t.TempDir(), fmt.Sprintf(`listen: {mqtt: ["tcp://127.0.0.1:0"], http: "127.0.0.1:0"}
anonymous: off
jwt: [{issuer: "https://jose.example", audience: postbus, keys: %q, user: "org${claims.org.id}-${claims.sub}", publish: ["${claims.org.id}/${claims.scope}/${claims.sub}"]}]
`, read()))
	for _, alg := range []string{"RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"} {
		sub := strings.ToLower(alg)
		for _, where := range addresses {
			c := loginGuest(t, where, alg, "org7-"+sub, token(alg, sub, false), nil)
			if !c.mayPublish(t, "7/bus/"+sub) || c.mayPublish(t, "7/bus/other") {
				t.Errorf("%s at %s: wrong rights", alg, where)
			}
		}
		if status, body := call(t, "POST", addresses[1]+"/api/v1/publish", withBearer(token(alg, sub, false)), `{"topic": "7/bus/`+sub+`", "payload": "1"}`); status != 200 {
			t.Errorf("%s over HTTP: %d %s", alg, status, body)
		}
	}
	// The keys were fetched less than a minute ago, so a key that is newer is not known yet.
	refusedGuest(t, addresses[0], "", token("ES256", "x", true), "the issuer has no such key (kid) yet")
}
