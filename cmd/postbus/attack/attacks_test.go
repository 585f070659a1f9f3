package attack

// This file is the attacks. Each repeats itself until ctx ends, and ignores what it is refused.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
)

// target is a broker under attack. Mallory has a login of its own, which may publish and read everything
// below mallory/.
type target struct {
	mqtt, http string      // addresses; http is "" for a broker without it
	who        *identities // of TLS, which both addresses speak; nil: they don't
}

const (
	mallory  = "mallory"
	password = "mallory's own password"
)

func (t target) login(client string) login {
	return login{client: client, user: mallory, password: password, expiry: 3600}
}

type attack struct {
	name string
	only string // "" for every broker, "postbus" for what only postbus has
	run  func(ctx context.Context, t target)
}

// loop repeats f until ctx ends; a refusal makes it pause.
func loop(ctx context.Context, f func() error) {
	for ctx.Err() == nil {
		if f() != nil {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// many runs loops side by side.
func many(ctx context.Context, n int, f func(i int) error) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { loop(ctx, func() error { return f(i) }) })
	}
	all.Wait()
}

var attacks = []attack{
	{"deep and many filters", "", func(ctx context.Context, t target) {
		many(ctx, 2, func(i int) error {
			c, err := connect(t.mqtt, t.login(fmt.Sprint("deep", i, "-", rand.N(1000))))
			if err != nil {
				return err
			}
			defer c.Close()
			deep := mallory + strings.Repeat("/a", 32_000)
			for id := uint16(1); id < 3000 && ctx.Err() == nil; id++ {
				filter := fmt.Sprint(mallory, strings.Repeat("/x", 100), "/", id)
				if id%20 == 0 {
					filter = deep + fmt.Sprint(id)
				}
				if _, err := c.Write(subscribe(id, filter)); err != nil {
					return err
				}
				if _, _, err := c.read(); err != nil {
					return err
				}
			}
			return nil
		})
	}},
	{"retained topics without end", "", func(ctx context.Context, t target) {
		many(ctx, 2, func(i int) error {
			c, err := connect(t.mqtt, t.login(fmt.Sprint("retain", i)))
			if err != nil {
				return err
			}
			defer c.Close()
			go func() { _, _ = io.Copy(io.Discard, c.in) }()
			w := bufio.NewWriter(c)
			for ctx.Err() == nil {
				_ = c.SetDeadline(time.Now().Add(patience))
				if _, err := w.Write(publish(fmt.Sprint(mallory, "/r/", rand.Uint64()), []byte("0123456789"), 0, true)); err != nil {
					return err
				}
			}
			return w.Flush()
		})
	}},
	{"logins with the honest client's identifier", "", func(ctx context.Context, t target) {
		many(ctx, 4, func(i int) error {
			c, err := connect(t.mqtt, t.login([]string{"honest-in", "honest-out"}[i%2]))
			if err != nil {
				return err
			}
			return c.Close()
		})
	}},
	{"wrong passwords", "", func(ctx context.Context, t target) {
		many(ctx, 100, func(i int) error {
			l := t.login("x")
			l.user, l.password = []string{mallory, "honest", fmt.Sprint("nobody", rand.N(1000))}[i%3], fmt.Sprint(rand.Uint64())
			c, err := connect(t.mqtt, l)
			if err != nil {
				return err
			}
			return c.Close()
		})
	}},
	{"half-sent CONNECTs", "", func(ctx context.Context, t target) {
		many(ctx, 4, func(int) error {
			var held []*raw
			defer func() {
				for _, c := range held {
					c.Close()
				}
			}()
			half := login{client: "half", user: mallory, password: strings.Repeat("x", 60_000)}.packet()
			for range 400 {
				c, err := dial(t.mqtt)
				if err != nil {
					return err
				}
				held = append(held, c)
				if _, err := c.Write(half[:len(half)/2]); err != nil || ctx.Err() != nil {
					return err
				}
			}
			select {
			case <-time.After(2 * time.Second):
			case <-ctx.Done():
			}
			return nil
		})
	}},
	{"events of QoS 0 as fast as they go", "", func(ctx context.Context, t target) { flood(ctx, t, false) }},
	{"events of QoS 1 as fast as they go", "", func(ctx context.Context, t target) { flood(ctx, t, true) }},
	{"subscribers that don't read", "", func(ctx context.Context, t target) {
		go flood(ctx, t, false)
		var held []*raw
		for i := range 100 {
			c, err := connect(t.mqtt, t.login(fmt.Sprint("deaf", i)))
			if err != nil {
				continue
			}
			_, _ = c.Write(subscribe(1, mallory+"/#"))
			held = append(held, c)
		}
		<-ctx.Done()
		for _, c := range held {
			c.Close()
		}
	}},
	{"delayed wills of 60 kB", "", func(ctx context.Context, t target) {
		will := bytes.Repeat([]byte("w"), 60_000)
		many(ctx, 4, func(i int) error {
			l := t.login(fmt.Sprint("will", rand.N(5000)))
			l.will, l.topic = will, mallory+"/will"
			c, err := connect(t.mqtt, l)
			if err != nil {
				return err
			}
			return c.Close()
		})
	}},
	{"sessions without end", "", func(ctx context.Context, t target) {
		many(ctx, 4, func(int) error {
			c, err := connect(t.mqtt, t.login(fmt.Sprint("session", rand.Uint64())))
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Write(subscribe(1, mallory+"/x")); err != nil {
				return err
			}
			_, _, err = c.read()
			return err
		})
	}},
	{"50 clients that replay all history", "postbus", func(ctx context.Context, t target) {
		many(ctx, 50, func(i int) error {
			l := t.login(fmt.Sprint("replay", i))
			l.expiry = 0
			c, err := connect(t.mqtt, l)
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Write(subscribe(1, "$replay/24h/"+mallory+"/#")); err != nil {
				return err
			}
			for n := 0; n < 20_000 && ctx.Err() == nil; n++ {
				first, body, err := c.read()
				if err != nil {
					return err
				}
				if first&0xF6 == 0x32 { // QoS 1
					at := 2 + int(body[0])<<8 + int(body[1])
					if _, err := c.Write(programtest.Packet(0x40, body[at:at+2])); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}},
	{"HTTP: all topics, wrong passwords, half requests", "postbus", func(ctx context.Context, t target) {
		many(ctx, 30, func(i int) error {
			user, pass := mallory, password
			if i%3 == 1 {
				pass = "wrong"
			}
			if i%3 == 2 {
				c, err := dial(t.http)
				if err != nil {
					return err
				}
				defer c.Close()
				_, err = io.WriteString(c, "POST /api/v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\nX: ")
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
				}
				return err
			}
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.http+"/api/v1/topics?filter=%23", nil)
			if err != nil {
				return err
			}
			r.SetBasicAuth(user, pass)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				return err
			}
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("status %d", resp.StatusCode)
			}
			return nil
		})
	}},
	{"bytes that aren't MQTT", "", func(ctx context.Context, t target) {
		many(ctx, 20, func(int) error {
			c, err := dial(t.mqtt)
			if err != nil {
				return err
			}
			defer c.Close()
			junk := make([]byte, 1+rand.N(5000))
			for i := range junk {
				junk[i] = byte(rand.Uint32())
			}
			if rand.N(2) == 0 {
				junk = append(t.login("junk").packet(), junk...)
			}
			_, _ = c.Write(junk)
			_ = c.SetDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = io.Copy(io.Discard, c)
			return nil
		})
	}},
}

