package main

// This file runs plugin files of the kinds that use the network and other programs in the real
// program: web hooks, requests, files, datagrams, programs, and two bridged buses.

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// ran is a bus that runs in this process.
type ran struct {
	t          *testing.T
	dir        string
	mqtt, http string
	log        *syncBuffer
	stop       func()
}

func runBus(t *testing.T, dir string) *ran {
	t.Helper()
	r := &ran{t: t, dir: dir, log: &syncBuffer{}}
	for _, d := range []string{"plugins.d", "secrets"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r.write("postbus.yaml", "data_dir: data\n")
	if r.mqtt == "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		r.mqtt = "tcp://" + l.Addr().String()
		l.Close()
	}
	r.start()
	return r
}

func (r *ran) start() {
	r.t.Helper()
	var out syncBuffer
	ctx, cancel := context.WithCancel(context.Background())
	m := Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: r.log, Env: []string{"HOME=" + r.dir, "PATH=" + os.Getenv("PATH")}}
	ended := make(chan int, 1)
	addr := filepath.Join(r.dir, "addr")
	_ = os.Remove(addr)
	go func() {
		ended <- m.Run(ctx, []string{"run", "--config", filepath.Join(r.dir, "postbus.yaml"), "--mqtt", r.mqtt, "--http", "127.0.0.1:0", "--addr-file", addr})
	}()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if text, err := os.ReadFile(addr); err == nil {
			r.http = strings.Fields(string(text))[1]
			break
		}
		if time.Now().After(end) {
			r.t.Fatalf("the bus does not come up:\n%s", r.log)
		}
	}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if code := <-ended; code != 0 {
			r.t.Errorf("exit code %d:\n%s", code, r.log)
		}
	}
	r.t.Cleanup(r.stop)
}

func (r *ran) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// listen collects the events that match.
func (r *ran) listen(filter string) <-chan string {
	r.t.Helper()
	got := make(chan string, 10000)
	c := paho.NewClient(paho.NewClientOptions().AddBroker(r.mqtt).SetClientID("listener-" + fmt.Sprint(time.Now().UnixNano())).SetOrderMatters(true))
	if tok := c.Connect(); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		r.t.Fatal(tok.Error())
	}
	r.t.Cleanup(func() { c.Disconnect(50) })
	tok := c.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) { got <- m.Topic() + " " + string(m.Payload()) })
	if !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		r.t.Fatal(tok.Error())
	}
	return got
}

func (r *ran) publish(topic, payload string) {
	r.t.Helper()
	var out, errs bytes.Buffer
	m := Main{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}
	if code := m.Run(context.Background(), []string{"pub", "--url", r.mqtt, "-t", topic, "-m", payload}); code != 0 {
		r.t.Fatalf("pub: %s", &errs)
	}
}

// comes waits for a line, and skips others.
func comes(t *testing.T, got <-chan string, want string) {
	t.Helper()
	limit := time.After(time.Minute)
	var others []string
	for {
		select {
		case line := <-got:
			if line == want {
				return
			}
			others = append(others, line)
		case <-limit:
			t.Fatalf("%q does not come, but %q", want, others)
		}
	}
}

