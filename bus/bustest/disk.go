// Package bustest holds a simulated disk that loses, tears and refuses writes. It is for postbus's
// own tests and for those of programs that embed the bus; a production program does not need it.
package bustest

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"sort"
	"sync"
	"syscall"

	"github.com/postbus/postbus/bus/journal"
)

// sector is the unit in which an unsynced write survives a power cut or does not.
const sector = 512

// ErrIO is the error of a failing disk.
var ErrIO = syscall.EIO

// Disk is a simulated disk: a journal.FS in memory. PowerCut may lose or tear data that was written
// and not synced. Any operation can be made to fail. It is safe for concurrent use.
type Disk struct {
	mu     sync.Mutex
	rnd    *rand.Rand
	dir    map[string]*inode // the directory as programs see it
	synced map[string]*inode // the directory as of its last sync
	log    []dirOp           // its changes since; a power cut undoes any of them, each as a whole
	off    bool              // the power is cut: everything fails
	full   bool
	failIn int // operations until a failure; 0: none planned
	sticky bool
	lock   bool
	ops    int
	syncs  int
}

type inode struct {
	data    []byte // as programs see it
	durable []byte // as of the last sync
	dirty   []span // written since the last sync
}

type span struct{ from, to int }

// dirOp is a change of the directory: from is removed, and to leads to i; one may be empty.
type dirOp struct {
	from, to string
	i        *inode
}

// NewDisk returns an empty disk; seed decides which data a power cut destroys.
func NewDisk(seed uint64) *Disk {
	return &Disk{rnd: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), dir: map[string]*inode{}, synced: map[string]*inode{}}
}

// Fill makes the disk full, or frees its space again.
func (d *Disk) Fill(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// FailIn makes the nth write or sync from now on fail with ErrIO. With sticky all later ones fail
// too, until FailIn(0, false).
func (d *Disk) FailIn(n int, sticky bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failIn, d.sticky = n, sticky
}

// Ops counts writes, syncs, renames and removals so far.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// PowerCut ends this disk's life: every operation through it fails from now on. It returns the disk
// as the next start finds it: synced data is complete; of unsynced data each sector survives or
// not.
func (d *Disk) PowerCut() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	next := NewDisk(d.rnd.Uint64())
	dir := maps.Clone(d.synced)
	for _, op := range d.log {
		if d.rnd.IntN(2) == 0 { // it did not reach the disk before the cut
			continue
		}
		if op.i == nil || dir[op.from] == op.i {
			delete(dir, op.from)
		}
		if op.to != "" {
			dir[op.to] = op.i
		}
	}
	for _, n := range sorted(dir) {
		b := d.survive(dir[n])
		i := &inode{data: b, durable: append([]byte(nil), b...)}
		next.dir[n], next.synced[n] = i, i
	}
	return next
}

// Kill ends the process, not the machine: the returned disk has all written data.
func (d *Disk) Kill() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	next := NewDisk(d.rnd.Uint64())
	copies := map[*inode]*inode{}
	for _, n := range sorted(d.dir) {
		i := d.dir[n]
		c := &inode{data: append([]byte(nil), i.data...), durable: append([]byte(nil), i.durable...), dirty: append([]span(nil), i.dirty...)}
		next.dir[n] = c
		copies[i] = c
	}
	copied := func(i *inode) *inode {
		if c := copies[i]; c != nil || i == nil {
			return c
		}
		c := &inode{data: append([]byte(nil), i.data...), durable: append([]byte(nil), i.durable...), dirty: append([]span(nil), i.dirty...)}
		copies[i] = c
		return c
	}
	for _, n := range sorted(d.synced) {
		next.synced[n] = copied(d.synced[n])
	}
	for _, op := range d.log {
		next.log = append(next.log, dirOp{op.from, op.to, copied(op.i)})
	}
	return next
}

func (d *Disk) survive(i *inode) []byte {
	b := append([]byte(nil), i.durable...)
	if len(i.data) != len(b) {
		size := len(b)
		if d.rnd.IntN(2) == 0 {
			size = len(i.data)
		}
		if size > len(b) {
			b = append(b, make([]byte, size-len(b))...)
		}
		b = b[:size]
	}
	for _, s := range i.dirty {
		mode := d.rnd.IntN(3) // all of it, none of it, or some sectors
		for at := s.from; at < s.to; {
			end := min((at/sector+1)*sector, s.to)
			if mode == 0 || mode == 2 && d.rnd.IntN(2) == 0 {
				if end <= len(i.data) && end <= len(b) {
					copy(b[at:end], i.data[at:end])
				}
			}
			at = end
		}
	}
	return b
}

