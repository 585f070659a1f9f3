package bench

// This file is Compare: the same loads against several brokers in turn, medians and ratios.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// NamedTarget is a broker in a comparison.
type NamedTarget struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	PID  int    `json:"-"`
}

// CompareOptions names the brokers. Of Options it uses only User, Password, Size, Window and Idle.
type CompareOptions struct {
	Options
	Targets []NamedTarget // two or more
	Repeat  int           // runs of each load against each broker, alternately; default 3
	Scale   float64       // multiplies the number of events; default 1
}

// Comparison is one load against all brokers.
type Comparison struct {
	Load     string     `json:"load"`
	Rates    []float64  `json:"rates"`      // median events a second by target: delivered, or acknowledged without subscribers
	P99      []float64  `json:"p99_ms"`     // median
	Missed   []uint64   `json:"missed"`     // all runs together
	Disorder []uint64   `json:"disordered"` // all runs together
	Runs     [][]Result `json:"runs"`
}

// CompareResult is what Compare measured.
type CompareResult struct {
	Scenario string        `json:"scenario"`
	Targets  []NamedTarget `json:"targets"`
	Repeat   int           `json:"repeat"`
	Loads    []Comparison  `json:"loads"`
}

type load struct {
	name                                string
	publishers, subscribers, qos, count int
}

// loads are counted, not timed, because a broker that accepts faster than it delivers must not be
// left with minutes of backlog.
var loads = []load{
	{"QoS 1, 4 publishers -> 1 subscriber", 4, 1, 1, 300_000},
	{"QoS 1, 4 publishers, publish only", 4, 0, 1, 500_000},
	{"QoS 0, 1 publisher -> 50 subscribers", 1, 50, 0, 30_000},
	{"QoS 1, 1 publisher -> 50 subscribers", 1, 50, 1, 20_000},
	{"QoS 0, 4 publishers -> 1 subscriber", 4, 1, 0, 500_000},
}

// Compare runs the five loads. A broker that loses events is reported in the table, and as ErrLost
// at the end; other errors stop the comparison. It calls progress (may be nil) for every run.
func Compare(ctx context.Context, co CompareOptions, progress func(string)) (CompareResult, error) {
	if len(co.Targets) < 2 {
		return CompareResult{}, usage("bench compare needs two brokers or more: --target a=URL --target b=URL")
	}
	if co.Repeat == 0 {
		co.Repeat = 3
	}
	if co.Scale == 0 {
		co.Scale = 1
	}
	if co.Repeat < 0 || co.Scale < 0 {
		return CompareResult{}, usage("--repeat and --scale must be positive")
	}
	r := CompareResult{Scenario: "compare", Targets: co.Targets, Repeat: co.Repeat}
	var lostErr error
	for _, l := range loads {
		c := Comparison{Load: l.name, Runs: make([][]Result, len(co.Targets)), Missed: make([]uint64, len(co.Targets)), Disorder: make([]uint64, len(co.Targets))}
		for n := range co.Repeat {
			for i, t := range co.Targets {
				if progress != nil {
					progress(fmt.Sprintf("%s: %s, run %d of %d", l.name, t.Name, n+1, co.Repeat))
				}
				o := co.Options
				o.Target, o.PID = t.URL, t.PID
				o.Publishers, o.Subscribers, o.QoS = l.publishers, l.subscribers, l.qos
				o.Count, o.Duration, o.Rate, o.Topic = max(l.publishers, int(co.Scale*float64(l.count))), 0, 0, ""
				one, err := Throughput(ctx, o)
				if errors.Is(err, ErrLost) {
					lostErr = firstError(lostErr, err)
				} else if err != nil {
					return r, fmt.Errorf("%s: %s: %w", t.Name, l.name, err)
				}
				c.Runs[i] = append(c.Runs[i], one)
				c.Missed[i] += one.Missed
				c.Disorder[i] += one.Disordered
			}
		}
		for _, runs := range c.Runs {
			c.Rates = append(c.Rates, median(runs, Result.headline))
			c.P99 = append(c.P99, median(runs, func(r Result) float64 {
				if r.Subscribers == 0 {
					return r.AckLatency.P99.Seconds() * 1e3
				}
				return r.Latency.P99.Seconds() * 1e3
			}))
		}
		r.Loads = append(r.Loads, c)
	}
	return r, lostErr
}

// headline returns the rate that a comparison uses.
func (r Result) headline() float64 {
	if r.Subscribers == 0 {
		return r.PublishRate
	}
	return r.DeliveredRate
}

func median(runs []Result, of func(Result) float64) float64 {
	values := make([]float64, len(runs))
	for i, r := range runs {
		values[i] = of(r)
	}
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}

// WriteText prints a markdown table.
func (r CompareResult) WriteText(w io.Writer) error {
	t := &table{w: w}
	t.printf("| load (msg/s, median of %d) |", r.Repeat)
	for _, n := range r.Targets {
		t.printf(" %s |", n.Name)
	}
	first := r.Targets[0].Name
	for _, n := range r.Targets[1:] {
		t.printf(" %s/%s |", first, n.Name)
	}
	for _, n := range r.Targets {
		t.printf(" %s p99 | %s missed |", n.Name, n.Name)
	}
	t.printf("\n|---|")
	for range len(r.Targets)*4 - 1 {
		t.printf("---:|")
	}
	t.printf("\n")
	for _, l := range r.Loads {
		t.printf("| %s |", l.Load)
		for _, v := range l.Rates {
			t.printf(" %s |", thousands(v))
		}
		for _, v := range l.Rates[1:] {
			if v == 0 {
				t.printf(" - |")
				continue
			}
			t.printf(" %.2f |", l.Rates[0]/v)
		}
		for i := range l.Rates {
			t.printf(" %.1f ms | %s |", l.P99[i], thousands(float64(l.Missed[i])))
		}
		t.printf("\n")
	}
	return t.err
}
