package broker_test

// This file sends hostile input from the socket into a whole broker.

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/bus/broker"
)

// bystander is a client that hostile input of others must not harm.
type bystander struct{ r *runner }

func (b bystander) check(t testing.TB) {
	t.Helper()
	if err := b.r.run(`
		z> PUBLISH bystander ok q1 id=1
		z< PUBACK 1 | PUBLISH bystander ok q1 id=$new
		z> PUBACK $new`); err != nil {
		t.Fatal("the bystander is harmed: ", err)
	}
	clear(b.r.vars)
	if err := b.r.spy.err(); err != nil {
		t.Fatal(err)
	}
}

func newBystander(t testing.TB, o broker.Options) bystander {
	r := &runner{dir: t.TempDir(), version: v5, options: o, wires: map[string]*wire{}, vars: map[string]string{}}
	r.open()
	t.Cleanup(r.close)
	if err := r.run("z full ka=0\nz> SUBSCRIBE 1 bystander,1\nz< SUBACK 1 01"); err != nil {
		t.Fatal(err)
	}
	return bystander{r}
}

// attack sends bytes, reads all answers and reports whether the broker closed within the time.
func attack(t testing.TB, addr string, data []byte, patience time.Duration) (closed bool) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = c.Write(data) // the broker may close in the middle
	buf := make([]byte, 4096)
	for {
		if _, err := c.Read(buf); err != nil {
			ne, ok := err.(net.Error)
			return !ok || !ne.Timeout()
		}
	}
}

func TestHostile(t *testing.T) {
	t.Parallel()
	connect5 := encode("CONNECT ka=0", "evil", v5)
	connect4 := encode("CONNECT ka=0", "evil", v311)
	unhex := func(s string) []byte { b, _ := hex.DecodeString(s); return b }
	for _, c := range []struct {
		name    string
		prelude []byte
		data    []byte
		closes  bool
	}{
		{"a truncated SUBSCRIBE", connect5, unhex("8205000a000001"), true},
		{"a SUBSCRIBE whose properties run past its end", connect5, unhex("8204000a7f00"), true},
		{"a SUBSCRIBE of a packet identifier alone", connect5, unhex("8202000a"), true},
		{"256 MB claimed before CONNECT", nil, unhex("10ffffff7f0004"), true},
		{"256 MB claimed behind CONNECT", connect5, unhex("30ffffff7f0004"), true},
		{"a length of five bytes", connect4, unhex("30ffffffff7f"), true},
		{"a CONNECT whose client identifier runs past its end", nil, unhex("101000044d5154540502003c00ffff6162636465"), true},
		{"zeros", nil, make([]byte, 1000), true},
		{"an HTTP request", nil, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), true},
		{"TLS", nil, unhex("160301010001"), true},
		{"half a CONNECT", nil, connect5[:8], false},
		{"half a PUBLISH", connect5, encode("PUBLISH t x*1000 q1 id=1", "", v5)[:500], false},
		{"ten thousand PUBLISH of QoS 0 without an end", connect4, bytes.Repeat(encode("PUBLISH t x", "", v311), 10000), false},
		{"acknowledgements of nothing", connect5, bytes.Repeat(encode("PUBACK 9", "", v5), 1000), false},
		{"PUBREC of nothing, a thousand times, never read", connect5, bytes.Repeat(encode("PUBREC 9", "", v5), 1000), false},
		{"a filter of 65535 levels", connect5, encode("SUBSCRIBE 1 /*65535,1", "", v5), false},
		{"a SUBSCRIBE of 2000 filters", connect5, encode("SUBSCRIBE 1"+string(bytes.Repeat([]byte(" +,0"), 2000)), "", v5), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBystander(t, broker.Options{})
			patience := 400 * time.Millisecond
			if c.closes {
				patience = time.Minute
			}
			if closed := attack(t, b.r.addr, append(c.prelude[:len(c.prelude):len(c.prelude)], c.data...), patience); closed != c.closes {
				t.Errorf("the broker closed the connection: %v", closed)
			}
			b.check(t)
		})
	}
}

