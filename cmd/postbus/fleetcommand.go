// This file is "fleet": making a hub's stream, adding buses, and seeing whether the exchange works.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/bus/fleet"
	"github.com/postbus/postbus/bus/fleet/stream"
	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/config/yamlnode"
)

// hubTimeout bounds a command's exchange with a hub.
const hubTimeout = 30 * time.Second

// fleetFlags are the flags of commands that talk to hubs.
type fleetFlags struct {
	settings
	fleet string // the only fleet that is meant; "": all of the config
	creds string // a file that replaces the config's creds, for what a bus may not do
}

func (f *fleetFlags) add(cmd *cobra.Command) {
	f.configFlag(cmd)
	cmd.Flags().StringVar(&f.fleet, "fleet", "", "only the fleet `NAME` of the config")
	cmd.Flags().StringVar(&f.creds, "creds", "", "log in to the hub with the creds or the nkey seed in `FILE`, instead of the config's")
}

func (m *Main) fleetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "Exchange events with other buses through a hub",
		Long: `Exchange events with other buses through a hub, which is a NATS server with JetStream. The key fleet
of the config says which hub and which topics: docs/fleet.md.`,
	}
	cmd.AddCommand(m.fleetInit(), m.fleetAdd(), m.fleetCheck(), m.fleetStatus(), m.fleetForget())
	return cmd
}

func (m *Main) fleetInit() *cobra.Command {
	var f fleetFlags
	var size string
	shape := fleet.Shape("", 0, 1)
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the stream of each fleet of the config on its hub; what is there is not changed",
		Example: `  postbus fleet init
  postbus fleet init --replicas 3 --max-size 50GiB --creds admin.creds`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if size != "" {
				n, err := yamlnode.ParseSize(size)
				if err != nil {
					return usagef("--max-size: %w", err)
				}
				shape.MaxBytes = n
			}
			return m.eachHub(cmd.Context(), &f, func(ctx context.Context, c config.FleetEntry, o stream.Options) error {
				want := shape
				want.Subjects = []string{fleet.Subjects(c.Name)}
				if err := stream.Create(ctx, o, want); err != nil {
					return err
				}
				m.printf("ok: the stream %s is at %s\n", o.Stream, c.Hub[0])
				return nil
			})
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&shape.Replicas, "replicas", 1, "how many servers of the hub's cluster have each event: 1, 3 or 5")
	cmd.Flags().DurationVar(&shape.MaxAge, "max-age", shape.MaxAge, "how long the hub keeps events for buses that are away")
	cmd.Flags().StringVar(&size, "max-size", "", "the most that the hub keeps, such as 50GiB; the oldest events go first")
	return cmd
}

// eachHub calls do for the entries of the config, and returns all errors.
func (m *Main) eachHub(ctx context.Context, f *fleetFlags, do func(context.Context, config.FleetEntry, stream.Options) error) error {
	l, list, err := m.chooseFleet(f)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range list {
		o, err := hubOptions(l, c, slog.New(slog.DiscardHandler))
		if err == nil && f.creds != "" {
			o.Creds, err = os.ReadFile(f.creds)
			o.Inbox = ""
		}
		if err == nil {
			ctx, cancel := context.WithTimeout(ctx, hubTimeout)
			err = do(ctx, c, o)
			cancel()
		}
		if err != nil {
			errs = append(errs, &hubError{c, err})
		}
	}
	return errors.Join(errs...)
}

// hubError is the error of one hub.
type hubError struct {
	entry config.FleetEntry
	err   error
}

func (e *hubError) Error() string {
	return fmt.Sprintf("fleet %s: %v", e.entry.Name, e.err)
}

func (e *hubError) Unwrap() error { return e.err }

