//go:build unix

package plugins

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAPipeIsNoPlugin(t *testing.T) {
	w := newWorld(t, Options{})
	if err := syscall.Mkfifo(filepath.Join(w.dir, "pipe.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.write("a.yaml", simple)
	w.is("a", StateRunning)
	st := w.is("pipe", StateRejected)
	if !strings.Contains(st.Errors[0].Message, "not a regular file") {
		t.Errorf("%+v", st.Errors)
	}
}