// TestClaimsCostNothing: memory follows the bytes that arrived, not the length that was announced.
func TestClaimsCostNothing(t *testing.T) {
	b := newBystander(t, broker.Options{PacketSize: 256 << 20})
	var conns []net.Conn
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 50 {
		c, err := net.Dial("tcp", b.r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
		if i%2 == 0 { // a CONNECT has a tighter bound: it is refused; a PUBLISH may be that large
			_, _ = c.Write(append(encode("CONNECT", "", v5), 0x30, 0xFF, 0xFF, 0xFF, 0x7E, 0, 1))
		} else {
			_, _ = c.Write([]byte{0x10, 0xFF, 0xFF, 0x03, 0, 4})
		}
	}
	for i, c := range conns { // read CONNACK, or the end
		_ = c.SetReadDeadline(time.Now().Add(answerTimeout))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection %d is neither let in nor refused", i)
		}
	}
	b.check(t)
	if after := heap(); after > before+8<<20 {
		t.Errorf("%d connections that announce large packets cost %d KiB", len(conns), (after-before)>>10)
	}
}

// TestSlowloris: a client that sends a CONNECT slowly is disconnected in the end, and blocks no
// other client meanwhile.
func TestSlowloris(t *testing.T) {
	t.Parallel()
	b := newBystander(t, broker.Options{})
	c, err := net.Dial("tcp", b.r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, by := range encode("CONNECT id=x*60", "", v5) { // 74 bytes: 15 s
		if _, err := c.Write([]byte{by}); err != nil {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it was waited for: %d bytes, %v", n, err)
	}
	b.check(t)
}

// FuzzSocket sends any bytes, after a prelude that includes CONNECT, into a broker. Nothing may
// panic or hang, and another client is served as before.
func FuzzSocket(f *testing.F) {
	for prelude := range byte(6) {
		f.Add(prelude, encode("SUBSCRIBE 1 t/#,1 $share/g/t,1", "", v5))
		f.Add(prelude, encode("SUBSCRIBE 1 t/#,1", "", v311))
		f.Add(prelude, append(encode("PUBLISH t x q2 id=1 alias=1 content=c user=a:b", "", v5), encode("PUBREL 1", "", v5)...))
		f.Add(prelude, append(encode("PUBLISH t x q1 id=1 retain", "", v311), encode("PUBLISH u x q2 id=2", "", v311)...))
		f.Add(prelude, append(encode("UNSUBSCRIBE 1 t/# u", "", v5), encode("PINGREQ", "", v5)...))
		f.Add(prelude, encode("DISCONNECT 04 sessionexpiry=5", "", v5))
		f.Add(prelude, encode("CONNECT keep sessionexpiry=9 will=w:x w-delay=1 username=u password=p", "fuzz", v5))
		f.Add(prelude, encode("AUTH 18 authmethod=x", "", v5))
		f.Add(prelude, []byte{0x82, 5, 0, 10, 0, 0, 1})
		f.Add(prelude, []byte{0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0, 4})
	}
	preludes := [][]byte{nil,
		encode("CONNECT", "fuzz", v311), encode("CONNECT keep", "fuzz", v311), encode("CONNECT", "fuzz", v5),
		encode("CONNECT keep sessionexpiry=100 recvmax=2 maxpacket=200 aliasmax=3 will=w:x", "fuzz", v5),
		encode("CONNECT keep sessionexpiry=1 probleminfo=0 ka=1", "fuzz", v5),
	}
	b := newBystander(f, broker.Options{PacketSize: 4096})
	var mu sync.Mutex
	f.Fuzz(func(t *testing.T, prelude byte, data []byte) {
		mu.Lock()
		defer mu.Unlock()
		p := preludes[int(prelude)%len(preludes)]
		c, err := net.Dial("tcp", b.r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = c.Write(append(append(append([]byte(nil), p...), data...), 0xC0, 0))
		_ = c.(*net.TCPConn).CloseWrite()
		buf := make([]byte, 4096)
		for err == nil { // the broker sees the end of the input, and must end
			_, err = c.Read(buf)
		}
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Fatal("the broker does not let go of a connection that ended")
		}
		b.check(t)
	})
}