// flood publishes from four connections. At QoS 1 each has up to 100 events without PUBACK.
func flood(ctx context.Context, t target, acked bool) {
	payload := bytes.Repeat([]byte("x"), 100)
	many(ctx, 4, func(i int) error {
		c, err := connect(t.mqtt, t.login(fmt.Sprint("flood", acked, i)))
		if err != nil {
			return err
		}
		defer c.Close()
		room := make(chan struct{}, 100)
		go func() {
			for {
				first, _, err := c.read()
				if err != nil {
					c.Close()
					return
				}
				if first == 0x40 {
					<-room
				}
			}
		}()
		w := bufio.NewWriterSize(c, 16<<10)
		for id := uint16(1); ctx.Err() == nil; id = id%65_535 + 1 {
			_ = c.SetWriteDeadline(time.Now().Add(patience))
			number := uint16(0)
			if acked {
				number = id
				select {
				case room <- struct{}{}:
				default:
					if err := w.Flush(); err != nil {
						return err
					}
					select {
					case room <- struct{}{}:
					case <-ctx.Done():
						return nil
					case <-time.After(patience):
						return fmt.Errorf("no PUBACK")
					}
				}
			}
			if _, err := w.Write(publish(mallory+"/flood", payload, number, false)); err != nil {
				return err
			}
		}
		return w.Flush()
	})
}