// chooseFleet returns the config, and those of its entries that a command is about.
func (m *Main) chooseFleet(f *fleetFlags) (*loaded, []config.FleetEntry, error) {
	l, err := m.load(&f.settings)
	if err != nil {
		return nil, nil, err
	}
	list := l.Fleet
	if f.fleet != "" {
		list = slices.DeleteFunc(slices.Clone(list), func(c config.FleetEntry) bool { return c.Name != f.fleet })
	}
	switch {
	case len(list) > 0:
		return l, list, nil
	case f.fleet != "":
		return nil, nil, withHint(fmt.Errorf("the config has no fleet %q", f.fleet), "%s", "the names are at fleet: in "+l.file)
	}
	return nil, nil, withHint(errors.New("the config has no key fleet"), "add it to %s: docs/fleet.md shows how", l.file)
}

func (m *Main) fleetAdd() *cobra.Command {
	var f fleetFlags
	var out string
	cmd := &cobra.Command{
		Use:   "add BUS",
		Short: "Make the key of a bus, and print what the hub's configuration needs",
		Long: `Make a key for a bus and print the block for the hub's configuration. With it the bus can publish as itself
only: no other bus can be imitated. The key's secret half is for that bus alone.`,
		Example: `  postbus fleet add attic --out attic.nk`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return m.addBus(&f, args[0], out)
		},
	}
	f.configFlag(cmd)
	cmd.Flags().StringVar(&f.fleet, "fleet", "", "the fleet `NAME`, if the config has several")
	cmd.Flags().StringVar(&out, "out", "", "write the secret half of the key to `FILE`, which must not exist")
	return cmd
}

func (m *Main) addBus(f *fleetFlags, name, out string) error {
	if err := config.CheckBusName(name); err != nil {
		return usagef("%w", err)
	}
	_, list, err := m.chooseFleet(f)
	if err != nil {
		return err
	}
	c := list[0]
	if slices.ContainsFunc(list, func(o config.FleetEntry) bool { return o.Name != c.Name }) {
		return usagef("the config has several fleets: name one with --fleet")
	}
	seed, public, err := stream.NewKey()
	if err != nil {
		return err
	}
	if out != "" {
		file, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = file.Write(append(seed, '\n'))
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	m.printf("%s", fleetBlock(c.Name, name, public))
	if out != "" {
		m.printf("\nThe key's secret half is in %s. On %s, put it into the folder secrets beside postbus.yaml, and write\n", out, name)
	} else {
		m.printf("\nThe key's secret half, for a file in the folder secrets beside postbus.yaml on %s:\n\n    %s\n\nThe file must be readable by its owner only. In postbus.yaml write\n", name, seed)
	}
	m.printf("\n    fleet:\n      - name: %s\n        bus: %s\n        hub: [%s]\n        nkey: secret:FILE\n", c.Name, name, strings.Join(quoted(c.Hub), ", "))
	return nil
}

func quoted(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprintf("%q", s))
	}
	return out
}

// fleetBlock is the user of a bus in the hub's configuration.
func fleetBlock(fleetName, bus, public string) string {
	inbox := stream.InboxOf(fleetName, bus)
	presence := fleet.PresenceSubject(fleetName, bus)
	g := stream.GrantOf(fleet.StreamName(fleetName), inbox, []string{fleet.BusSubjects(fleetName, bus), presence, inbox + ".>"}, []string{presence})
	return fmt.Sprintf(`In the hub's configuration, in the list authorization.users (or users of an account):

    {
      nkey: %s # %s
      permissions: {
        publish: [%s]
        subscribe: [%s]
      }
    }
`, public, bus, strings.Join(quoted(g.Publish), ", "), strings.Join(quoted(g.Subscribe), ", "))
}

func (m *Main) fleetCheck() *cobra.Command {
	var f fleetFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check each hub of the config: reach, login, version, stream, and that it refuses what is stale",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return m.eachHub(cmd.Context(), &f, m.checkHub)
		},
	}
	f.add(cmd)
	return cmd
}

