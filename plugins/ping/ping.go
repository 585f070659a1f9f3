// Package ping is the source that asks hosts, again and again, whether they answer.
//
// What it promises:
//
//   - Each round asks every host once, by an ICMP echo where this process may send one, otherwise
//     by a TCP connection, and makes one event for each. A refused TCP connection is an answer: the
//     host is there.
//   - A host is up at its first answer, and down after `tries` rounds in a row without one; before
//     the first of both there is no event. `changed` is true on the events on which that turns.
//   - At most [parallel] hosts are asked at the same time, each with one socket and one goroutine.
//     Rounds never overlap: one that takes longer than the interval delays the next.
//
// It does not tell why a host doesn't answer: a firewall that drops echoes looks as a host that is
// off. Nothing is kept over a restart of the bus.
package ping

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"net"
	"sync"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// sample is a complete plugin file of this kind.
//
//go:embed sample.yaml
var sample string

// about is the kind's description, in Markdown.
const about = "Asks hosts at an interval whether they answer: presence of a phone, a printer that is on, an internet connection. Each host is asked by an ICMP echo " +
	"where the system allows that without privileges (on Linux the group must be within `net.ipv4.ping_group_range`, which most distributions allow; macOS), otherwise by a TCP " +
	"connection to `port`, where a refusal is an answer too. An event for each host and round, or with `on: change` only when it goes up or down. At most 256 hosts, " +
	"32 at the same time. Names are looked up by DNS in each round, which does not know names that end with `.local`. It runs on every platform."

// parallel is the maximum number of hosts that are asked at the same time.
const parallel = 32

// maxHosts is the maximum number of hosts of one source.
const maxHosts = 256

// Options of the source.
type Options struct {
	Hosts   []string      `key:"hosts" doc:"names or addresses, as [192.168.1.20, printer.lan]" need:"yes"`
	Every   time.Duration `key:"every" doc:"time from the start of one round to the next" min:"1s" max:"24h"`
	Timeout time.Duration `key:"timeout" doc:"the maximum time until the answer; at most every" min:"100ms" max:"30s"`
	Tries   int           `key:"tries" doc:"rounds in a row without an answer after which a host is down: phones sleep" min:"1" max:"1000"`
	On      string        `key:"on" doc:"all: an event for each host and round; change: only when a host goes up or down" oneof:"all|change"`
	Method  string        `key:"method" doc:"auto: ICMP where allowed, otherwise TCP" oneof:"auto|icmp|tcp"`
	Port    int           `key:"port" doc:"the port to connect to by TCP" min:"1" max:"65535"`
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{Every: 30 * time.Second, Timeout: 2 * time.Second, Tries: 3, On: "all", Method: "auto", Port: 80}
}

// Check checks the options against each other.
func (o Options) Check() []error {
	var errs []error
	if len(o.Hosts) > maxHosts {
		errs = append(errs, kind.Wrong("hosts", fmt.Sprintf("%d hosts are more than %d", len(o.Hosts), maxHosts), "make several plugin files"))
	}
	seen := map[string]bool{}
	for i, h := range o.Hosts {
		key := fmt.Sprintf("hosts[%d]", i)
		switch {
		case seen[h]:
			errs = append(errs, kind.Wrong(key, fmt.Sprintf("%q is there twice", h), "remove one of them"))
		case !validHost(h):
			errs = append(errs, kind.Wrong(key, fmt.Sprintf("%q is neither a name nor an address", h), "write printer.lan, 192.168.1.20 or fe80::1%eth0, without a port"))
		}
		seen[h] = true
	}
	if o.Timeout > o.Every {
		errs = append(errs, kind.Wrong("timeout", fmt.Sprintf("%v is more than every, %v", o.Timeout, o.Every), ""))
	}
	return errs
}

// Access are the hosts that the source asks.
func (o Options) Access() []string {
	all := make([]string, len(o.Hosts))
	for i, h := range o.Hosts {
		all[i] = "host:" + h
	}
	return all
}

