//go:build unix

package main

// This file kills the real program while the action "file" writes.

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
)

// TestKilledWhileItWritesFiles publishes events while the program is killed again and again. Each
// event has its line in a JSON file and its row in a CSV file at least once, with all its content,
// and no line is cut off or mixed with another.
func TestKilledWhileItWritesFiles(t *testing.T) {
	const events, kills = 20_000, 12
	dir := t.TempDir()
	for name, text := range map[string]string{
		"postbus.yaml": "data_dir: data\n",
		"plugins.d/write.yaml": `source: {mqtt: {topics: [in/+]}}
actions:
  - name: lines
    file: {folder: out, path: "${event.topic[1]}/lines.jsonl", json: {n: "${event.json.n}", text: "${event.json.text}"}}
  - name: rows
    file: {folder: out, path: rows.csv, rotate: {size: 1MiB, keep: 1000}, columns: {text: "${event.json.text}", n: "${event.json.n}"}}
`,
		"plugins.d/out/.keep": "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	url := "tcp://" + programtest.FreePort(t)
	var log syncBuffer
	p := newKilled(t, &log, "run", "--config", filepath.Join(dir, "postbus.yaml"), "--mqtt", url, "--http", "off")
	p.env = []string{"HOME=" + dir}
	p.start()
	text := func(n int) string { // some lines are longer than a page, so that a kill may cut them
		s := fmt.Sprintf("event %d, \"quoted\"\n%d,\"", n, n)
		if n%100 == 0 {
			s += strings.Repeat("long\n", 10_000)
		}
		return s
	}
	c := persistent(t, url, "writer")
	soon(t, "the plugin runs", func() bool { return strings.Contains(log.String(), "plugin=write generation=1") })
	size := func() (n int64) {
		found, _ := filepath.Glob(filepath.Join(dir, "plugins.d/out/*"))
		nested, _ := filepath.Glob(filepath.Join(dir, "plugins.d/out/*/*"))
		for _, f := range append(found, nested...) {
			if info, err := os.Stat(f); err == nil && !info.IsDir() {
				n += info.Size()
			}
		}
		return n
	}
	published := make(chan error, 1)
	go func() {
		for next := 0; next < events; {
			var batch []int
			for range 500 {
				batch = append(batch, next)
				next++
			}
			for len(batch) > 0 { // the client may forget an event whose packet it could not write: it says so
				var toks []paho.Token
				for _, n := range batch {
					payload, _ := json.Marshal(map[string]any{"n": n, "text": text(n)})
					toks = append(toks, c.Publish("in/"+strconv.Itoa(n%3), 1, false, payload))
				}
				var again []int
				for i, tok := range toks {
					if !tok.WaitTimeout(2 * time.Minute) {
						published <- fmt.Errorf("event %d was not acknowledged", batch[i])
						return
					}
					if tok.Error() != nil {
						again = append(again, batch[i])
					}
				}
				batch = again
			}
		}
		published <- nil
	}()
	random := rand.New(rand.NewSource(1))
	for range kills {
		limit := size() + random.Int63n(1<<20)
		soon(t, "more is written", func() bool { return size() > limit })
		p.kill()
		p.start()
	}
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	lines, rows := map[int]int{}, map[int]int{}
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		clear(lines)
		clear(rows)
		problem := readLines(t, dir, lines) + readRows(t, dir, rows) // a line may just be written
		if len(lines) == events && len(rows) == events && problem == "" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d lines and %d rows of %d events, %s\n%s", len(lines), len(rows), events, problem, &log)
		}
	}
	p.kill() // nothing writes any more
	for what, problem := range map[string]string{"lines": readLines(t, dir, map[int]int{}), "rows": readRows(t, dir, map[int]int{})} {
		if problem != "" {
			t.Errorf("%s: %s", what, problem)
		}
	}
	twice := 0
	for n := range events {
		twice += lines[n] + rows[n] - 2
	}
	t.Logf("%d of %d lines were written again, %d were cut off", twice, 2*events, strings.Count(log.String(), "was incomplete"))
}

// readLines counts the events in the JSON files, and returns a problem of a line.
func readLines(t *testing.T, dir string, seen map[int]int) string {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "plugins.d/out/*/lines.jsonl"))
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			var e struct {
				N    *int
				Text string
			}
			if err := json.Unmarshal(line, &e); err != nil || e.N == nil {
				return fmt.Sprintf("%.100q: %v", line, err)
			}
			if problem := intact(*e.N, e.Text); problem != "" {
				return problem
			}
			seen[*e.N]++
		}
	}
	return ""
}

// readRows counts the events in the CSV files, and returns a problem of a row.
func readRows(t *testing.T, dir string, seen map[int]int) string {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "plugins.d/out/rows*.csv"))
	for _, f := range files {
		if strings.HasSuffix(f, "~cut.csv") {
			continue // it holds what a kill cut off
		}
		data, err := os.ReadFile(f)
		if err != nil {
			return err.Error() // renamed
		}
		r := csv.NewReader(bytes.NewReader(data))
		r.FieldsPerRecord = 2
		for first := true; ; first = false {
			record, err := r.Read()
			if err == io.EOF {
				break
			}
			if err != nil {
				return fmt.Sprintf("%s: %v", f, err)
			}
			if first != (record[1] == "n") {
				return fmt.Sprintf("%s: the names of the columns: %v", f, record)
			}
			if first {
				continue
			}
			n, err := strconv.Atoi(record[1])
			if err != nil {
				return err.Error()
			}
			if problem := intact(n, record[0]); problem != "" {
				return problem
			}
			seen[n]++
		}
	}
	return ""
}

func intact(n int, text string) string {
	if want := fmt.Sprintf("event %d, \"quoted\"\n%d,\"", n, n); strings.TrimRight(text, "long\n") != want || n%100 == 0 && len(text) != len(want)+50_000 {
		return fmt.Sprintf("event %d has the text %.100q of %d bytes", n, text, len(text))
	}
	return ""
}
