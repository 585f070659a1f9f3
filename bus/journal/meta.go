package journal

// This file is meta.json: the format, the epoch, and where the journal ends. It is written when a segment
// begins and when the journal is closed. What it says can be rebuilt from the headers of the segments.

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// ErrFormat is wrapped by Open's error when a newer postbus wrote the directory. Nothing was touched.
var ErrFormat = errors.New("the data was written by a newer version of postbus")

const metaName = "meta.json"

// meta says also how far the journal reached, because nothing in the other files tells that the newest of
// them are missing.
type meta struct {
	Format  int    `json:"format"`
	Epoch   string `json:"epoch"`
	Segment uint64 `json:"segment,omitempty"` // the first sequence of the newest segment; 0: not known
	Closed  bool   `json:"closed,omitempty"`  // nothing was written since
	End     uint64 `json:"end,omitempty"`     // the last sequence, of a journal that was closed
}

// readMeta reads meta.json; fault is why it does not count, when it is missing or damaged.
func (l *Log) readMeta() (fault string, err error) {
	b, err := l.readFile(metaName)
	if errors.Is(err, fs.ErrNotExist) {
		return "it is missing", nil
	}
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(b, &l.meta); err != nil {
		l.meta = meta{}
		return err.Error(), nil
	}
	if l.meta.Format > formatVersion {
		return "", fmt.Errorf("meta.json: format %d, this version knows up to %d: %w", l.meta.Format, formatVersion, ErrFormat)
	}
	epoch, err := hex.DecodeString(l.meta.Epoch)
	if err != nil || len(epoch) != len(l.epoch) {
		fault = fmt.Sprintf("epoch %q is not 32 hexadecimal digits", l.meta.Epoch)
		l.meta = meta{}
		return fault, nil
	}
	copy(l.epoch[:], epoch)
	return "", nil
}

// rebuildMeta writes a meta.json for the epoch of the segments that are there; a new epoch where there is
// none.
func (l *Log) rebuildMeta(fault string) error {
	names, err := l.fs.List()
	if err != nil {
		return err
	}
	count := map[[16]byte]int{}
	for _, name := range names {
		if _, ok := parseName(name, ".seg"); !ok {
			continue
		}
		b, _, err := l.readHeader(name)
		if unreadable(err) {
			return err
		}
		h, err := decodeSegmentHeader(b)
		if err != nil {
			continue
		}
		if h.format > formatVersion {
			return fmt.Errorf("%s: format %d, this version knows up to %d: %w", name, h.format, formatVersion, ErrFormat)
		}
		if count[h.epoch]++; count[h.epoch] >= count[l.epoch] { // of two with as many files the newer one
			l.epoch = h.epoch
		}
	}
	known := len(count) > 0
	if !known {
		if _, err := rand.Read(l.epoch[:]); err != nil {
			return err
		}
	}
	if b, err := l.readFile(metaName); err == nil && len(b) > 0 {
		if _, err := l.setAside(metaName); err != nil {
			return err
		}
	}
	switch epoch := hex.EncodeToString(l.epoch[:]); {
	case known:
		l.log.Error("meta.json was rebuilt from the headers of the journal's segments", "fault", fault, "epoch", epoch)
	case len(names) > 0:
		l.log.Error("meta.json was written anew, with a new epoch, because no segment names the old one", "fault", fault, "epoch", epoch)
	}
	return l.writeMeta(meta{})
}

// writeMeta makes m durable, with the format and the epoch.
func (l *Log) writeMeta(m meta) error {
	m.Format, m.Epoch = formatVersion, hex.EncodeToString(l.epoch[:])
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	err = writeFile(l.fs, metaName, func(f File) error {
		_, err := f.WriteAt(append(b, '\n'), 0)
		return err
	})
	if err == nil {
		l.meta = m
	}
	return err
}

// setAside gives a file a name under which it is kept and not used.
func (l *Log) setAside(name string) (to string, err error) {
	for i := 1; ; i++ {
		if to = name + ".damaged"; i > 1 {
			to = fmt.Sprintf("%s.damaged%d", name, i)
		}
		f, err := l.fs.Open(to, false)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return "", err
		}
		f.Close()
	}
	if err := l.fs.Rename(name, to); err != nil {
		return "", err
	}
	l.log.Error("a file that does not count was renamed", "file", name, "to", to)
	return to, nil
}

// writeFile makes a file durable under its name or leaves none of it.
func writeFile(fsys FS, name string, fill func(File) error) error {
	tmp := name + ".tmp"
	f, err := fsys.Open(tmp, true)
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		if err = fsys.Rename(tmp, name); err == nil {
			return fsys.SyncDir()
		}
	}
	return errors.Join(err, ignoreMissing(fsys.Remove(tmp)))
}

func (l *Log) readFile(name string) ([]byte, error) {
	f, err := l.fs.Open(name, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}
