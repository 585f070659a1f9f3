package auth

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// cheap is a hash that costs microseconds, for tests of other features.
func cheap(t testing.TB, password string) string {
	t.Helper()
	h := phc{memory: 64, passes: 1, threads: 1, salt: []byte("saltsaltsaltsalt")}
	h.key = h.derive(password, keySize)
	return h.String()
}

func TestHash(t *testing.T) {
	h, err := Hash("hunter2")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(h, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %q", h)
	}
	if again, _ := Hash("hunter2"); again == h {
		t.Error("two hashes of one password are equal: no salt")
	}
	for password, want := range map[string]bool{"hunter2": true, "hunter3": false, "": false, "hunter2\x00": false} {
		if ok, err := Verify(h, password); ok != want || err != nil {
			t.Errorf("Verify(%q) = %v, %v", password, ok, err)
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", MaxPassword+1)} {
		if _, err := Hash(bad); err == nil {
			t.Errorf("a password of %d bytes was hashed", len(bad))
		}
	}
}

// The vector is from the reference implementation:
// echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32
func TestVerifyKnownHash(t *testing.T) {
	ok, err := Verify("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password")
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
}

func TestVerifyRefusesHostileHashes(t *testing.T) {
	const salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for name, h := range map[string]string{
		"empty":            "",
		"plain":            "password",
		"argon2i":          "$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + key,
		"old version":      "$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + key,
		"no version":       "$argon2id$m=64,t=1,p=1$" + salt + "$" + key,
		"4 TiB":            "$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + key,
		"512 MiB":          "$argon2id$v=19$m=524288,t=1,p=1$" + salt + "$" + key,
		"many passes":      "$argon2id$v=19$m=64,t=4294967295,p=1$" + salt + "$" + key,
		"much in all":      "$argon2id$v=19$m=262144,t=16,p=1$" + salt + "$" + key,
		"many threads":     "$argon2id$v=19$m=4096,t=1,p=255$" + salt + "$" + key,
		"threads wrap":     "$argon2id$v=19$m=4096,t=1,p=257$" + salt + "$" + key,
		"zero passes":      "$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + key,
		"zero threads":     "$argon2id$v=19$m=64,t=1,p=0$" + salt + "$" + key,
		"too little":       "$argon2id$v=19$m=7,t=1,p=1$" + salt + "$" + key,
		"leading zero":     "$argon2id$v=19$m=064,t=1,p=1$" + salt + "$" + key,
		"sign":             "$argon2id$v=19$m=+64,t=1,p=1$" + salt + "$" + key,
		"other order":      "$argon2id$v=19$t=1,m=64,p=1$" + salt + "$" + key,
		"more parameters":  "$argon2id$v=19$m=64,t=1,p=1,x=1$" + salt + "$" + key,
		"padding":          "$argon2id$v=19$m=64,t=1,p=1$" + salt + "=$" + key,
		"short salt":       "$argon2id$v=19$m=64,t=1,p=1$YWJj$" + key,
		"short key":        "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$YWJj",
		"no key":           "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$",
		"long key":         "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + strings.Repeat("A", 1<<20),
		"line break":       "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + key + "\n",
		"trailing dollar":  "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + key + "$",
		"stray bits":       "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + key[:len(key)-1] + "d",
		"something before": "x$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + key,
	} {
		if ok, err := Verify(h, "password"); ok || !errors.Is(err, ErrHash) {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(s)
		if err != nil {
			if !errors.Is(err, ErrHash) {
				t.Fatal(err)
			}
			return
		}
		if h.String() != s {
			t.Fatalf("%q was read as %q", s, h)
		}
		if h.memory > maxMemory || uint64(h.memory)*uint64(h.passes) > maxWork || h.threads > maxThreads {
			t.Fatalf("out of bounds: %q", s)
		}
	})
}

func policy(t testing.TB, o Options) *Policy {
	t.Helper()
	p, err := NewPolicy(NewVerifier(1), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAuthenticate(t *testing.T) {
	everything := &Rules{Publish: []string{"#"}, Subscribe: []string{"#"}}
	users := []User{{Name: "pi", Password: cheap(t, "right")}}
	for _, c := range []struct {
		name           string
		o              Options
		user, password string
		have, local    bool
		want           error
	}{
		{"right password", Options{Users: users}, "pi", "right", true, false, nil},
		{"wrong password", Options{Users: users}, "pi", "wrong", true, true, ErrRefused},
		{"unknown user", Options{Users: users, Anonymous: everything}, "po", "right", true, true, ErrRefused},
		{"name without password", Options{Users: users, Anonymous: everything}, "pi", "", false, true, ErrRefused},
		{"empty password", Options{Users: users}, "pi", "", true, true, ErrRefused},
		{"password without name", Options{Users: users, Anonymous: everything}, "", "right", true, true, ErrRefused},
		{"huge password", Options{Users: users}, "pi", strings.Repeat("x", 65535), true, true, ErrRefused},
		{"anonymous, local", Options{Anonymous: everything}, "", "", false, true, nil},
		{"anonymous, remote", Options{Anonymous: everything}, "", "", false, false, ErrAnonymous},
		{"anonymous, remote on purpose", Options{Anonymous: everything, AnonymousRemote: true}, "", "", false, false, nil},
		{"anonymous off", Options{Users: users}, "", "", false, true, ErrAnonymous},
		{"a name where there are no users", Options{Anonymous: everything}, "pi", "right", true, true, nil},
		{"a name without password where there are no users", Options{Anonymous: everything}, "pi", "", false, true, nil},
		{"a name where there are no users, remote", Options{Anonymous: everything}, "pi", "right", true, false, ErrRefused},
		{"a name where there are no users, remote on purpose", Options{Anonymous: everything, AnonymousRemote: true}, "pi", "right", true, false, nil},
		{"a password without name where there are no users", Options{Anonymous: everything}, "", "right", true, true, ErrRefused},
		{"zero options", Options{}, "", "", false, true, ErrAnonymous},
		{"zero options, user", Options{}, "pi", "right", true, true, ErrRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := policy(t, c.o).Authenticate(c.user, c.password, c.have, c.local, "192.0.2.1:1")
			if !errors.Is(err, c.want) || (err == nil) != (id != nil) {
				t.Fatalf("%v, %v; want %v", id, err, c.want)
			}
			name := c.user
			if len(c.o.Users) == 0 {
				name = ""
			}
			if id != nil && (id.Name != name || id.Anonymous != (name == "")) {
				t.Errorf("identity %q, anonymous %v", id.Name, id.Anonymous)
			}
		})
	}
}

func TestNewPolicyNamesEveryMistake(t *testing.T) {
	_, err := NewPolicy(NewVerifier(1), Options{
		Users: []User{
			{Name: "a", Password: "secret"},
			{Name: "b", Password: cheap(t, "x"), Rules: Rules{Publish: []string{"a#"}}},
			{Name: "c", Password: cheap(t, "x")}, {Name: "c", Password: cheap(t, "x")},
			{Name: "", Password: cheap(t, "x")},
		},
		Anonymous: &Rules{Deny: []string{""}},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`user "a": password`, `user "b": publish`, `user "c": a name`, `user "": a name`, "anonymous: deny"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Error("the error shows the password")
	}
}

func TestRights(t *testing.T) {
	p := policy(t, Options{Users: []User{{Name: "pi", Password: cheap(t, "x"), Rules: Rules{
		Publish:   []string{"home/#", "out", "+/state", "$bus/#", "$SYS/#"},
		Subscribe: []string{"home/#", "$bus/#", "log/+/error"},
		Deny:      []string{"home/safe/#", "home/+/pin"},
	}}}, Anonymous: &Rules{Publish: []string{"#"}, Subscribe: []string{"#"}}})
	pi, _ := p.Lookup("pi")
	anybody, _ := p.Lookup("")

	for topic, want := range map[string]bool{
		"home": true, "home/lamp": true, "homes": false, "home/safe": false, "home/safe/x": false, "home/door/pin": false,
		"out": true, "out/x": false, "x/state": true, "$x/state": false, "$bus/plugins": false, "$SYS/x": false, "": false,
	} {
		if pi.MayPublish(topic) != want {
			t.Errorf("pi publishes %q: %v", topic, !want)
		}
	}
	for topic, want := range map[string]bool{
		"home/lamp": true, "home/safe/x": false, "$bus/plugins/x": true, "$SYS/uptime": false, "log/a/error": true, "log/a/debug": false,
	} {
		if pi.MayRead(topic) != want {
			t.Errorf("pi reads %q: %v", topic, !want)
		}
	}
	for filter, want := range map[string]bool{
		"home/#": true, "#": true, "home/safe/#": false, "home/safe/a/+": false, "home/+/pin": false, "home/+": true, "+/lamp": true,
		"garden/#": false, "$bus/#": true, "$SYS/#": false, "+/+/error": true, "log/a/debug": false,
		"$share/g/home/#": false, "$share/g/home/lamp/#": false, "$share/g/home/lamp": true, "$share/g/home/+": false, "$share/g/log/a/error": true, "$share/g/#": false, "$share/g/garden/#": false, "$share/g/home/safe/#": false, "$share/g": false,
		"$replay/10m/home/+": true, "$replay/10m/garden": false, "home#": false, "home/a#": false, "$share/g/home/a#": false, "": false,
	} {
		if pi.MaySubscribe(filter) != want {
			t.Errorf("pi subscribes to %q: %v", filter, !want)
		}
	}
	for topic, want := range map[string]bool{"a": true, "$SYS/x": false, "$bus/x": false, "$other": false} {
		if anybody.MayPublish(topic) != want || anybody.MayRead(topic) != want {
			t.Errorf("anonymous and %q: want %v", topic, want)
		}
	}
	if anybody.MaySubscribe("$SYS/#") || anybody.MaySubscribe("$share/g/$bus/#") || !anybody.MaySubscribe("#") {
		t.Error("anonymous subscribes wrongly")
	}
	if _, ok := p.Lookup("nobody"); ok {
		t.Error("Lookup found nobody")
	}
}

// counted makes a policy whose verifier appends the cost of each hash that it computes, which is
// the time that a login takes.
func counted(t *testing.T, o Options) (p *Policy, costs func() []string) {
	t.Helper()
	v := NewVerifier(0)
	var mu sync.Mutex
	var list []string
	v.check = func(h phc, password string) bool {
		mu.Lock()
		list = append(list, fmt.Sprintf("m=%d,t=%d,p=%d,%d", h.memory, h.passes, h.threads, len(h.key)))
		mu.Unlock()
		return h.verify(password)
	}
	p, err := NewPolicy(v, o)
	if err != nil {
		t.Fatal(err)
	}
	return p, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return list
	}
}

// TestUnknownUserTakesAsLong: an unknown name costs the same hash as a known one.
func TestUnknownUserTakesAsLong(t *testing.T) {
	usual, err := Hash("right")
	if err != nil {
		t.Fatal(err)
	}
	for name, hash := range map[string]string{"usual cost": usual, "other cost": cheap(t, "right")} {
		t.Run(name, func(t *testing.T) {
			p, costs := counted(t, Options{Users: []User{{Name: "pi", Password: hash}}})
			for _, user := range []string{"pi", "po"} {
				if _, err := p.Authenticate(user, "wrong", true, true, "192.0.2.1:1"); !errors.Is(err, ErrRefused) {
					t.Fatal(err)
				}
			}
			if c := costs(); len(c) != 2 || c[0] != c[1] {
				t.Errorf("a wrong password and an unknown user cost %q", c)
			}
		})
	}
}

// TestReconnectStorm logs in many devices with one account at once: only the few parallel checks do
// the work.
func TestReconnectStorm(t *testing.T) {
	hash, err := Hash("right")
	if err != nil {
		t.Fatal(err)
	}
	p, costs := counted(t, Options{Users: []User{{Name: "pi", Password: hash}}})
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			if _, err := p.Authenticate("pi", "right", true, false, "192.0.2.1:1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(costs()); n != 1 {
		t.Errorf("500 equal logins computed %d hashes", n)
	}
}

func TestCacheIsBoundedAndForgetsOldPasswords(t *testing.T) {
	v := NewVerifier(1)
	for i := range 3 * cacheSize {
		v.remember(v.sum("user", fmt.Sprint(i), "hash"), 0)
	}
	if len(v.seen) != cacheSize || len(v.ring) != cacheSize {
		t.Errorf("%d seen, %d in the ring", len(v.seen), len(v.ring))
	}
	known := func(password string) bool {
		_, ok := v.seen[v.sum("user", password, "hash")]
		return ok
	}
	if known("0") || !known(fmt.Sprint(3*cacheSize-1)) {
		t.Error("not the oldest made room")
	}
	if v.sum("ab", "c", "") == v.sum("a", "bc", "") {
		t.Error("two logins share a key")
	}

	before, err := NewPolicy(v, Options{Users: []User{{Name: "pi", Password: cheap(t, "old")}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.Authenticate("pi", "old", true, true, "192.0.2.1:1"); err != nil {
		t.Fatal(err)
	}
	after, err := NewPolicy(v, Options{Users: []User{{Name: "pi", Password: cheap(t, "new")}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.Authenticate("pi", "old", true, true, "192.0.2.1:1"); !errors.Is(err, ErrRefused) {
		t.Errorf("the old password: %v", err)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	id := busyIdentity(t)
	if n := testing.AllocsPerRun(100, func() {
		id.MayPublish("home/kitchen/temperature")
		id.MayRead("sensors/9/value")
		id.MayRead("nothing/of/this")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// grant makes the identity of a user with rules.
func grant(t testing.TB, user string, r Rules) *Identity {
	t.Helper()
	id, err := policy(t, Options{}).Grant(Grant{User: user, Rules: r})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func busyIdentity(t testing.TB) *Identity {
	t.Helper()
	r := Rules{
		Publish:   []string{"home/#", "a/b/c", "sensors/+/value", "x/+/#"},
		Subscribe: []string{"$bus/#", "home/#", "sensors/+/value", "y/+/z/#"},
		Deny:      []string{"home/safe/#", "home/+/pin"},
	}
	return grant(t, "pi", r)
}

func BenchmarkMay(b *testing.B) {
	all := grant(b, "all", Rules{Publish: []string{"#"}, Subscribe: []string{"#"}})
	busy := busyIdentity(b)
	for _, c := range []struct {
		name string
		f    func() bool
	}{
		{"publish/everything", func() bool { return all.MayPublish("home/kitchen/temperature") }},
		{"read/everything", func() bool { return all.MayRead("home/kitchen/temperature") }},
		{"publish/10 filters", func() bool { return busy.MayPublish("home/kitchen/temperature") }},
		{"read/10 filters, pattern", func() bool { return busy.MayRead("sensors/9/value") }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !c.f() {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	hash, err := Hash("right")
	if err != nil {
		b.Fatal(err)
	}
	p := policy(b, Options{Users: []User{{Name: "pi", Password: hash}}})
	for name, password := range map[string]string{"remembered": "right", "wrong": "wrong"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Authenticate("pi", password, true, true, "192.0.2.1:1")
			}
		})
	}
}

func TestClientIDs(t *testing.T) {
	p := policy(t, Options{Users: []User{{Name: "pi", Password: cheap(t, "x"), ClientID: "${user}-*-v*"}, {Name: "any", Password: cheap(t, "x")}, {Name: "one", Password: cheap(t, "x"), ClientID: "it"}}})
	for user, ids := range map[string]map[string]bool{
		"pi":  {"pi-a-v1": true, "pi--v": true, "pi-v": false, "pi-a-v-v": true, "xpi-a-v1": false, "pi": false, "": false},
		"any": {"x": true, "pi-a-v1": true},
		"one": {"it": true, "it2": false, "i": false},
	} {
		u, _ := p.Lookup(user)
		for id, want := range ids {
			if err := u.MayConnectAs(id); (err == nil) != want {
				t.Errorf("%s as %q: %v", user, id, err)
			}
		}
	}
	for pattern, texts := range map[string]map[string]bool{"*": {"": true, "a": true}, "a*a": {"a": false, "aa": true}, "*b*": {"b": true, "abc": true, "ac": false}, "a*b*c": {"abc": true, "acb": false, "axbxc": true}} {
		for text, want := range texts {
			if newPattern(pattern, "").match(text) != want {
				t.Errorf("%q and %q", pattern, text)
			}
		}
	}
}
