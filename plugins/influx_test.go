package plugins

// This file sends batches to a server of the InfluxDB line protocol: real requests through the real kind.

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/postbus/postbus/bus"
)

// influx is a server that takes the line protocol, and answers as InfluxDB does: 204, or 400 for a
// body with a line that is wrong.
type influx struct {
	mu       sync.Mutex
	lines    []string
	requests int
	want     int
	all      chan struct{} // closed when there are want lines
}

func newInflux(t testing.TB, want int) (*influx, string) {
	s := &influx{want: want, all: make(chan struct{})}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.URL
}

func (s *influx) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var lines []string
	for in := bufio.NewScanner(bytes.NewReader(body)); in.Scan(); {
		if err := checkLine(in.Text()); err != nil {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"code":"invalid","message":%q}`, err.Error())
			return
		}
		lines = append(lines, in.Text())
	}
	s.mu.Lock()
	s.lines = append(s.lines, lines...)
	s.requests++
	if len(s.lines) >= s.want && s.want > 0 {
		s.want = 0
		close(s.all)
	}
	s.mu.Unlock()
	w.WriteHeader(204)
}

// checkLine is a strict parser of a line: measurement[,tag=value…] field=value[,field=value…] [timestamp].
func checkLine(line string) error {
	parts := splitEscaped(line, ' ', true)
	if len(parts) < 2 || len(parts) > 3 {
		return fmt.Errorf("%q has %d parts", line, len(parts))
	}
	series := splitEscaped(parts[0], ',', false)
	if series[0] == "" {
		return errors.New("no measurement")
	}
	for _, tag := range series[1:] {
		if kv := splitEscaped(tag, '=', false); len(kv) != 2 || kv[0] == "" || kv[1] == "" {
			return fmt.Errorf("bad tag %q", tag)
		}
	}
	for _, field := range splitEscaped(parts[1], ',', true) {
		key, value, ok := strings.Cut(field, "=")
		if !ok || key == "" || value == "" {
			return fmt.Errorf("bad field %q", field)
		}
		switch number, isInt := strings.CutSuffix(value, "i"); {
		case value[0] == '"' && len(value) > 1 && value[len(value)-1] == '"', value == "true", value == "false":
		case isInt:
			if _, err := strconv.ParseInt(number, 10, 64); err != nil {
				return fmt.Errorf("bad value %q", value)
			}
		default:
			if _, err := strconv.ParseFloat(value, 64); err != nil || strings.ContainsAny(value, "xXnN_") {
				return fmt.Errorf("bad value %q", value)
			}
		}
	}
	if len(parts) == 3 {
		if _, err := strconv.ParseInt(parts[2], 10, 64); err != nil {
			return fmt.Errorf("bad time %q", parts[2])
		}
	}
	return nil
}

// splitEscaped splits at a separator that is neither escaped nor, if it may be, in quotes.
func splitEscaped(s string, at byte, quotes bool) (parts []string) {
	from, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '"' && quotes:
			quoted = !quoted
		case s[i] == at && !quoted:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	return append(parts, s[from:])
}

const influxFile = `
source: {mqtt: {topics: ["room/+/temperature"]}}
actions:
  - http:
      url: %s/api/v2/write?bucket=home&precision=ms
      headers: {Authorization: "Token ${secret.influx}"}
      text: "temperature,room=${event.topic[1]} celsius=${event.text} ${event.time.UnixMilli()}"
      batch: {count: 500, bytes: 1MiB, every: %s}
    retry: {backoff: 1ms..20ms}
    expires: never
`

func TestBatchesReachInfluxDB(t *testing.T) {
	const events = 2000
	s, url := newInflux(t, events-1)
	w := newWorld(t, Options{SecretDirs: []string{secretDir(t, "influx", "s3cr3t-token")}})
	w.write("a.yaml", fmt.Sprintf(influxFile, url, "50ms"))
	w.is("a", StateRunning)
	dead := w.subscribe("$bus/dead/#")
	for i := range events {
		text := strconv.Itoa(i)
		if i == 777 {
			text = "broken" // a line that the server refuses, in the middle of a batch
		}
		if _, err := w.bus.Send(bus.Event{Topic: "room/kitchen/temperature", Payload: []byte(text), QoS: 1, Source: "client"}); err != nil {
			t.Fatal(err)
		}
	}
	<-s.all
	if e := dead.next(); !bytes.Contains(e.Payload, []byte("celsius=broken")) || !bytes.Contains(e.Payload, []byte("answered 400")) || bytes.Contains(e.Payload, []byte("s3cr3t")) {
		t.Errorf("the dead letter is %s", e.Payload)
	}
	dead.quiet()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, line := range s.lines {
		n := i
		if i >= 777 {
			n++
		}
		if !strings.HasPrefix(line, fmt.Sprintf("temperature,room=kitchen celsius=%d ", n)) {
			t.Fatalf("line %d is %s", i, line)
		}
	}
	if s.requests > events/10 {
		t.Errorf("%d requests for %d events: they are not sent together", s.requests, events)
	}
}

// BenchmarkInfluxDB measures the whole path: from the durable event through the mapping and the durable queue to the
// server's answer.
func BenchmarkInfluxDB(b *testing.B) {
	dir := b.TempDir()
	bu, err := bus.Open(context.Background(), bus.Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	defer bu.Close()
	_, cat := newProbes(&testing.T{})
	w := &world{t: &testing.T{}, dir: b.TempDir(), bus: bu, cat: cat, o: Options{Logger: slogDiscard(), SecretDirs: []string{secretDir(b, "influx", "s3cr3t-token")}}}
	w.start()
	defer func() { w.stop() }()
	s, url := newInflux(b, b.N)
	w.write("a.yaml", fmt.Sprintf(influxFile, url, "5ms"))
	w.is("a", StateRunning)
	b.ReportAllocs()
	b.ResetTimer()
	flight := make(chan bus.Pending, 8192)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for p := range flight {
			<-p.Done()
		}
	}()
	for range b.N {
		p, err := bu.Send(bus.Event{Topic: "room/kitchen/temperature", Payload: []byte("21.5"), QoS: 1, Source: "client"})
		if err != nil {
			b.Fatal(err)
		}
		flight <- p
	}
	close(flight)
	<-ended
	<-s.all
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(b.N)/float64(s.requests), "events/request")
}
