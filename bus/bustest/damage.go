package bustest

// This file is what people and failing media do to the files of a disk.

import (
	"fmt"
	"maps"

	"github.com/postbus/postbus/bus/journal"
)

// Corrupt flips a bit of a byte of a file, as a failing medium does.
func (d *Disk) Corrupt(name string, off int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.dir[name]
	i.data[off] ^= 0x40
	if off < len(i.durable) {
		i.durable[off] ^= 0x40
	}
}

// settleDir makes the directory as it is survive a power cut.
func (d *Disk) settleDir() { d.synced, d.log = maps.Clone(d.dir), nil }

// Lose removes a file, at once and for good. Open files of it can still be read and written.
func (d *Disk) Lose(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settleDir()
	delete(d.dir, name)
	delete(d.synced, name)
}

// Cut makes a file shorter, at once and for good.
func (d *Disk) Cut(name string, size int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.dir[name]
	i.data = i.data[:size]
	i.durable = append([]byte(nil), i.data...)
	i.dirty = nil
}

// Swap exchanges the names of two files; b may be free.
func (d *Disk) Swap(a, b string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settleDir()
	for _, dir := range []map[string]*inode{d.dir, d.synced} {
		dir[a], dir[b] = dir[b], dir[a]
		for _, n := range []string{a, b} {
			if dir[n] == nil {
				delete(dir, n)
			}
		}
	}
}

// Content is a copy of what a file holds; nil when there is none.
func (d *Disk) Content(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := d.dir[name]; i != nil {
		return append([]byte{}, i.data...)
	}
	return nil
}

func (d *Disk) inPlace(name string, i *inode) error {
	switch now := d.dir[name]; {
	case now == nil:
		return fmt.Errorf("%s is not there: %w", name, journal.ErrMisplaced)
	case now != i:
		return fmt.Errorf("%s is another one now: %w", name, journal.ErrMisplaced)
	}
	return nil
}
