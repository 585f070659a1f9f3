package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// TestAFileThatIsSavedWhileTheBusStarts: the change is seen without another one.
func TestAFileThatIsSavedWhileTheBusStarts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	for _, text := range []string{"profile: pi\n", "profile: desktop\n", ""} {
		if err := os.WriteFile(file, []byte("profile: pi\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		w := newWatcher(file)
		saved := make(chan string, 1)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.start(file, func(why string) { saved <- why }, slog.New(slog.DiscardHandler))
		if text != "profile: pi\n" {
			<-saved
		}
		w.close()
		if len(saved) > 0 {
			t.Errorf("%q: reported without a change, or twice", text)
		}
	}
}