func post(t *testing.T, url, body, signature string) int {
	t.Helper()
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if signature != "" {
		req.Header.Set("X-Hub-Signature-256", signature)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func soon(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

// subscribed waits for a session. A plugin runs before it has subscribed, and it does not receive
// events that are published until then.
func (r *ran) subscribed(session string) {
	r.t.Helper()
	soon(r.t, session+" has subscribed", func() bool {
		resp, err := http.Get(r.http + "/api/v1/sessions")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(text), session)
	})
}

// TestALoopEnds has two plugins that feed each other, one by an action. Without an end they would
// write as fast as the disk allows, until no other event's history has room any more.
func TestALoopEnds(t *testing.T) {
	b := runBus(t, t.TempDir())
	b.write("plugins.d/ping.yaml", "source: {mqtt: {topics: [loop/ping]}}\npublish: [{topic: loop/pong, payload: \"${event.hops}\"}]\n")
	b.write("plugins.d/pong.yaml", "source: {mqtt: {topics: [loop/pong]}}\nactions: [{mqtt: {topic: loop/ping, payload: \"${event.hops}\"}}]\n")
	b.write("plugins.d/self.yaml", "source: {mqtt: {topics: [own/count], own: true}}\npublish: [{when: int(event.text) < 100, topic: own/count, payload: \"${int(event.text) + 1}\"}]\n")
	for _, id := range []string{"ping", "pong", "self"} {
		b.subscribed("plugin/" + id + "/source")
	}
	got := b.listen("loop/#")
	counted := b.listen("own/#")
	b.publish("loop/ping", "from outside")
	want := []string{"loop/ping from outside"}
	for n := range 16 {
		want = append(want, fmt.Sprintf("loop/%s %d", [2]string{"pong", "ping"}[n%2], n))
	}
	for i, w := range want {
		select {
		case line := <-got:
			if line != w {
				t.Fatalf("event %d: %s, want %s", i, line, w)
			}
		case <-time.After(time.Minute):
			t.Fatalf("event %d does not come: %s", i, w)
		}
	}
	soon(t, "ping says why", func() bool {
		return strings.Contains(b.log.String(), "loop: this event has passed through 16 plugins, the last is plugin:pong")
	})
	b.publish("own/count", "1")
	comes(t, counted, "own/count 100")
	select {
	case line := <-got:
		t.Errorf("it goes on: %s", line)
	default:
	}
}

func TestWebHooksAndRequests(t *testing.T) {
	b := runBus(t, t.TempDir())
	b.write("secrets/hook", "s3cret\n")
	b.write("plugins.d/signed.yaml", "source: {webhook: {path: /hooks/signed, hmac_sha256: {header: X-Hub-Signature-256, key: \"secret:hook\"}}}\npublish: [{topic: got/signed, payload: \"${event.json.n}\"}]\n")
	b.write("plugins.d/plain.yaml", "source: {webhook: {path: /hooks/plain}}\npublish: [{topic: got/plain, payload: \"${event.json.n}\"}]\n")
	b.write("plugins.d/ask.yaml", fmt.Sprintf("source: {mqtt: {topics: [ask]}}\nactions: [{http: {url: \"%s/hooks/plain\", json: {n: \"${event.json.n}\"}}}]\n", b.http))
	got := b.listen("got/#")
	soon(t, "the hook is there", func() bool { return post(t, b.http+"/hooks/plain", `{"n": 1}`, "") == 204 })
	comes(t, got, "got/plain 1")
	const body = `{"n": 2}`
	h := hmac.New(sha256.New, []byte("s3cret"))
	h.Write([]byte(body))
	soon(t, "the other hook is there", func() bool { return post(t, b.http+"/hooks/signed", body, "") == 401 })
	if code := post(t, b.http+"/hooks/signed", body, "sha256="+hex.EncodeToString(h.Sum(nil))); code != 204 {
		t.Errorf("signed: %d", code)
	}
	comes(t, got, "got/signed 2")
	if code := post(t, b.http+"/hooks/none", body, ""); code != 404 {
		t.Errorf("no hook: %d", code)
	}
	b.subscribed("plugin/ask/source")
	b.publish("ask", `{"n": 3}`)
	comes(t, got, "got/plain 3")
	if strings.Contains(b.log.String(), "s3cret") {
		t.Error("the secret is in the log")
	}
}

func TestFilesAndDatagrams(t *testing.T) {
	b := runBus(t, t.TempDir())
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.LocalAddr().String()
	free.Close()
	b.write("app.log", "old\n")
	b.write("plugins.d/tail.yaml", "source: {file: {path: ../app.log, mode: tail}}\npublish: [{topic: got/line, payload: \"${event.text}\"}]\n")
	b.write("plugins.d/udp.yaml", "source: {udp: {listen: \""+address+"\"}}\npublish: [{topic: got/udp, payload: \"${event.text}\"}]\nactions: [{file: {folder: .., path: copy.txt, text: \"${event.text}\"}}]\n")
	got := b.listen("got/#")
	soon(t, "both run", func() bool {
		return strings.Contains(b.log.String(), "plugin=tail generation=1") && strings.Contains(b.log.String(), "plugin=udp generation=1")
	})
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	soon(t, "a datagram arrives", func() bool {
		_, _ = conn.Write([]byte("hello"))
		select {
		case line := <-got:
			return line == "got/udp hello"
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
	soon(t, "a line arrives", func() bool {
		f, err := os.OpenFile(filepath.Join(b.dir, "app.log"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(f, "new")
		f.Close()
		for {
			select {
			case line := <-got:
				if line == "got/line new" {
					return true
				}
			case <-time.After(100 * time.Millisecond):
				return false
			}
		}
	})
	soon(t, "the action wrote", func() bool {
		data, err := os.ReadFile(filepath.Join(b.dir, "copy.txt"))
		return err == nil && strings.HasPrefix(string(data), "hello\n")
	})
}

// TestDecodedPayloads has a sensor that sends CBOR and one that sends MessagePack.
func TestDecodedPayloads(t *testing.T) {
	b := runBus(t, t.TempDir())
	for _, e := range []string{"cbor", "msgpack"} {
		b.write("plugins.d/"+e+".yaml", "source: {mqtt: {topics: [raw/"+e+"], decode: "+e+"}}\npublish:\n"+
			"  - {when: event.decode_error == nil, topic: got/"+e+", payload: \"${event.json}\"}\n"+
			"  - {when: event.decode_error != nil, topic: got/"+e+"/error, payload: \"${event.decode_error}\"}\n")
		b.subscribed("plugin/" + e + "/source")
	}
	got := b.listen("got/#")
	for e, payload := range map[string]string{"cbor": "\xa1gcelsius\xf9\x4d\x60", "msgpack": "\x81\xa7celsius\xca\x41\xac\x00\x00"} {
		b.publish("raw/"+e, payload)
		comes(t, got, "got/"+e+` {"celsius":21.5}`)
		b.publish("raw/"+e, payload+"x")
		comes(t, got, "got/"+e+"/error this is not "+map[string]string{"cbor": "CBOR", "msgpack": "MessagePack"}[e]+": there are more bytes after the value")
	}
}

func TestTwoBusesAreBridged(t *testing.T) {
	far := runBus(t, t.TempDir())
	near := runBus(t, t.TempDir())
	near.write("plugins.d/far.yaml", "source: {bridge: {url: \""+strings.Replace(far.mqtt, "tcp:", "mqtt:", 1)+"\", out: [{filter: \"home/#\"}], in: [{filter: \"home/#\"}]}}\n")
	here, there := near.listen("home/#"), far.listen("home/#")
	soon(t, "the bridge stands", func() bool {
		near.publish("home/first", "x")
		select {
		case <-there:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
	far.publish("home/door", "open")
	comes(t, here, "home/door open")
	// The far bus is stopped for a while; the events that it missed arrive when it is back, in
	// order. Nothing loops.
	far.stop()
	for i := range 20 {
		near.publish("home/n", fmt.Sprint(i))
	}
	far.start()
	there = far.listen("home/#")
	seen := far.listen("home/n")
	near.publish("home/n", "last")
	comes(t, there, "home/n last")
	time.Sleep(300 * time.Millisecond) // for a loop to show
	last := map[string]int{}
	for len(seen) > 0 {
		last[<-seen]++
	}
	for line, n := range last {
		if n > 1 {
			t.Errorf("%s came %d times", line, n)
		}
	}
}
