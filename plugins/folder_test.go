package plugins

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAFolderThatVanishes(t *testing.T) {
	w := newWorld(t, Options{})
	out := w.subscribe("home/#")
	w.write("a.yaml", simple)
	w.is("a", StateRunning)
	away := w.dir + ".away"
	if err := os.Rename(w.dir, away); err != nil {
		t.Fatal(err)
	}
	// Plugins keep running: a missing folder does not state which plugins to stop.
	w.probes.post(t, "a", map[string]any{"value": 5})
	out.next()
	until(t, "it was noticed", func() bool { _, err := os.Stat(w.dir); return err != nil })
	if err := os.Rename(away, w.dir); err != nil {
		t.Fatal(err)
	}
	w.write("b.yaml", strings.Replace(simple, "name: a", "name: b", 1))
	w.is("b", StateRunning)
	if w.probes.opened["a"] != 1 {
		t.Errorf("opened %d times", w.probes.opened["a"])
	}
	// A new folder in its place applies.
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	until(t, "nothing is left", func() bool { return len(w.s.List()) == 0 })
	w.write("c.yaml", strings.Replace(simple, "name: a", "name: c", 1))
	w.is("c", StateRunning)
}

func TestHostileFiles(t *testing.T) {
	w := newWorld(t, Options{})
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+string(c-1)+",", 9), ",") + "]\n"
	}
	for name, text := range map[string]string{
		"large.yaml":   simple + strings.Repeat("# padding\n", 220_000),
		"bomb.yaml":    bomb,
		"deep.yaml":    strings.Repeat("[", 100_000),
		"binary.yaml":  "\x00\x01\x02\xff",
		"nothing.yaml": "",
		"utf16.yaml":   "s\x00o\x00u\x00r\x00c\x00e\x00",
	} {
		w.write(name, text)
		st := w.is(strings.TrimSuffix(name, ".yaml"), StateRejected)
		if len(st.Errors) == 0 || st.Errors[0].Message == "" {
			t.Errorf("%s: %+v", name, st.Errors)
		}
	}
	w.write("good.yaml", simple)
	w.is("good", StateRunning)
}

func TestLinksAsKubernetesMakesThem(t *testing.T) {
	w := newWorld(t, Options{})
	version := func(n, text string) {
		dir := filepath.Join(w.dir, "..v"+n)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("..v"+n, filepath.Join(w.dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(w.dir, "..data_tmp"), filepath.Join(w.dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("1", simple)
	if err := os.Symlink(filepath.Join("..data", "a.yaml"), filepath.Join(w.dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	w.is("a", StateRunning, generation(1))
	version("2", simple+"  - {topic: home/z}\n")
	w.is("a", StateRunning, generation(2))
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{simple, noting, benched, "sources: [{probe: {name: a, port: 1, every: 1s, size: 4KiB, ratio: 0.1, list: [a], block: {header: x}}}]\npublish: [{topic: \"a/${event.text}\", rate: 1/s, set: {x: 1}, home_assistant: {}}]\ntests: [{event: {value: 1}, expect: [{topic: a}]}]\npermissions: {publish: [\"#\"]}\n"} {
		f.Add(s)
	}
	_, cat := newProbes(&testing.T{})
	c := &Checker{Catalog: cat, Dir: "/x", Host: "test", Env: []string{"A"}}
	f.Fuzz(func(t *testing.T, text string) {
		start := time.Now()
		spec, errs := c.Check("a", "a.yaml", []byte(text))
		if (spec == nil) == (errs == nil) {
			t.Fatal("neither a plugin nor a mistake, or both")
		}
		for _, e := range errs {
			if e.Render() == "" || strings.ContainsAny(e.Reason, "\n\x00") {
				t.Fatalf("%q", e.Reason)
			}
		}
		if spec != nil {
			spec.Replay("test", nil)(map[string]any{"value": 1, "text": text})
		}
		if d := time.Since(start); d > time.Minute { // it hangs
			t.Fatalf("took %s", d)
		}
	})
}
