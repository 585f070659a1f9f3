// This file is the "plugin" commands that query a running bus: list, trace, explain.

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/spf13/cobra"

	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/config/suggest"
	"github.com/postbus/postbus/plugins"
)

func (m *Main) pluginListCommand() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show every plugin of a running bus: state, counters, errors",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := m.api(cmd.Context(), &r, http.MethodGet, "/api/v1/plugins")
			if err != nil {
				return err
			}
			if asJSON {
				m.printf("%s", body)
				return nil
			}
			return m.printPlugins(body)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	r.remoteFlags(cmd, "the bus: http://HOST:PORT or https://HOST:PORT")
	return cmd
}

func (m *Main) printPlugins(body []byte) error {
	var list []plugins.Status
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("the answer is not a list of plugins: %w", err)
	}
	if len(list) == 0 {
		m.printf("no plugins; postbus plugin new shows what there is\n")
		return nil
	}
	w := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PLUGIN\tSTATE\tIN\tFILTERED\tERRORS\tDROPPED\tPUBLISHED\tDONE\tSENT\tQUEUED\tDEAD\tTIMERS\tKEPT\tWHY")
	for _, p := range list {
		c := p.Counters
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%d\t%d\t%s\t%s\n", oneLine(p.ID), p.State,
			c.In, c.Filtered, c.Errors, c.Dropped+c.Expired+c.Missed, c.Published, c.Done, c.Sent, queued(&p), c.Dead, p.Timers, kept(&p), oneLine(p.Reason))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range list {
		for _, e := range p.Errors {
			m.printf("\n%s\n", e.Text)
		}
	}
	return nil
}

// queued is how many jobs wait, and the age of the oldest.
func queued(p *plugins.Status) string {
	jobs, oldest := uint64(0), 0.0
	for _, q := range p.Queues {
		jobs, oldest = jobs+q.Jobs, max(oldest, q.Oldest)
	}
	if oldest < 1 {
		return strconv.FormatUint(jobs, 10)
	}
	return fmt.Sprintf("%d (%s)", jobs, time.Duration(oldest)*time.Second)
}

// kept is for how many keys the entries keep something, and its size.
func kept(p *plugins.Status) string {
	if p.Keys == 0 {
		return "-"
	}
	return fmt.Sprintf("%s, %.1f KiB", plural(p.Keys, "key"), float64(p.StateBytes)/1024)
}

func (m *Main) pluginTraceCommand() *cobra.Command {
	f := subFlags{qos: 0}
	cmd := &cobra.Command{
		Use:               "trace ID",
		Short:             "Show the outcome of each event of a plugin, live",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completePlugins(&settings{}),
		RunE: func(cmd *cobra.Command, args []string) error {
			trace := "$bus/plugins/" + args[0] + "/trace"
			if err := topic.CheckName(trace); err != nil {
				return usagef("plugin trace: %w", err)
			}
			if err := f.checkCount(cmd); err != nil {
				return err
			}
			f.filters = []string{trace}
			f.format = traceText
			if f.json {
				f.format = func(payload []byte) []byte { return payload }
			}
			if err := m.pluginThere(cmd.Context(), &f.remote, args[0]); err != nil {
				return err
			}
			return m.sub(cmd.Context(), &f)
		},
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "one JSON object a line; postbus plugin test --events takes them")
	cmd.Flags().IntVarP(&f.count, "count", "n", 0, "end after `COUNT` events (default: no limit)")
	f.remoteFlags(cmd, "the bus: tcp://HOST:PORT, tls://HOST:PORT, unix:///PATH or http(s)://HOST:PORT")
	return cmd
}

// stateWait is how long the retained states of plugins may take to arrive, once the bus has granted
// the subscription.
const stateWait = time.Second

