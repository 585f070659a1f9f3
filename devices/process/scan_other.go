//go:build !linux

// This file lists processes on systems without /proc, by gopsutil.

package process

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	gops "github.com/shirou/gopsutil/v4/process"
)

type others struct {
	names    map[string]string // from the names as the system writes them to those in the file
	contains string
}

func newScanner(o Options) scanner {
	l := others{names: map[string]string{}, contains: o.Contains}
	for _, n := range o.Names {
		l.names[n] = n
		l.names[n+".exe"] = n // as Windows has it
	}
	return l
}

func (l others) scan(ctx context.Context) (map[id]process, error) {
	all, err := gops.ProcessesWithContext(ctx)
	if err != nil {
		return nil, err
	}
	now := map[id]process{}
	for _, p := range all {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		own, err := p.NameWithContext(ctx)
		name := l.names[own]
		if err != nil || name == "" {
			continue
		}
		start, err := p.CreateTimeWithContext(ctx)
		if err != nil {
			continue
		}
		q := process{started: time.UnixMilli(start)}
		if q.command, err = p.CmdlineWithContext(ctx); err == nil {
			q.command = strings.ToValidUTF8(q.command[:min(len(q.command), 1<<10)], "\uFFFD")
		}
		if !strings.Contains(q.command, l.contains) {
			continue
		}
		if t, err := p.TimesWithContext(ctx); err == nil {
			q.cpu = time.Duration((t.User + t.System) * float64(time.Second))
		}
		if m, err := p.MemoryInfoWithContext(ctx); err == nil {
			q.memory = int64(m.RSS)
		}
		now[id{int64(p.Pid), start, name}] = q
	}
	return now, nil
}

// Describe lists the names of the running programs, as they are written in a file. It takes at most
// a few seconds.
func Describe() []string {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	all, err := gops.ProcessesWithContext(ctx)
	if err != nil {
		return []string{"# " + err.Error()}
	}
	count := map[string]int{}
	for _, p := range all {
		if name, err := p.NameWithContext(ctx); err == nil {
			count[name]++
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(count)) {
		out = append(out, fmt.Sprintf("names: [%q]  # %d running", strings.TrimSuffix(name, ".exe"), count[name]))
	}
	return out
}
