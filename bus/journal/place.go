package journal

// This file notices files that are removed, moved or replaced while the journal is open. Before a group is
// acknowledged, the active segment is looked up by its name; once a second the directory, its lock and
// all files are. While something is not in its place nothing is accepted, and nothing is written into a
// directory that is not the one that was opened.

import (
	"errors"
	"fmt"
	"slices"
)

// errTaken is the error of a directory that was without a lock, which another process took.
var errTaken = errors.New("another process used the data directory; stop it, and restart this one")

// Restored counts how often files were found to have vanished while the journal is open. The owner writes a
// snapshot then: the older ones may be among those that are gone.
func (l *Log) Restored() uint64 { return l.restored.Load() }

// place checks the directory and its lock.
func (l *Log) place() error {
	if l.taken.Load() {
		return errTaken
	}
	if !l.watch {
		return nil
	}
	return l.lock.InPlace()
}

// startWatching turns the checks on, unless they fail on files that were opened just now: some network file
// systems give a file another identity each time it is looked up.
func (l *Log) startWatching() {
	if err := errors.Join(l.lock.InPlace(), l.active.InPlace()); err != nil {
		l.log.Warn("this file system does not tell whether a file was replaced; data that is moved or removed while the bus runs will not be noticed", "err", err)
		return
	}
	l.watch = true
}

// lookAtFiles is the check once a second. The writer calls it.
func (l *Log) lookAtFiles() {
	l.mu.Lock()
	failed := l.err
	l.mu.Unlock()
	if !l.watch || failed != nil { // recover looks then
		return
	}
	err := l.holdDirectory()
	if err == nil {
		err = l.active.InPlace()
	}
	if err == nil {
		err = l.lookForVanished()
	}
	if err != nil {
		l.fail(newGroup(), err)
	}
}

// holdDirectory checks the directory and takes its lock again when that alone is gone.
func (l *Log) holdDirectory() error {
	err := l.place()
	if !errors.Is(err, errLockGone) {
		return err
	}
	if renewed := l.lock.Renew(); renewed != nil {
		l.taken.Store(errors.Is(renewed, ErrLocked))
		return fmt.Errorf("%w; %w", renewed, err)
	}
	names, listed := l.fs.List()
	if listed != nil {
		return listed
	}
	for _, name := range names {
		if base, ok := parseName(name, ".seg"); ok && base > l.activeSegment().base {
			l.taken.Store(true)
			return fmt.Errorf("%s is not of this process: %w", name, errTaken)
		}
	}
	l.log.Warn("the lock file had vanished and was taken again; do not delete it, it keeps a second bus away", "err", err)
	return l.place()
}

// lookForVanished finds sealed segments and a newest snapshot whose files are gone.
func (l *Log) lookForVanished() error {
	newest := l.newestSnapshot.Load()
	names, err := l.fs.List()
	if err != nil {
		return nil // a read that fails reports itself
	}
	l.rd.RLock() // after the list: Retain forgets a segment before it removes the file
	segs := slices.Clone(l.segs)
	l.rd.RUnlock()
	for _, seg := range segs[:len(segs)-1] {
		if _, found := slices.BinarySearch(names, segmentName(seg.base)); found || seg.missing {
			continue
		}
		if err := l.vanished(seg); err != nil {
			return err
		}
	}
	if newest == 0 {
		return nil
	}
	if _, found := slices.BinarySearch(names, snapshotName(newest)); !found && newest == l.newestSnapshot.Load() {
		l.log.Error("the newest snapshot vanished while the bus ran, a new one is written", "file", snapshotName(newest))
		l.newestSnapshot.Store(0)
		l.restored.Add(1)
	}
	return nil
}

// restore makes sure, before a journal that failed continues, that its files are in their places. An active
// segment that was unlinked is still open: it is written again, and nothing of it is lost.
func (l *Log) restore() error {
	if !l.watch {
		return nil
	}
	if err := l.holdDirectory(); err != nil {
		return err
	}
	err := l.active.InPlace()
	if !errors.Is(err, ErrMisplaced) {
		return err
	}
	seg := l.activeSegment()
	name := segmentName(seg.base)
	if f, err := l.fs.Open(name, false); err == nil {
		f.Close()
		if _, err := l.setAside(name); err != nil {
			return err
		}
	}
	if err := writeFile(l.fs, name, func(f File) error { return copyFile(f, l.active, seg.size) }); err != nil {
		return err
	}
	f, err := l.fs.Open(name, false)
	if err != nil {
		return err
	}
	l.active.Close()
	l.active, l.unsynced = f, false
	l.log.Error("the active segment had vanished and was written again from the open file; nothing of it is lost", "file", name,
		"from_seq", seg.base, "to_seq", seg.last)
	l.restored.Add(1)
	return nil
}

func copyFile(to, from File, size int64) error {
	b := make([]byte, scanChunk)
	for off := int64(0); off < size; {
		n, err := from.ReadAt(b[:min(size-off, scanChunk)], off)
		if n == 0 {
			return err
		}
		if _, err := to.WriteAt(b[:n], off); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// stillFails notes why the journal can't continue, and logs it when it is another reason than before.
func (l *Log) stillFails(err error) {
	u := unavailable(err)
	l.mu.Lock()
	before := l.err
	l.err = u
	l.mu.Unlock()
	if before == nil || before.Error() != u.Error() {
		l.log.Error("the journal still accepts no events", "err", u)
	}
}
