package bench

// This file is the command line: one subcommand a scenario, flags to Options, results to stdout.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Command is "postbus bench". Its errors have a method Hint() string where there is a hint;
// errors.Is(err, ErrLost) distinguishes a broker that lost events from a benchmark that failed.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Load any MQTT broker: throughput, latency, missed events, order",
		Long: `Load any MQTT 3.1.1 broker and report throughput, latency, missed, repeated and disordered events.

Every event carries its sender, sequence number and time. The exit status is 1 when the broker lost
or disordered events that it had acknowledged. POSTBUS_PASSWORD holds the password of --user.`,
		Example: `  postbus bench throughput --publishers 4 --subscribers 1 --duration 10s
  postbus bench offline --count 1000000 --pid $(pidof mosquitto)
  postbus bench crash --start "postbus run --data-dir /tmp/crash" --rounds 10
  postbus bench compare --target postbus=tcp://127.0.0.1:1883 --target mosquitto=tcp://127.0.0.1:1884`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(throughputCommand(), offlineCommand(), slowCommand(), takeoverCommand(), crashCommand(), idleCommand(), mappedCommand(), compareCommand())
	return cmd
}

// result is what every scenario returns.
type result interface{ WriteText(io.Writer) error }

// shared are the flags that several scenarios have.
type shared struct {
	o      Options
	asJSON bool
}

func newScenario(use, short string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true}
}

// flags adds the flags that every scenario has; names picks further ones.
func (s *shared) flags(cmd *cobra.Command, names ...string) {
	f := cmd.Flags()
	f.StringVar(&s.o.User, "user", "", "user name; the password is read from POSTBUS_PASSWORD")
	f.BoolVar(&s.asJSON, "json", false, "print the result as JSON")
	f.DurationVar(&s.o.Idle, "idle", 0, "end when nothing new came for so long (default 10s, 3s at QoS 0)")
	for _, name := range names {
		switch name {
		case "target":
			f.StringVar(&s.o.Target, "target", "tcp://127.0.0.1:1883",
				"the broker: tcp://host:port, ws://host:port/path or unix:///path")
		case "publishers":
			f.IntVar(&s.o.Publishers, "publishers", 4, "connections that publish")
		case "size":
			f.IntVar(&s.o.Size, "size", 128, "payload in bytes, at least 24")
		case "window":
			f.IntVar(&s.o.Window, "window", 1000, "unacknowledged events of one publisher")
		case "topic":
			f.StringVar(&s.o.Topic, "topic", "", "topic name (default: a random one)")
		case "pid":
			f.IntVar(&s.o.PID, "pid", 0, "the broker's process: report its memory and CPU time (Linux)")
		}
	}
}

// finish prints the result, also when events were lost.
func (s *shared) finish(cmd *cobra.Command, r result, err error) error {
	if err != nil && !errors.Is(err, ErrLost) {
		return err
	}
	w := cmd.OutOrStdout()
	var printed error
	if s.asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		printed = e.Encode(r)
	} else {
		printed = r.WriteText(w)
	}
	return errors.Join(err, printed)
}

func (s *shared) options() Options {
	if s.o.User != "" {
		s.o.Password = os.Getenv("POSTBUS_PASSWORD")
	}
	return s.o
}

func throughputCommand() *cobra.Command {
	var s shared
	cmd := newScenario("throughput", "Publishers to subscribers, as fast as it goes or at a rate")
	s.flags(cmd, "target", "publishers", "size", "window", "topic", "pid")
	f := cmd.Flags()
	f.IntVar(&s.o.Subscribers, "subscribers", 1, "connections that subscribe; 0 publishes only")
	f.IntVar(&s.o.QoS, "qos", 1, "0, 1 or 2")
	f.IntVar(&s.o.Count, "count", 0, "events of all publishers together")
	f.DurationVar(&s.o.Duration, "duration", 0, "publish for so long (default 10s without --count)")
	f.Float64Var(&s.o.Rate, "rate", 0, "events a second of all publishers together (default: as fast as it goes)")
	cmd.MarkFlagsMutuallyExclusive("count", "duration")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := Throughput(cmd.Context(), s.options())
		return s.finish(cmd, r, err)
	}
	return cmd
}