func (m *Main) checkHub(ctx context.Context, c config.FleetEntry, o stream.Options) error {
	s, err := stream.Open(ctx, o)
	if err != nil {
		return err
	}
	defer s.Close()
	if ok, why := s.Connected(); !ok { // the first attempt failed, and that is the answer
		return withHint(why, "start the hub, or correct hub: and what is between, such as a firewall")
	}
	info, err := s.Info(ctx)
	if err != nil {
		return err
	}
	if err := s.SelfTest(ctx, fleet.CheckSubject(c.Name, busNameOf(c))); err != nil {
		return err
	}
	m.printf("ok: fleet %s at %s as %s\n", c.Name, c.Hub[0], busNameOf(c))
	m.printf("  server   nats-server %s, largest message %d KiB\n", info.Version, info.Largest()>>10)
	m.printf("  stream   %s: %d messages, %d MiB, on %d server(s)\n", o.Stream, info.Messages, info.Bytes>>20, max(1, info.Replicas))
	m.printf("  keeps    %s%s\n", ageText(info.MaxAge), sizeText(info.MaxBytes))
	return nil
}

func ageText(d time.Duration) string {
	if d <= 0 {
		return "everything, whatever its age"
	}
	return d.String()
}

func sizeText(n int64) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(", at most %d MiB", n>>20)
}

func (m *Main) fleetStatus() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the fleets of a running bus: connected, waiting, and each other bus",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := m.api(cmd.Context(), &r, http.MethodGet, "/api/v1/fleet")
			if err != nil {
				return err
			}
			var list []fleet.Status
			if err := json.Unmarshal(body, &list); err != nil {
				return fmt.Errorf("the answer of /api/v1/fleet is not a list: %w", err)
			}
			if asJSON {
				return json.NewEncoder(m.Stdout).Encode(list)
			}
			return m.printFleets(list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	r.remoteFlags(cmd, "the bus: http://HOST:PORT or https://HOST:PORT")
	return cmd
}

func (m *Main) printFleets(list []fleet.Status) error {
	if len(list) == 0 {
		m.printf("the bus is in no fleet\n")
		return nil
	}
	for i, s := range list {
		if i > 0 {
			m.printf("\n")
		}
		m.printf("%s as %s at %s: %s, %d to send, %d to read\n", s.Fleet, s.Bus, strings.Join(s.Hub, " "), s.State, s.Waiting, s.Behind)
		if s.Error != "" {
			m.printf("  error: %s\n", oneLine(s.Error))
		}
		if s.Hint != "" {
			m.printf("  hint: %s\n", oneLine(s.Hint))
		}
		if len(s.Peers) == 0 {
			continue
		}
		w := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "  BUS\tEVENTS\tLAST\tLOST\tEXPIRED\tREFUSED")
		for _, name := range slices.Sorted(maps.Keys(s.Peers)) {
			p := s.Peers[name]
			last := "-"
			if !p.Last.IsZero() {
				last = p.Last.Local().Format(time.DateTime)
			}
			fmt.Fprintf(w, "  %s\t%d\t%s\t%d\t%d\t%d\n", oneLine(name), p.Events, last, p.Lost, p.Expired, p.Refused)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Main) fleetForget() *cobra.Command {
	var f fleetFlags
	cmd := &cobra.Command{
		Use:   "forget BUS",
		Short: "Remove from the hub what a bus that is gone for good has sent",
		Long: `Remove from the hub what a bus that is gone for good has sent. The other buses keep what they have taken. Stop the
bus first: one that runs sends its events again. It needs more rights than a bus has: --creds. Also remove the bus's user from the hub's configuration.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := config.CheckBusName(args[0]); err != nil {
				return usagef("%w", err)
			}
			return m.eachHub(cmd.Context(), &f, func(ctx context.Context, c config.FleetEntry, o stream.Options) error {
				s, err := stream.Open(ctx, o)
				if err != nil {
					return err
				}
				defer s.Close()
				n, err := s.Purge(ctx, fleet.BusSubjects(c.Name, args[0]))
				if err != nil {
					return err
				}
				m.printf("ok: %d messages of %s removed from %s\n", n, args[0], c.Hub[0])
				return nil
			})
		},
	}
	f.add(cmd)
	return cmd
}
