// This file keeps the list of bans in the data folder.

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/postbus/postbus/bus/ban"
	"github.com/postbus/postbus/config/atomicfile"
)

const bansFile = "bans.json" // in the data folder

// openBans reads the list of bans. A list that cannot be read stops the start: without it the banned
// clients would be back.
func openBans(dataDir string) (*ban.List, error) {
	file := filepath.Join(dataDir, bansFile)
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(fmt.Errorf("bans: %w", err), "change its owner to the user that postbus runs as")
	}
	l, err := ban.New(data, func(b []byte) error { return atomicfile.Write(file, b, 0o600) })
	if err != nil {
		return nil, withHint(fmt.Errorf("%s: %w", file, err), "repair the file, or remove it to end all bans")
	}
	return l, nil
}
