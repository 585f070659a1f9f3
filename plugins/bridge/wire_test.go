package bridge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/postbus/postbus/plugins/kind"
)

// fakeRemote is a listener whose connections are simulated by a function; its argument counts them
// from 0.
func fakeRemote(t *testing.T, l net.Listener, play func(n int, c net.Conn)) (url string) {
	t.Helper()
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	all.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			all.Go(func() { defer c.Close(); play(n, c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	threeOnly.Store(l.Addr().String(), true)
	return "mqtt://" + l.Addr().String()
}

// threeOnly are the simulated remotes that speak only MQTT 3.1.1: they aren't asked for another
// version.
var threeOnly sync.Map

// asks makes a link try only the version that its remote speaks.
func asks(l *link) {
	_, l.noFive = threeOnly.Load(l.addr)
}

// hello reads CONNECT and answers.
func hello(c net.Conn, code byte) (version byte) {
	p, err := packets.ReadPacket(c)
	if err != nil {
		return 0
	}
	a := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	a.ReturnCode = code
	_ = a.Write(c)
	return p.(*packets.ConnectPacket).ProtocolVersion
}

// message3 returns a PUBLISH of MQTT 3.1.1.
func message3(topic, payload string, qos byte, id uint16) *packets.PublishPacket {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Qos, p.MessageID = topic, []byte(payload), qos, id
	return p
}

// serve answers SUBSCRIBE, PINGREQ and PUBLISH until the connection ends. each receives every
// packet before.
func serve(c net.Conn, each func(packets.ControlPacket)) {
	for {
		p, err := packets.ReadPacket(c)
		if err != nil {
			return
		}
		if each != nil {
			each(p)
		}
		switch p := p.(type) {
		case *packets.SubscribePacket:
			a := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			a.MessageID, a.ReturnCodes = p.MessageID, p.Qoss
			_ = a.Write(c)
		case *packets.PingreqPacket:
			_ = packets.NewControlPacket(packets.Pingresp).Write(c)
		case *packets.PublishPacket:
			if p.Qos == 1 {
				a := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
				a.MessageID = p.MessageID
				_ = a.Write(c)
			}
			if p.Qos == 2 {
				a := packets.NewControlPacket(packets.Pubrec).(*packets.PubrecPacket)
				a.MessageID = p.MessageID
				_ = a.Write(c)
			}
		case *packets.PubrelPacket:
			a := packets.NewControlPacket(packets.Pubcomp).(*packets.PubcompPacket)
			a.MessageID = p.MessageID
			_ = a.Write(c)
		}
	}
}

func inOnly(url string) Options {
	o := options(url)
	o.In = []In{{Filter: "#"}}
	return o
}

// A remote that refuses MQTT 5, or bridges, gets a version that it accepts: permanently where it
// refuses explicitly, for one connection where it closes the connection.
func TestFallsBack(t *testing.T) {
	in3 := func(c net.Conn) { hello(c, packets.ErrRefusedBadProtocolVersion) }
	in5 := func(c net.Conn) { _, _ = c.Write([]byte{0x20, 3, 0, 0x84, 0}) }
	accepts := func(c net.Conn) { hello(c, 0) } // what a broker does that ignores the version
	closes := func(net.Conn) {}
	for name, c := range map[string]struct {
		five, bridge func(c net.Conn)
		want         []byte // the versions of three successful connections and of the attempts in between
	}{
		"it says so":                    {in3, in3, []byte{5, 0x84, 4, 4, 4}},
		"it says so in MQTT 5":          {in5, in3, []byte{5, 0x84, 4, 4, 4}},
		"it accepts a version it isn't": {accepts, in3, []byte{5, 0x84, 4, 4, 4}},
		"it closes the connection":      {closes, closes, []byte{5, 0x84, 4, 5, 0x84, 4, 5, 0x84, 4}},
		"it knows bridges":              {in3, nil, []byte{5, 0x84, 0x84, 0x84}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBus()
			var versions []byte
			stood := 0
			url := fakeRemote(t, nil, func(n int, conn net.Conn) {
				r := &sniffed{Conn: conn}
				first := r.version()
				locked(b, func() { versions = append(versions, first) })
				switch {
				case first == 5:
					c.five(r)
					return
				case first == 0x84 && c.bridge != nil:
					c.bridge(r)
					return
				}
				hello(r, 0)
				last := false
				locked(b, func() { stood++; last = stood == 3 })
				if !last {
					return
				}
				serve(r, nil)
			})
			threeOnly.Delete(strings.TrimPrefix(url, "mqtt://"))
			run(t, inOnly(url), b, nil, nil)
			b.Eventually(t, "the third connection", func() bool { return stood == 3 })
			if !bytes.Equal(versions, c.want) {
				t.Errorf("%x, not %x", versions, c.want)
			}
		})
	}
}

// sniffed peeks at CONNECT and leaves it to the reader.
type sniffed struct {
	net.Conn
	again bytes.Buffer
}

func (s *sniffed) version() byte {
	r := bufio.NewReader(io.TeeReader(s.Conn, &s.again))
	head, err := r.Peek(2)
	if err != nil {
		return 0
	}
	p, err := r.Peek(2 + int(head[1])) // it is shorter than 128 bytes
	if err != nil {
		return 0
	}
	return p[8]
}

func (s *sniffed) Read(b []byte) (int, error) {
	if s.again.Len() > 0 {
		return s.again.Read(b)
	}
	return s.Conn.Read(b)
}

func TestHostileRemote(t *testing.T) {
	huge := []byte{0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, 'a'} // 256 MiB announced
	for name, c := range map[string]struct {
		bytes []byte
		want  string
	}{
		"garbage":                     {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n" + strings.Repeat("<html>", 20)), "closed the connection"},
		"a length without end":        {[]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}, "a packet's length is malformed"},
		"an announced topic too long": {[]byte{0x30, 3, 0xff, 0xff, 'a'}, "a malformed packet"},
		"an empty topic":              {[]byte{0x30, 2, 0, 0}, "an invalid topic"},
		"a topic with a wildcard":     {[]byte{0x30, 3, 0, 1, '#'}, "an invalid topic"},
		"QoS 3":                       {[]byte{0x36, 5, 0, 1, 'a', 0, 1}, "violates MQTT"},
		"no identifier":               {[]byte{0x32, 5, 0, 1, 'a', 0, 0}, "violates MQTT"},
		"an empty PUBACK":             {[]byte{0x40, 0}, "a malformed packet"},
		"CONNECT":                     {[]byte{0x10, 0}, "a malformed packet"},
		"a large SUBACK":              {[]byte{0x90, 0xff, 0xff, 0xff, 0x7f}, "that is not a PUBLISH"},
		"a huge message that ends":    {huge, "closed the connection"},
		"a strange kind":              {[]byte{0xf0, 0}, "a malformed packet"},
		"an end":                      {nil, "closed the connection"},
	} {
		b := newBus()
		url := fakeRemote(t, nil, func(n int, conn net.Conn) {
			hello(conn, 0)
			if n > 0 {
				serve(conn, nil)
				return
			}
			_, _ = conn.Write(c.bytes)
			_ = conn.(*net.TCPConn).CloseWrite()
			serve(conn, nil)
		})
		r := run(t, inOnly(url), b, nil, nil)
		b.Eventually(t, name, func() bool { return len(b.Conditions) >= 2 && connected(b)() })
		r.stop()
		if said := strings.Join(b.Conditions, "|"); !strings.Contains(said, c.want) {
			t.Errorf("%s: %s", name, said)
		}
	}
}

// A message that is too large is lost, counted and acknowledged, and the next one arrives.
func TestTooLarge(t *testing.T) {
	b := newBus()
	acks := make(chan uint16, 10)
	url := fakeRemote(t, nil, func(_ int, c net.Conn) {
		hello(c, 0)
		go func() {
			_ = message3("a/big", strings.Repeat("x", maxPacket), 1, 7).Write(c)
			_ = message3("a/small", "1", 1, 8).Write(c)
		}()
		serve(c, func(p packets.ControlPacket) {
			if a, ok := p.(*packets.PubackPacket); ok {
				acks <- a.MessageID
			}
		})
	})
	r := run(t, inOnly(url), b, nil, nil)
	b.Eventually(t, "the small one", func() bool { return len(r.events) > 0 })
	if a, b := <-acks, <-acks; a != 7 || b != 8 {
		t.Error(a, b)
	}
	if b.Losses["a message of the remote larger than 16 MiB"] != 1 || len(r.events) != 1 {
		t.Error(b.Losses, len(r.events))
	}
}

func TestSilence(t *testing.T) {
	t.Parallel()
	b := newBus()
	url := fakeRemote(t, nil, func(_ int, c net.Conn) {
		hello(c, 0)
		_, _ = io.Copy(io.Discard, c)
	})
	o := inOnly(url)
	o.KeepAlive = time.Second
	began := time.Now()
	run(t, o, b, nil, nil)
	b.Eventually(t, "silence", func() bool {
		return len(b.Conditions) > 0 && strings.Contains(b.Conditions[0], "does not respond any more")
	})
	if took := time.Since(began); took < time.Second {
		t.Error(took)
	}
}

// The source ends at once, whatever the remote does: run's cleanup checks it.
func TestStopsAtOnce(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 1<<20)
	for name, play := range map[string]func(c net.Conn, here chan struct{}){
		"no answer to CONNECT": func(c net.Conn, here chan struct{}) { close(here); _, _ = io.Copy(io.Discard, c) },
		"it doesn't read":      func(c net.Conn, here chan struct{}) { hello(c, 0); close(here); <-t.Context().Done() },
	} {
		t.Log(name)
		b := newBus()
		here := make(chan struct{})
		url := fakeRemote(t, nil, func(n int, c net.Conn) {
			if n == 0 {
				play(c, here)
			}
		})
		o := options(url)
		o.Out = []Out{{Filter: "#"}}
		for range 30 {
			offer(b, "client:x", "a", big, false)
		}
		r := run(t, o, b, nil, nil)
		<-here
		r.stop()
	}
}

// An event that couldn't be stored is not acknowledged, and the remote redelivers it on another
// connection.
func TestNotStored(t *testing.T) {
	b := newBus()
	acks := make(chan uint16, 10)
	url := fakeRemote(t, nil, func(_ int, c net.Conn) {
		hello(c, 0)
		_ = message3("a", "1", 1, 7).Write(c)
		serve(c, func(p packets.ControlPacket) {
			if a, ok := p.(*packets.PubackPacket); ok {
				acks <- a.MessageID
			}
		})
	})
	o := inOnly(url)
	s := New(o, b)
	asks(&s.link)
	s.first, s.longest = time.Millisecond, time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		answers := []error{errors.New("the disk is full"), kind.Permanent(errors.New("too large"))}
		ended <- s.Stream(ctx, func(_ context.Context, _ time.Time, _ map[string]any, done func(error)) error {
			done(answers[0])
			answers = append(answers[1:], nil)
			return nil
		})
	}()
	if id := <-acks; id != 7 {
		t.Error(id)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.Contains(b.Conditions[0], "the disk is full") || b.Losses["an event that can't be stored"] != 1 || len(acks) != 0 {
		t.Error(b.Conditions, b.Losses)
	}
}

func TestPostRefuses(t *testing.T) {
	url := fakeRemote(t, nil, func(_ int, c net.Conn) {
		hello(c, 0)
		_ = message3("a", "1", 1, 7).Write(c)
		serve(c, nil)
	})
	refused := errors.New("being stopped")
	s := New(inOnly(url), newBus())
	asks(&s.link)
	err := s.Stream(t.Context(), func(context.Context, time.Time, map[string]any, func(error)) error { return refused })
	if err != refused {
		t.Error(err)
	}
}

func TestForbiddenFilter(t *testing.T) {
	b := newBus()
	url := fakeRemote(t, nil, func(_ int, c net.Conn) {
		hello(c, 0)
		serve(c, func(p packets.ControlPacket) {
			if s, ok := p.(*packets.SubscribePacket); ok {
				s.Qoss[1] = 0x80
			}
		})
	})
	o := options(url)
	o.In = []In{{Filter: "a"}, {Filter: "secret/#"}}
	run(t, o, b, nil, nil)
	b.Eventually(t, "refused", func() bool {
		return len(b.Conditions) == 1 && strings.HasSuffix(b.Conditions[0], `refused the subscription to "secret/#"`)
	})
}

// oneWay is a connection whose other end has sent everything.
type oneWay struct {
	net.Conn
	r io.Reader
}

func (o oneWay) Read(b []byte) (int, error)     { return o.r.Read(b) }
func (oneWay) SetReadDeadline(time.Time) error  { return nil }
func (oneWay) SetWriteDeadline(time.Time) error { return nil }

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	_ = message3("a/b", "x", 1, 3).Write(&b)
	f.Add(b.Bytes(), false)
	f.Add([]byte{0x90, 3, 0, 1, 0x80, 0x40, 2, 0, 1, 0xd0, 0}, false)
	f.Add([]byte{0x32, 0xff, 0xff, 0xff, 0x7f, 0, 1, 'a', 0, 1}, false)
	b.Reset()
	_ = five{}.encode(&b, &packet{kind: publish, id: 3, msg: &message{topic: "a/b", qos: 1, hops: 3, origin: "x", expires: time.Now().Add(time.Hour)}})
	f.Add(b.Bytes(), true)
	f.Add([]byte{0x20, 3, 0, 0, 0, 0x40, 3, 0, 1, 0x97, 0xe0, 1, 0x8e}, true)
	f.Add([]byte{0x90, 4, 0, 1, 0, 0x87, 0xe0, 0}, true)
	f.Add([]byte{0x30, 8, 0, 1, 'a', 4, 0x26, 0xff, 0xff, 'x'}, true)
	f.Fuzz(func(t *testing.T, data []byte, is5 bool) {
		s := New(inOnly("mqtt://x"), newBus())
		var version codec = three{}
		decode := three{}.connack
		if is5 {
			version, decode = five{}, five{}.connack
		}
		c := newConn(oneWay{r: bytes.NewReader(data)}, version)
		if err := c.readConnack(decode); err == nil && c.terms.present {
			return
		}
		c = newConn(oneWay{r: bytes.NewReader(data)}, version)
		c.keep = time.Second
		n := 0
		err := c.read(func(p *packet) error {
			if n++; n > len(data) {
				t.Fatal("more packets than bytes")
			}
			if p.kind == publish {
				return s.in(t.Context(), c, p, func(_ context.Context, _ time.Time, f map[string]any, done func(error)) error {
					if checkName(f["topic"].(string)) != nil {
						t.Errorf("topic %q", f["topic"])
					}
					done(nil)
					return nil
				})
			}
			return nil
		}, func(string) {})
		if err == nil {
			t.Error("no end")
		}
	})
}
