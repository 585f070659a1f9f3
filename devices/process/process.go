// Package process is the kind `process`: starts and ends of processes by name, and their resource
// use.
//
// What it promises:
//
//   - An event for each process of a watched name that was seen to start, and one when it has
//     ended, within an interval. A process ID that the system reuses is not mistaken for the first
//     process.
//   - A process that lives shorter than the interval may be missed. Seeing every process would need
//     root's permissions.
//   - With report also an event for each running process at an interval, with the processor time
//     and memory that it uses.
//   - Low cost: on Linux one small file of each process is read every interval, and one more for
//     watched processes.
//
// It is a kind of its own, beside `host`, since it reports events and not values.
package process

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// sample is a commented plugin file.
//
//go:embed sample.yaml
var sample string

// about is what the kind does, for the documentation.
const about = "Watches processes by name: an event when one starts and one when it has ended, with how many processes of the name run. At an interval it can report the processor time and memory " +
	"of each. Processes are listed once every interval, so a process that lives shorter may be missed. It needs no permissions, except where `/proc` is mounted with `hidepid`. " +
	"Linux, macOS and Windows."

// Options of the source.
type Options struct {
	Names    []string      `key:"names" doc:"names of programs, as nginx: the file's name without its folder; for a script the script's name" need:"yes"`
	Contains string        `key:"contains" doc:"only processes whose command line contains this, as the name of the script that an interpreter runs"`
	Every    time.Duration `key:"every" doc:"time between two listings of the processes" min:"1s" max:"1h"`
	Report   time.Duration `key:"report" doc:"time between two reports of each process's resource use, at least every; 0s: none" min:"0s" max:"24h"`
	Initial  bool          `key:"initial" doc:"whether processes that run at the start are events, with the action present"`
	Proc     string        `key:"proc" doc:"where procfs is mounted, for containers that mount the machine's elsewhere; Linux only"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{Every: 2 * time.Second, Proc: "/proc"} }

// Check checks the options against each other.
func (o Options) Check() []error {
	var errs []error
	bad := func(key, reason, hint string) { errs = append(errs, kind.Wrong(key, reason, hint)) }
	if len(o.Names) == 0 {
		bad("names", "no name is listed", "write names: [nginx]")
	}
	for i, n := range o.Names {
		switch {
		case strings.TrimSpace(n) == "" || strings.ContainsRune(n, 0):
			bad("names", fmt.Sprintf("%q is not a name", n), "the program's, as nginx")
		case strings.ContainsRune(n, '/') && !strings.HasPrefix(n, "kworker/"):
			bad("names", fmt.Sprintf("%q has a folder", n), "write "+n[strings.LastIndexByte(n, '/')+1:])
		case slices.Contains(o.Names[:i], n):
			bad("names", fmt.Sprintf("%q is listed twice", n), "")
		}
	}
	if o.Report != 0 && o.Report < o.Every {
		bad("report", fmt.Sprintf("it is shorter than every, which is %s", o.Every), "write at least that, or 0s for none")
	}
	if o.Proc == "" {
		bad("proc", "it is empty", "leave it out for /proc")
	}
	return errs
}

// eventFields documents the fields of an event.
type eventFields struct {
	Action  string  `key:"action" doc:"start, end, report, or present for one that runs at the start"`
	Name    string  `key:"name" doc:"as in the file"`
	PID     int64   `key:"pid" doc:"the process id"`
	Count   int     `key:"count" doc:"how many processes of the name run now"`
	Command string  `key:"command" doc:"its command line, at most 1 KiB; nil without the permission to read it"`
	Started string  `key:"started" doc:"when it started, RFC 3339"`
	Ran     float64 `key:"ran" doc:"seconds since it started"`
	CPU     float64 `key:"cpu" doc:"in a report: percent of one processor since the previous report, so that two busy threads are 200; otherwise nil"`
	CPUTime float64 `key:"cpu_time" doc:"processor time since it started, in seconds; in an end event the last known value"`
	Memory  int64   `key:"memory" doc:"resident memory, in bytes; in an end event the last known value"`
}

// id identifies a process under one name, because its process ID may be reused, and it may become
// another program.
type id struct {
	pid   int64
	start int64 // in a unit that depends on the system
	name  string
}

// process is what a scan finds about a process.
type process struct {
	command string
	started time.Time
	cpu     time.Duration
	memory  int64
}

// seen is a process between two scans.
type seen struct {
	process
	reported    time.Time
	cpuReported time.Duration
}

// scanner finds processes by name.
type scanner interface {
	scan(ctx context.Context) (map[id]process, error)
}

// Source watches processes. An instance runs once.
type Source struct {
	o     Options
	env   kind.Env
	known map[id]*seen
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source { return &Source{o: o, env: env, known: map[id]*seen{}} }

// Run emits starts and ends until ctx ends.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	return s.watch(ctx, newScanner(s.o), emit)
}

func (s *Source) watch(ctx context.Context, l scanner, emit kind.Emit) error {
	tick := time.NewTicker(s.o.Every)
	defer tick.Stop()
	for first := true; ; {
		now, err := l.scan(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.env.Degraded(err)
		if now != nil {
			if err := s.compare(ctx, now, time.Now(), first, emit); err != nil {
				return err
			}
			first = false
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// compare emits the differences from the last scan: ends first, then starts, each by age.
func (s *Source) compare(ctx context.Context, now map[id]process, at time.Time, first bool, emit kind.Emit) error {
	count := map[string]int{}
	for i := range s.known {
		count[i.name]++
	}
	report := func(action string, i id, p *seen) error {
		f := p.fields(action, i, count[i.name], at)
		if action == "report" {
			if took := at.Sub(p.reported); took > 0 {
				f["cpu"] = max(0, 100*float64(p.cpu-p.cpuReported)/float64(took))
			}
			p.reported, p.cpuReported = at, p.cpu
		}
		return emit(ctx, at, f)
	}
	byAge := func(a, b id) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.pid, b.pid), cmp.Compare(a.name, b.name))
	}
	for _, i := range slices.SortedFunc(maps.Keys(s.known), byAge) {
		if _, ok := now[i]; !ok {
			p := s.known[i]
			delete(s.known, i)
			count[i.name]--
			if err := report("end", i, p); err != nil {
				return err
			}
		}
	}
	for _, i := range slices.SortedFunc(maps.Keys(now), byAge) {
		p := now[i]
		old, known := s.known[i]
		if known {
			old.cpu, old.memory, old.started = p.cpu, p.memory, p.started // started changes when the clock is set
			if s.o.Report > 0 && at.Sub(old.reported) >= s.o.Report-s.o.Every/2 {
				if err := report("report", i, old); err != nil {
					return err
				}
			}
			continue
		}
		s.known[i] = &seen{process: p, reported: at, cpuReported: p.cpu}
		count[i.name]++
		action := "start"
		if first {
			action = "present"
		}
		if !first || s.o.Initial {
			if err := report(action, i, s.known[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *seen) fields(action string, i id, count int, at time.Time) map[string]any {
	f := map[string]any{"action": action, "name": i.name, "pid": i.pid, "count": count, "command": nil, "started": p.started.UTC().Format(time.RFC3339Nano),
		"ran": max(0, at.Sub(p.started).Round(time.Millisecond).Seconds()), "cpu": nil, "cpu_time": p.cpu.Seconds(), "memory": p.memory}
	if p.command != "" {
		f["command"] = p.command
	}
	return f
}
