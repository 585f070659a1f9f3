package kindtest

// This file is a plugins folder, with programs in it, for kinds that run programs.

import (
	"os"
	"path/filepath"
	"testing"
)

// NewBusWithFolder makes a bus with an empty plugins folder, which is removed with the test.
func NewBusWithFolder(t *testing.T) *Bus {
	b := NewBus()
	b.Folder = t.TempDir()
	return b
}

// Script writes a shell program into the plugins folder, in place of the one before, and returns its
// command.
func (b *Bus) Script(t *testing.T, text string) (command []string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.Folder, "x.sh"), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{"./x.sh"}
}
