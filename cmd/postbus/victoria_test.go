package main

// This file sends events to a real VictoriaMetrics, which speaks the protocol of InfluxDB, and kills it meanwhile.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/config/examples"
)

// victoria is a VictoriaMetrics that can be killed.
type victoria struct {
	t       testing.TB
	address string
	data    string
	cmd     *exec.Cmd
}

func newVictoria(t testing.TB) *victoria {
	t.Helper()
	if _, err := exec.LookPath("victoria-metrics"); err != nil {
		t.Skip("needs VictoriaMetrics: go install github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics@v1.146.0")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &victoria{t: t, address: l.Addr().String(), data: t.TempDir()}
	l.Close()
	v.start()
	t.Cleanup(v.kill)
	return v
}

func (v *victoria) start() {
	v.t.Helper()
	v.cmd = exec.Command("victoria-metrics", "-httpListenAddr="+v.address, "-storageDataPath="+v.data, "-retentionPeriod=100y", "-inmemoryDataFlushInterval=1s", "-memory.allowedBytes=128MiB")
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if res, err := http.Get("http://" + v.address + "/health"); err == nil {
			res.Body.Close()
			return
		} else if time.Now().After(end) {
			v.t.Fatal(err)
		}
	}
}

func (v *victoria) kill() {
	_ = v.cmd.Process.Kill() // it fails when it has ended
	_ = v.cmd.Wait()
}

// values are those of a series, in the order of their times.
func (v *victoria) values(series string) (values []float64, labels map[string]string) {
	v.t.Helper()
	_, _ = http.Get("http://" + v.address + "/internal/force_flush")
	res, err := http.Get("http://" + v.address + "/api/v1/export?match[]=" + url.QueryEscape(series))
	if err != nil {
		return nil, nil // it is being started
	}
	defer res.Body.Close()
	for in := bufio.NewReader(res.Body); ; {
		line, err := in.ReadBytes('\n')
		if len(line) > 1 {
			var one struct {
				Metric map[string]string
				Values []float64
			}
			if err := json.Unmarshal(line, &one); err != nil {
				v.t.Fatal(err)
			}
			values, labels = append(values, one.Values...), one.Metric
		}
		if err == io.EOF {
			return values, labels
		}
	}
}

func TestVictoriaMetrics(t *testing.T) {
	const events = 3000
	for _, c := range []struct{ file, origin, topic, series string }{
		{"influxdb", "http://influxdb.local:8086", "home/living room/temperature", "temperature_celsius"},
		{"victoriametrics", "http://victoriametrics.local:8428", "home/kitchen/humidity", "home_humidity"},
	} {
		t.Run(c.file, func(t *testing.T) {
			v := newVictoria(t)
			text, err := examples.Plugins.ReadFile("plugins/" + c.file + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			file := strings.NewReplacer(c.origin, "http://"+v.address, "every: 1s", "every: 10ms", "backoff: 1s..1m", "backoff: 10ms..100ms").Replace(string(text))
			file, _, _ = strings.Cut(file, "\ntests:")
			b := runPlugin(t, c.file, file, map[string]string{"influx": "s3cr3t-influx"})
			for i := range events {
				if i == events/2 { // it is killed with a batch in flight, and comes back
					v.kill()
				}
				if _, err := b.Publish(t.Context(), bus.Event{Topic: c.topic, Payload: fmt.Appendf(nil, "%d.5", i), QoS: 1, Source: "device"}); err != nil {
					t.Fatal(err)
				}
				if i == events*2/3 {
					v.start()
				}
			}
			// What the database had acknowledged and not written itself is its own loss.
			want := map[float64]bool{}
			for i := events / 2; i < events; i++ {
				want[float64(i)+0.5] = true
			}
			missing := len(want)
			for end := time.Now().Add(time.Minute); missing > 0; time.Sleep(50 * time.Millisecond) {
				values, labels := v.values(c.series)
				found := map[float64]bool{}
				for _, x := range values {
					if want[x] {
						found[x] = true
					}
				}
				if missing = len(want) - len(found); missing > 0 && time.Now().After(end) {
					t.Fatalf("%d of %d events did not arrive", missing, len(want))
				}
				if room := strings.Split(c.topic, "/")[1]; missing == 0 && labels["room"] != room {
					t.Errorf("the labels are %v", labels)
				}
			}
		})
	}
}

// BenchmarkVictoriaMetrics is the whole path into a real database: durable events, mapping, durable queue, batches of 500.
func BenchmarkVictoriaMetrics(b *testing.B) {
	v := newVictoria(b)
	x := runPlugin(b, "a", `
source: {mqtt: {topics: ["room/+/temperature"]}}
actions:
  - http: {url: "http://`+v.address+`/write?precision=ms", text: "temperature,room=${event.topic[1]} celsius=${event.text} ${event.time.UnixMilli()}", batch: {count: 500, every: 5ms}}
    expires: never
`, nil)
	lag := func() (n uint64) {
		for _, s := range x.Sessions() {
			if strings.HasSuffix(s.Name, "plugin/a/http") || strings.HasSuffix(s.Name, "plugin/a/mqtt") {
				n += s.Lag
			}
		}
		return n
	}
	b.ResetTimer()
	flight := make(chan bus.Pending, 8192)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for p := range flight {
			<-p.Done()
		}
	}()
	for i := range b.N {
		p, err := x.Send(bus.Event{Topic: "room/kitchen/temperature", Payload: fmt.Appendf(nil, "%d", i%50), QoS: 1, Source: "client"})
		if err != nil {
			b.Fatal(err)
		}
		flight <- p
	}
	close(flight)
	<-ended
	for lag() > 0 {
		time.Sleep(5 * time.Millisecond)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