// event documents the fields of an event.
type event struct {
	Host    string  `key:"host" doc:"the host, as in the file"`
	Up      bool    `key:"up" doc:"whether it is up"`
	Changed bool    `key:"changed" doc:"whether it has gone up or down with this round; true for the first event"`
	Took    float64 `key:"took" doc:"the time until the answer, in seconds; nil when there was none in this round"`
	Failed  int     `key:"failed" doc:"the number of rounds in a row without an answer, this one included"`
	Address string  `key:"address" doc:"the address that was asked; empty when the name has none"`
	Method  string  `key:"method" doc:"icmp or tcp; empty when the name has no address"`
	Error   string  `key:"error" doc:"why there was no answer; otherwise empty"`
}

// Source asks some hosts. An instance runs once: New, Run.
type Source struct {
	o       Options
	env     kind.Env
	states  []state
	noticed sync.Once // that ICMP is not allowed
}

// state is what is known of a host.
type state struct {
	known, up bool
	failed    int
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source {
	return &Source{o: o, env: env, states: make([]state, len(o.Hosts))}
}

// Run asks until ctx ends.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	if s.o.Method == "icmp" {
		if err := mayEcho(); err != nil {
			return fmt.Errorf("ICMP is not allowed here: %w; use method: auto", err)
		}
	}
	for ctx.Err() == nil {
		began := time.Now()
		if err := s.round(ctx, emit); err != nil {
			return err
		}
		_ = kind.Sleep(ctx, s.o.Every-time.Since(began))
	}
	return nil
}

// answer is the result of asking one host.
type answer struct {
	host    int
	took    time.Duration
	address string
	method  string
	err     error
}

// round asks every host once, and emits the answers as they come.
func (s *Source) round(ctx context.Context, emit kind.Emit) error {
	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan answer)
	hosts := make(chan int)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	for range min(parallel, len(s.o.Hosts)) {
		workers.Go(func() {
			for host := range hosts {
				a := s.ask(ctx, host)
				select {
				case answers <- a:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	workers.Go(func() {
		defer close(hosts)
		for host := range s.o.Hosts {
			select {
			case hosts <- host:
			case <-ctx.Done():
				return
			}
		}
	})
	for range s.o.Hosts {
		select {
		case <-ctx.Done():
			return nil
		case a := <-answers:
			if fields := s.fields(a); fields != nil {
				if err := emit(ctx, time.Now(), fields); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// fields updates what is known of a host, and returns its event; nil when there is none.
func (s *Source) fields(a answer) map[string]any {
	st := &s.states[a.host]
	before := *st
	if a.err == nil {
		st.known, st.up, st.failed = true, true, 0
	} else if st.failed++; st.failed >= s.o.Tries {
		st.known, st.up = true, false
	}
	changed := before.known != st.known || before.up != st.up
	if !st.known || s.o.On == "change" && !changed {
		return nil
	}
	fields := map[string]any{
		"host": s.o.Hosts[a.host], "up": st.up, "changed": changed, "took": nil, "failed": st.failed,
		"address": a.address, "method": a.method, "error": "",
	}
	if a.err != nil {
		fields["error"] = a.err.Error()
	} else {
		fields["took"] = math.Round(a.took.Seconds()*1e6) / 1e6
	}
	return fields
}

// ask asks a host once.
func (s *Source) ask(ctx context.Context, host int) answer {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	a := answer{host: host}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", s.o.Hosts[host])
	if err != nil {
		a.err = err
		return a
	}
	to := addresses[0].Unmap()
	a.address = to.String()
	if s.o.Method != "tcp" {
		a.method = "icmp"
		a.took, a.err = echo(ctx, to)
		if !isNotAllowed(a.err) || s.o.Method == "icmp" {
			return a
		}
		s.noticed.Do(func() {
			s.env.Log().Info("ICMP is not allowed here, hosts are asked by TCP", "port", s.o.Port, "err", a.err)
		})
	}
	a.method = "tcp"
	a.took, a.err = connect(ctx, to, s.o.Port)
	return a
}