func offlineCommand() *cobra.Command {
	var s shared
	cmd := newScenario("offline", "How an absent session catches up, and what its backlog costs")
	s.flags(cmd, "target", "publishers", "size", "window", "topic", "pid")
	cmd.Flags().IntVar(&s.o.Count, "count", 1_000_000, "events while it is away")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := Offline(cmd.Context(), s.options())
		return s.finish(cmd, r, err)
	}
	return cmd
}

func slowCommand() *cobra.Command {
	var s shared
	var o SlowOptions
	cmd := newScenario("slow", "What a consumer that stops reading does to the others")
	s.flags(cmd, "target", "publishers", "window", "topic", "pid")
	f := cmd.Flags()
	f.IntVar(&s.o.Size, "size", 1024, "payload in bytes; large, so that the sockets' buffers fill")
	f.Float64Var(&s.o.Rate, "rate", 4000, "events a second of all publishers together")
	f.DurationVar(&o.Before, "before", 5*time.Second, "how long all is well first")
	f.DurationVar(&o.Stall, "stall", 10*time.Second, "how long the slow one doesn't read")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Options = s.options()
		r, err := Slow(cmd.Context(), o)
		return s.finish(cmd, r, err)
	}
	return cmd
}

func takeoverCommand() *cobra.Command {
	var s shared
	var o TakeoverOptions
	var interval string
	cmd := newScenario("takeover", "Persistent sessions whose clients connect again and again under load")
	cmd.Long = `Persistent sessions whose clients connect again and again under load. Modes:

  takeover   a new connection takes over while the old one is alive
  reconnect  the client closes, with or without DISCONNECT, and connects at once or after a while
  group      members of one shared subscription do both, also the last that is online

The exit status is 1 when a round loses an acknowledged event, delivers events out of order, repeats
one against MQTT's rules (at QoS 2: at all), or reports a gap (--v5). The order of a group is judged
only with --sessions 1: what a member leaves unacknowledged goes to another one later.`
	s.flags(cmd, "target", "publishers", "size", "window", "topic")
	f := cmd.Flags()
	f.StringVar(&o.Mode, "mode", ModeTakeover, "takeover, reconnect or group")
	f.IntVar(&o.Rounds, "rounds", 5, "how often, each time with new sessions")
	f.IntVar(&s.o.Count, "count", 80_000, "events of a round")
	f.Float64Var(&s.o.Rate, "rate", 10_000, "events a second of all publishers together")
	f.IntVar(&s.o.QoS, "qos", 1, "1 or 2")
	f.IntVar(&o.Sessions, "sessions", 0,
		"sessions that get every event each, or members of the group (default 1; a group: 2)")
	f.IntVar(&o.Others, "others", 100,
		"further filters of each session, which nothing matches: they make each connection more work")
	f.StringVar(&interval, "interval", "5ms..45ms", "how long a connection lasts")
	f.Uint64Var(&o.Seed, "seed", 0, "of the intervals and choices; the result names it (default: a random one)")
	f.BoolVar(&o.V5, "v5", false, "the sessions speak MQTT 5, so that a gap is seen")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if o.IntervalMin, o.IntervalMax, err = parseRange("--interval", interval); err != nil {
			return err
		}
		o.Options = s.options()
		r, err := Takeover(cmd.Context(), o)
		return s.finish(cmd, r, err)
	}
	return cmd
}

func crashCommand() *cobra.Command {
	var s shared
	var o CrashOptions
	var start, killAfter string
	cmd := newScenario("crash", "kill -9 under load: every acknowledged event must arrive")
	s.flags(cmd, "target", "publishers", "size", "window", "topic")
	f := cmd.Flags()
	f.StringVar(&start, "start", "", "the broker's command line; it runs directly, without a shell")
	f.IntVar(&o.Rounds, "rounds", 5, "how often to kill it")
	f.Float64Var(&s.o.Rate, "rate", 8000, "events a second of all publishers together")
	f.StringVar(&killAfter, "kill-after", "1s..3s", "when to kill it, after the load began")
	f.DurationVar(&o.StartTimeout, "start-timeout", 30*time.Second, "until it accepts connections")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if o.Start, err = splitWords(start); err != nil {
			return err
		}
		if o.KillMin, o.KillMax, err = parseRange("--kill-after", killAfter); err != nil {
			return err
		}
		o.Options = s.options()
		r, err := Crash(cmd.Context(), o)
		return s.finish(cmd, r, err)
	}
	return cmd
}

