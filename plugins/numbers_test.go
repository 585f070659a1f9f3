package plugins

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/postbus/postbus/plugins/payload"
)

// TestWholeNumbersGoThrough: identifiers of 64 bits and more leave a mapping, its state (also after
// a restart) and an action unchanged.
func TestWholeNumbersGoThrough(t *testing.T) {
	for _, id := range []string{"9007199254740993", "2882429806056571124", "-9223372036854775808", "18446744073709551615", "123456789012345678901234567890"} {
		t.Run(id, func(t *testing.T) {
			w := newWorld(t, Options{})
			out := w.subscribe("out/#")
			w.write("a.yaml", fmt.Sprintf(`
source: {probe: {name: a}}
publish:
  - {topic: out/before, payload: "${state.id ?? 0}"}
  - {topic: out/tree, payload: {id: "${event.json.id}", literal: %[1]s, next: "${event.json.id + 1 - 1}"}, set: {id: "${event.json.id}"}}
  - {topic: out/whole, payload: "${event.json}"}
  - {topic: out/literal, payload: %[1]s}
  - {topic: out/same, when: event.json.id == %[1]s and state.id == event.json.id, payload: "${state.id}"}
actions:
  - note: {title: "${event.json.id}", data: {id: "${event.json.id}"}, payload: "${event.json.id}"}
tests:
  - event: {json: {id: %[1]s}}
    expect:
      - {topic: out/before, payload: 0}
      - {topic: out/tree, payload: {id: %[1]s, literal: %[1]s, next: %[1]s}}
      - {topic: out/whole, payload: {id: %[1]s}}
      - {topic: out/literal, payload: %[1]s}
      - {topic: out/same, payload: %[1]s}
      - {note: {title: %[1]s, data: {id: %[1]s}}}
`, id))
			doc, _ := payload.JSON([]byte(`{"id": ` + id + `}`))
			w.is("a", StateRunning)
			post := func(before string) {
				t.Helper()
				w.probes.post(t, "a", map[string]any{"json": doc})
				for _, want := range []string{before, fmt.Sprintf(`{"id":%[1]s,"literal":%[1]s,"next":%[1]s}`, id), `{"id":` + id + `}`, id, id} {
					if e := out.next(); string(e.Payload) != want {
						t.Errorf("%s: %s, want %s", e.Topic, e.Payload, want)
					}
				}
				o := w.nextJob()
				if got, err := json.Marshal([]any{o.Title, o.Data["id"], o.Payload}); err != nil || string(got) != fmt.Sprintf(`["%[1]s",%[1]s,%[1]s]`, id) {
					t.Errorf("the action gets %s, %v", got, err)
				}
			}
			post("0")
			w.stop()
			w.start()
			post(id)
		})
	}
	w := newWorld(t, Options{})
	w.write("a.yaml", "source: {probe: {name: a}}\npublish: [{topic: x}]\ntests:\n  - {event: {json: {id: 9007199254740993}}, expect: [{payload: {json: {id: 9007199254740992}}}]}\n")
	w.is("a", StateRejected)
}

// TestSecretsOfWindows: a secret that an editor or shell saved with a byte order mark is read
// without it.
func TestSecretsOfWindows(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"utf8": "\xef\xbb\xbfgeheim\r\n", "utf16": "\xff\xfeg\x00e\x00h\x00e\x00i\x00m\x00\r\x00\n\x00", "plain": "geheim\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := ReadSecret([]string{dir}, name); s != "geheim" || err != nil {
			t.Errorf("%s: %q, %v", name, s, err)
		}
	}
}
