// This file is "client": who is connected and who is not, as the bus's HTTP API reports them, and what
// an administrator does about it.

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/bus/ban"
	"github.com/postbus/postbus/bus/web"
)

func (m *Main) clientCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "client",
		Short: "Show the clients of a running bus, disconnect them, ban them",
		Args:  noArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(m.clientListCommand(), m.clientKickCommand(), m.clientBanCommand(), m.clientUnbanCommand())
	return cmd
}

const clientURL = "the bus: http://HOST:PORT or https://HOST:PORT"

func (m *Main) clientListCommand() *cobra.Command {
	var r remote
	var asJSON, bans bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show who is connected and who is not, offline and lagging clients first",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if bans {
				return m.listBans(cmd.Context(), &r, asJSON)
			}
			list, err := listPages(cmd.Context(), m, &r, "/api/v1/clients", func(c *web.ClientInfo) string { return c.ID })
			if err != nil {
				return err
			}
			slices.SortStableFunc(list, func(a, b web.ClientInfo) int {
				return cmp.Or(boolOrder(a.Online, b.Online), cmp.Compare(b.Lag, a.Lag))
			})
			if asJSON {
				return json.NewEncoder(m.Stdout).Encode(list)
			}
			return m.printClients(list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&bans, "bans", false, "show who is banned")
	r.remoteFlags(cmd, clientURL)
	return cmd
}

// boolOrder sorts false first.
func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func (m *Main) printClients(list []web.ClientInfo) error {
	if len(list) == 0 {
		m.printf("no clients\n")
		return nil
	}
	w := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLIENT\tONLINE\tADDRESS\tPROTOCOL\tUSER\tSUBSCRIPTIONS\tIN FLIGHT\tLAG\tLOST\tREASON")
	for i := range list {
		c := &list[i]
		name := oneLine(c.ID)
		if c.Bridge {
			name += " (bridge)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", name, since(c), dash(c.Address), protocol(c), dash(oneLine(c.User)),
			c.Subscriptions, c.InFlight, c.Lag, lost(c.Lost), dash(oneLine(c.Reason)))
	}
	return w.Flush()
}

// since says for how long a client is online or offline.
func since(c *web.ClientInfo) string {
	text := "no"
	if c.Online {
		text = "yes"
	}
	if c.Since.IsZero() {
		return text
	}
	return text + ", " + max(0, time.Since(c.Since)).Truncate(time.Second).String()
}

func protocol(c *web.ClientInfo) string {
	if c.Version == "" {
		return "-"
	}
	return "MQTT " + c.Version + " " + c.Transport
}

func dash(text string) string { return cmp.Or(text, "-") }

func (m *Main) listBans(ctx context.Context, r *remote, asJSON bool) error {
	body, err := m.api(ctx, r, http.MethodGet, "/api/v1/bans")
	if err != nil {
		return err
	}
	var list []ban.Ban
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("the answer is not a list of bans: %w", err)
	}
	if asJSON {
		return json.NewEncoder(m.Stdout).Encode(list)
	}
	if len(list) == 0 {
		m.printf("no bans\n")
		return nil
	}
	w := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BANNED\tNAME\tUNTIL\tMADE\tBY")
	for _, b := range list {
		kind := "client"
		switch {
		case b.User != "":
			kind = "user"
		case b.Address != "":
			kind = "address"
		}
		until := "unbanned"
		if !b.Until.IsZero() {
			until = b.Until.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", kind, oneLine(b.Client+b.User+b.Address), until, b.Made.Local().Format(time.DateTime), dash(oneLine(b.By)))
	}
	return w.Flush()
}

// clientPath is the path of what is done to a client.
func clientPath(id, action string) string {
	return "/api/v1/clients/" + url.PathEscape(id) + "/" + action
}

func (m *Main) clientKickCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "kick ID",
		Short: "End the connection of a client, which may connect again",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := m.api(cmd.Context(), &r, http.MethodPost, clientPath(args[0], "kick"))
			if err == nil {
				m.printf("disconnected %s\n", oneLine(args[0]))
			}
			return err
		},
	}
	r.remoteFlags(cmd, clientURL)
	return cmd
}

func (m *Main) clientBanCommand() *cobra.Command {
	var r remote
	var length string
	cmd := &cobra.Command{
		Use:   "ban ID",
		Short: "End the connection of a client, and refuse it from now on",
		Long: `End the connection of a client, and refuse connections with its client identifier from now on. The
session stays, with the events that the client misses. A ban does not change a user's rights over HTTP.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			answer, err := m.apiWith(cmd.Context(), &r, http.MethodPost, clientPath(args[0], "ban"), map[string]string{"for": length})
			if err != nil {
				return err
			}
			var b ban.Ban
			if err := json.Unmarshal(answer, &b); err != nil {
				return fmt.Errorf("the answer is not a ban: %w", err)
			}
			m.printf("%s\n", strings.TrimPrefix(oneLine(b.String()), "the "))
			return nil
		},
	}
	cmd.Flags().StringVar(&length, "for", "", "how long, as `TIME`: 30m, 1h, 7d (default: until it is unbanned)")
	r.remoteFlags(cmd, clientURL)
	return cmd
}

func (m *Main) clientUnbanCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "unban ID",
		Short: "End the ban of a client",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := m.api(cmd.Context(), &r, http.MethodDelete, clientPath(args[0], "ban"))
			if err == nil {
				m.printf("%s may connect again\n", oneLine(args[0]))
			}
			return err
		},
	}
	r.remoteFlags(cmd, clientURL)
	return cmd
}
