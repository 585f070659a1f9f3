// This file is `postbus why`.

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins"
)

func (m *Main) whyCommand() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "why SEQ|TOPIC",
		Short: "Show what caused an event: from plugin to plugin, back to the first one",
		Long: "Shows the event of a sequence, or the latest of a topic, and below each event the one that caused it. Sequences are shown\n" +
			"by postbus sub --json and in traces.",
		Example: "  postbus why home/hall/light\n  postbus why 4711 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"topic": {args[0]}}
			if _, err := strconv.ParseUint(args[0], 10, 64); err == nil {
				q = url.Values{"seq": {args[0]}}
			}
			body, err := m.api(cmd.Context(), &r, http.MethodGet, "/api/v1/why?"+q.Encode())
			if err != nil {
				return err
			}
			if asJSON {
				m.printf("%s", body)
				return nil
			}
			return m.printWhy(body)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	r.remoteFlags(cmd, "the bus: http://HOST:PORT or https://HOST:PORT")
	return cmd
}

func (m *Main) printWhy(body []byte) error {
	var chain struct {
		Steps []struct {
			Seq     uint64         `json:"seq"`
			Time    time.Time      `json:"time"`
			Topic   string         `json:"topic"`
			Source  string         `json:"source"`
			Payload *string        `json:"payload"`
			By      *plugins.Maker `json:"by"`
			Cause   uint64         `json:"cause"`
		} `json:"steps"`
	}
	if err := json.Unmarshal(body, &chain); err != nil {
		return fmt.Errorf("the answer is not a chain of events: %w", err)
	}
	for i, s := range chain.Steps {
		what := oneLine(s.Topic)
		if what == "" {
			what = "an event of a topic that you may not read"
		}
		if s.By != nil && s.By.Action != "" {
			what = "the action " + oneLine(s.By.Action)
		} else if s.Payload != nil {
			what += " = " + oneLine(*s.Payload)
		}
		m.printf("%s  #%d  %s\n", s.Time.Local().Format("2006-01-02 15:04:05.000"), s.Seq, what)
		last := i == len(chain.Steps)-1
		switch {
		case s.By != nil && s.By.Raw:
			m.printf("  by %s, its source%s\n", oneLine(s.By.File), sourceText(s.By.Sources))
		case s.By == nil:
			m.printf("  published by %s\n", oneLine(shownSource(s.Source)))
		default:
			m.printf("  by %s\n", makerText(s.By))
		}
		switch {
		case !last:
			m.printf("  because of\n")
		case s.Cause != 0:
			m.printf("  because of #%d, which the journal does not hold any more\n", s.Cause)
		case s.By != nil && s.By.Action == "" && !s.By.Raw:
			m.printf("  because of an event of its source%s, which is not in the journal\n", sourceText(s.By.Sources))
		}
	}
	return nil
}

// shownSource is a source for people: that of another bus's event, @fleet/attic/lamp, is "lamp at attic".
func shownSource(source string) string {
	rest, is := strings.CutPrefix(source, bus.FleetSource)
	at, who, ok := strings.Cut(rest, "/")
	if !is || !ok {
		return source
	}
	return who + " at " + at
}

// makerText names a plugin and its entry: plugins.d/door.yaml:4, publish[0].
func makerText(by *plugins.Maker) string {
	if by.File == "" {
		return "the plugin " + oneLine(by.Plugin) + ", which is not there any more"
	}
	if len(by.Entries) == 0 {
		return oneLine(by.File) + ", which has no such entry any more"
	}
	var all []string
	for _, e := range by.Entries {
		all = append(all, fmt.Sprintf("%s (line %d)", e.Rule, e.Line))
	}
	return oneLine(by.File) + ", " + strings.Join(all, " or ")
}

func sourceText(kinds []string) string {
	if len(kinds) == 0 {
		return ""
	}
	return " " + strings.Join(kinds, " or ")
}