func sorted[V any](m map[string]V) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// op counts one operation that changes the disk, and fails it if that is due. The caller holds mu.
func (d *Disk) op(grows bool) error {
	if d.off {
		return errors.New("the power is off")
	}
	d.ops++
	if d.failIn > 0 {
		d.failIn--
		if d.failIn == 0 {
			if d.sticky {
				d.failIn = 1
			}
			return ErrIO
		}
	}
	if grows && d.full {
		return syscall.ENOSPC
	}
	return nil
}

// Open implements journal.FS.
func (d *Disk) Open(name string, create bool) (journal.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return nil, errors.New("the power is off")
	}
	i := d.dir[name]
	if create {
		if err := d.op(true); err != nil {
			return nil, err
		}
		i = &inode{}
		d.dir[name] = i
		d.log = append(d.log, dirOp{to: name, i: i})
	}
	if i == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{d, i, name}, nil
}

// List implements journal.FS.
func (d *Disk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sorted(d.dir), nil
}

// Rename implements journal.FS.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(false); err != nil {
		return err
	}
	d.log = append(d.log, dirOp{from, to, d.dir[from]})
	d.dir[to] = d.dir[from]
	delete(d.dir, from)
	return nil
}

// Remove implements journal.FS.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(false); err != nil {
		return err
	}
	if d.dir[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(d.dir, name)
	d.log = append(d.log, dirOp{from: name})
	return nil
}

// SyncDir implements journal.FS.
func (d *Disk) SyncDir() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(false); err != nil {
		return err
	}
	d.synced, d.log = maps.Clone(d.dir), nil
	return nil
}

// Free implements journal.FS.
func (d *Disk) Free() (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return 0, nil
	}
	return 1 << 40, nil
}

// Lock implements journal.FS.
func (d *Disk) Lock() (journal.Lock, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock {
		return nil, journal.ErrLocked
	}
	d.lock = true
	return unlock{d}, nil
}

type unlock struct{ d *Disk }

func (u unlock) InPlace() error { return nil }
func (u unlock) Renew() error   { return nil }

func (u unlock) Close() error {
	u.d.mu.Lock()
	defer u.d.mu.Unlock()
	u.d.lock = false
	return nil
}

type file struct {
	d    *Disk
	i    *inode
	name string
}

func (f *file) InPlace() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.d.inPlace(f.name, f.i)
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.off {
		return 0, errors.New("the power is off")
	}
	if off >= int64(len(f.i.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.i.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes only a part of p if it is the operation that fails.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	err := f.d.op(int(off)+len(p) > len(f.i.data))
	if err != nil {
		if f.d.off || len(p) == 0 {
			return 0, err
		}
		p = p[:f.d.rnd.IntN(len(p))]
	}
	if end := int(off) + len(p); end > len(f.i.data) {
		f.i.data = append(f.i.data, make([]byte, end-len(f.i.data))...)
	}
	n := copy(f.i.data[off:], p)
	f.i.dirty = append(f.i.dirty, span{int(off), int(off) + n})
	return n, err
}

// Sync that fails drops the dirty data, as Linux does: a second sync proves nothing.
func (f *file) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	err := f.d.op(false)
	if f.d.off {
		return err
	}
	if err != nil {
		f.i.durable = f.d.survive(f.i)
		f.i.dirty = nil
		return err
	}
	f.d.syncs++
	if len(f.i.durable) == len(f.i.data) {
		for _, s := range f.i.dirty {
			copy(f.i.durable[s.from:s.to], f.i.data[s.from:s.to])
		}
	} else {
		f.i.durable = append([]byte(nil), f.i.data...)
	}
	f.i.dirty = nil
	return nil
}

func (f *file) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.op(false); err != nil {
		return err
	}
	f.resize(int(size))
	return nil
}

func (f *file) Preallocate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.op(true); err != nil {
		return err
	}
	if int(size) > len(f.i.data) {
		f.resize(int(size))
	}
	return nil
}

func (f *file) resize(size int) {
	if size > len(f.i.data) {
		f.i.data = append(f.i.data, make([]byte, size-len(f.i.data))...)
	}
	f.i.data = f.i.data[:size]
	var kept []span
	for _, s := range f.i.dirty {
		if s.from < size {
			kept = append(kept, span{s.from, min(s.to, size)})
		}
	}
	f.i.dirty = kept
}

func (f *file) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.i.data)), nil
}

func (f *file) Close() error { return nil }