// pluginThere returns an error when a running bus has no plugin of that name. A user who may not
// read its state gets no error either way.
func (m *Main) pluginThere(ctx context.Context, r *remote, id string) error {
	u, err := m.mqttURL(r)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	topics := make(chan string, 1)
	l, err := r.connect(ctx, u, connectOptions{id: clientID("trace"), random: true, clean: true, onPublish: func(p *paho.Publish) {
		select {
		case topics <- p.Topic:
		case <-ctx.Done():
		}
	}})
	if err != nil {
		return err
	}
	defer l.leave(true)
	defer stop() // before leave, because it unblocks onPublish
	state := func(id string) string { return "$bus/plugins/" + id + "/state" }
	ack, _ := l.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: state(id)}, {Topic: state("+")}}})
	if ack == nil || len(ack.Reasons) != 2 || ack.Reasons[0] >= 0x80 {
		return nil // sub will say why
	}
	var there []string
	for late := time.After(stateWait); ; {
		select {
		case t := <-topics:
			if t == state(id) {
				return nil
			}
			there = append(there, strings.Split(t, "/")[2])
		case <-late:
			return noPlugin(id, there)
		case <-l.Done():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// noPlugin says that no plugin has that name, and lists the plugins.
func noPlugin(id string, there []string) error {
	err := fmt.Errorf("no plugin is called %q", id)
	slices.Sort(there)
	there = slices.Compact(there)
	if len(there) == 0 {
		return withHint(err, "there are no plugins; postbus plugin new shows what there is")
	}
	if s := suggest.Nearest(id, there); s != "" {
		return withHint(err, "did you mean %s?", s)
	}
	if len(there) > 10 {
		there = append(there[:10], "…")
	}
	return withHint(err, "the plugins: %s", strings.Join(there, ", "))
}

// traceText returns a trace in sentences.
func traceText(payload []byte) []byte {
	var t plugins.Trace
	if json.Unmarshal(payload, &t) != nil {
		return payload
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s", t.Time.Local().Format("15:04:05.000"))
	if len(t.Event) > 0 {
		fmt.Fprintf(&b, "  %s", oneLine(string(t.Event)))
	}
	for _, v := range t.Verdicts {
		fmt.Fprintf(&b, "\n    %-12s %s", v.Rule, oneLine(v.Text))
	}
	return []byte(b.String())
}

func (m *Main) pluginExplainCommand() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain TOPIC",
		Short: "Show which plugin publishes a topic, and its last value or why it has none",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := topic.CheckName(args[0]); err != nil {
				return usagef("plugin explain: %w", err)
			}
			body, err := m.api(cmd.Context(), &r, http.MethodGet, "/api/v1/explain?topic="+url.QueryEscape(args[0]))
			if err != nil {
				return err
			}
			if asJSON {
				m.printf("%s", body)
				return nil
			}
			return m.printExplanation(body)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	r.remoteFlags(cmd, "the bus: http://HOST:PORT or https://HOST:PORT")
	return cmd
}

func (m *Main) printExplanation(body []byte) error {
	var e plugins.Explanation
	if err := json.Unmarshal(body, &e); err != nil {
		return fmt.Errorf("the answer is not an explanation: %w", err)
	}
	m.printf("%s\n", oneLine(e.Topic))
	if e.Retained {
		m.printf("  retained   %s, published by %s %s ago\n", oneLine(e.Payload),
			oneLine(e.Source), time.Since(*e.Time).Round(time.Second))
	} else {
		m.printf("  retained   nothing\n")
	}
	switch e.Audience {
	case 0:
		m.printf("  subscribed no session\n")
	default:
		m.printf("  subscribed %s\n", plural(e.Audience, "session"))
	}
	if len(e.By) == 0 {
		m.printf("  plugins    none publishes it\n")
	}
	for _, p := range e.By {
		m.printf("  %s:%d %s  %s", oneLine(p.File), p.Line, p.Rule, p.State)
		if p.Reason != "" {
			m.printf(": %s", oneLine(p.Reason))
		}
		m.printf("\n    %s", oneLine(p.Verdict))
		if p.At != nil {
			m.printf(", %s ago", time.Since(*p.At).Round(time.Second))
		}
		m.printf("\n")
	}
	return nil
}
