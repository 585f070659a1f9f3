// This file is `postbus plugin timers`.

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins"
)

func (m *Main) pluginTimersCommand() *cobra.Command {
	var r remote
	var asJSON bool
	var count int
	cmd := &cobra.Command{
		Use:   "timers [ID]",
		Short: "Show what the entries of plugins wait for, and when it is due",
		Example: `  postbus plugin timers door
  postbus plugin timers -n 1000 --json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: m.completePlugins(&settings{}),
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 1 || count > 1000 {
				return usagef("plugin timers: -n %d: must be from 1 to 1000", count)
			}
			q := url.Values{"limit": {strconv.Itoa(count)}}
			if len(args) > 0 {
				q.Set("plugin", args[0])
			}
			body, err := m.api(cmd.Context(), &r, http.MethodGet, "/api/v1/timers?"+q.Encode())
			if err != nil {
				return err
			}
			if asJSON {
				m.printf("%s", body)
				return nil
			}
			return m.printTimers(body)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().IntVarP(&count, "count", "n", 100, "show `COUNT` timers at most, the first due first")
	r.remoteFlags(cmd, "the bus: http://HOST:PORT or https://HOST:PORT")
	return cmd
}

func (m *Main) printTimers(body []byte) error {
	var list plugins.PendingTimers
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("the answer is not a list of timers: %w", err)
	}
	if len(list.Timers) == 0 {
		m.printf("no timer is pending\n")
		return nil
	}
	w := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PLUGIN\tENTRY\tLINE\tKEY\tWHY\tSINCE\tDUE IN")
	for _, t := range list.Timers {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", oneLine(t.Plugin), t.Rule, t.Line, oneLine(t.Key), t.Why,
			t.Since.Local().Format(time.DateTime), yamlnode.FormatDuration(max(0, time.Until(t.Due)).Round(time.Second)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if more := list.Total - len(list.Timers); more > 0 {
		m.printf("and %d more\n", more)
	}
	return nil
}
