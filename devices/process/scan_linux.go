// This file reads the processes from /proc; proc(5).

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	ticks      = 100     // a second; USER_HZ, which is the same on all Linux platforms that Go supports
	commLength = 15      // bytes of a name that the kernel keeps
	maxCommand = 1 << 10 // bytes of a command line
)

// proc is a mounted procfs. Buffers are kept between scans.
type proc struct {
	root     string
	names    map[string][]string // by their first 15 bytes
	contains string
	boot     time.Time
	buf      []byte
	commands map[id]string // command lines of the wanted processes
}

func newScanner(o Options) scanner {
	p := &proc{root: o.Proc, names: map[string][]string{}, contains: o.Contains, buf: make([]byte, 4096), commands: map[id]string{}}
	for _, n := range o.Names {
		short := n[:min(len(n), commLength)]
		p.names[short] = append(p.names[short], n)
	}
	return p
}

func (p *proc) scan(ctx context.Context) (map[id]process, error) {
	if err := p.readBoot(); err != nil {
		return nil, err
	}
	dir, err := os.Open(p.root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	list, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	now, commands, init := map[id]process{}, map[id]string{}, false
	for _, name := range list {
		pid, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		init = init || pid == 1
		comm := bytes.TrimSuffix(p.file(dir, name+"/comm"), []byte("\n"))
		candidates := p.names[string(comm)]
		if candidates == nil {
			continue
		}
		q, start, ok := p.stat(p.file(dir, name+"/stat"))
		if !ok {
			continue // it has ended
		}
		i := id{pid: pid, start: start}
		if i.name, q.command, ok = p.wanted(dir, name, i, candidates); ok {
			now[i] = q
			commands[i] = q.command
		}
	}
	p.commands = commands
	if !init {
		return now, errors.New("processes of other users are hidden: /proc is mounted with hidepid; add the user that runs postbus to the group of its option gid=")
	}
	return now, nil
}

// wanted returns which of the names a process has, and its command line. A name of 15 bytes may be
// cut. Then the command line has all of it, unless the process has overwritten it.
func (p *proc) wanted(dir *os.File, pid string, i id, candidates []string) (name, command string, ok bool) {
	for _, n := range candidates {
		i.name = n
		if command, ok := p.commands[i]; ok {
			return n, command, true
		}
	}
	raw := p.file(dir, pid+"/cmdline")
	raw = raw[:min(len(raw), maxCommand)]
	args := strings.Split(strings.ToValidUTF8(strings.TrimRight(string(raw), "\x00"), "\uFFFD"), "\x00")
	command = strings.Join(args, " ")
	if !strings.Contains(command, p.contains) {
		return "", "", false
	}
	for _, n := range candidates {
		if len(n) <= commLength {
			return n, command, true
		}
		for _, a := range args[:min(2, len(args))] { // the second may be a script's name
			if filepath.Base(a) == n {
				return n, command, true
			}
		}
		if exe, err := os.Readlink(filepath.Join(p.root, pid, "exe")); err == nil && filepath.Base(exe) == n {
			return n, command, true
		}
	}
	return "", "", false
}

// stat parses /proc/PID/stat: the name in parentheses, which may contain any character, and fields
// that are numbered from 1.
func (p *proc) stat(text []byte) (q process, start int64, ok bool) {
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return q, 0, false
	}
	f := strings.Fields(string(text[end+1:])) // from field 3
	if len(f) < 22 || f[0] == "Z" || f[0] == "X" {
		return q, 0, false
	}
	var n [4]int64
	for i, field := range []int{14, 15, 22, 24} {
		var err error
		if n[i], err = strconv.ParseInt(f[field-3], 10, 64); err != nil {
			return q, 0, false
		}
	}
	q.cpu = time.Duration(n[0]+n[1]) * time.Second / ticks
	q.started = p.boot.Add(time.Duration(n[2]) * time.Second / ticks)
	q.memory = n[3] * int64(os.Getpagesize())
	return q, n[2], true
}

// readBoot records when the machine started. The clock may be set later, as on a Pi without a
// hardware clock.
func (p *proc) readBoot() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return err
	}
	boot := time.Now().Round(0).Add(-time.Duration(now.Nano())) // of the wall clock: two times with monotonic readings would never differ
	if d := boot.Sub(p.boot); d > time.Second || d < -time.Second {
		p.boot = boot // only then, so that a process's start time stays the same in each scan
	}
	return nil
}

// file reads a small file; nil when the process has ended. The result is valid until the next call.
func (p *proc) file(dir *os.File, name string) []byte {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Read(fd, p.buf)
		if !errors.Is(err, unix.EINTR) {
			return p.buf[:max(0, n)]
		}
	}
}

// Describe lists running programs, as they are written in a file: those with a command line, which
// kernel threads lack.
func Describe() []string {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	list, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	p := &proc{root: "/proc", buf: make([]byte, 4096)}
	count := map[string]int{}
	for _, name := range list {
		if _, err := strconv.Atoi(name); err == nil && len(p.file(dir, name+"/cmdline")) > 0 {
			count[strings.TrimSuffix(string(p.file(dir, name+"/comm")), "\n")]++
		}
	}
	var out []string
	for name, n := range count {
		if strings.HasPrefix(name, "memfd:") { // a program started from memory: its name is meaningless and may change at its next start
			continue
		}
		out = append(out, fmt.Sprintf("names: [%q]  # %d running", name, n))
	}
	slices.Sort(out)
	return out
}