func idleCommand() *cobra.Command {
	var s shared
	var o IdleOptions
	cmd := newScenario("idle", "What a connection that does nothing costs the broker")
	cmd.Long = "What a connection that does nothing costs the broker. Use a broker that was just started: memory\nthat an earlier load left to it is used again and hides the cost."
	s.flags(cmd, "target", "pid")
	f := cmd.Flags()
	f.IntVar(&o.Connections, "connections", 1000, "how many")
	f.DurationVar(&o.Settle, "settle", 3*time.Second, "wait so long before reading the memory")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Options = s.options()
		r, err := Idle(cmd.Context(), o)
		return s.finish(cmd, r, err)
	}
	return cmd
}

func mappedCommand() *cobra.Command {
	var s shared
	var o MappedOptions
	cmd := newScenario("mapped", "What a mapping between two topics takes: a plugin, Node-RED, Telegraf")
	cmd.Long = `What a mapping between two topics takes. Events such as {"n": 1, "t": 2, "room": "kitchen", "celsius": 21.4567}
are published on one topic; something maps those with celsius >= 0 to another one, with n and t as they are.
Every tenth is below zero. docs/benchmarks/mapping.sh sets up a plugin, Node-RED and Telegraf.`
	s.flags(cmd, "target", "window", "pid")
	f := cmd.Flags()
	f.StringVar(&o.In, "in", "bench/in/kitchen", "topic that is published on")
	f.StringVar(&o.Out, "out", "bench/out/#", "filter of what the mapping publishes")
	f.DurationVar(&s.o.Duration, "duration", 10*time.Second, "publish for so long")
	f.Float64Var(&s.o.Rate, "rate", 0, "events a second (default: as fast as it goes)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Options = s.options()
		r, err := Mapped(cmd.Context(), o)
		return s.finish(cmd, r, err)
	}
	return cmd
}

func compareCommand() *cobra.Command {
	var s shared
	var o CompareOptions
	var targets []string
	cmd := newScenario("compare", "The same loads against several brokers in turn, as a markdown table")
	s.flags(cmd, "size", "window")
	f := cmd.Flags()
	f.StringArrayVar(&targets, "target", nil, "name=URL; give it for each broker")
	f.IntVar(&o.Repeat, "repeat", 3, "runs of each load against each broker")
	f.Float64Var(&o.Scale, "scale", 1, "multiply the number of events")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if o.Targets, err = parseTargets(targets); err != nil {
			return err
		}
		o.Options = s.options()
		r, err := Compare(cmd.Context(), o, func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) })
		return s.finish(cmd, r, err)
	}
	return cmd
}

// parseRange parses 2s or 1s..3s.
func parseRange(flag, text string) (low, high time.Duration, err error) {
	from, to, isRange := strings.Cut(text, "..")
	if !isRange {
		to = from
	}
	low, err = time.ParseDuration(from)
	if err == nil {
		high, err = time.ParseDuration(to)
	}
	if err != nil || low <= 0 || high < low {
		return 0, 0, usage("%s %q: write a duration such as 2s, or a range such as 1s..3s", flag, text)
	}
	return low, high, nil
}

// parseTargets parses name=URL.
func parseTargets(list []string) ([]NamedTarget, error) {
	var all []NamedTarget
	for _, text := range list {
		name, url, ok := strings.Cut(text, "=")
		if !ok || name == "" || strings.ContainsAny(name, "/:|") {
			return nil, usage("--target %q: write name=URL, such as mosquitto=tcp://127.0.0.1:1884", text)
		}
		if _, err := parseTarget(url, "", ""); err != nil {
			return nil, err
		}
		all = append(all, NamedTarget{Name: name, URL: url})
	}
	return all, nil
}
