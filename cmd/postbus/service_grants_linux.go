// This file is what the machine's service may use beyond its sandbox: devices, other users' processes,
// and programs that need more than the bus. Each grant is a drop-in of the unit, made when a user asks
// for it, so that the bus itself has no device at all.

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/config/atomicfile"
	"github.com/postbus/postbus/config/suggest"
)

// grant is a drop-in.
type grant struct {
	name  string
	about string
	group string   // which owns the devices, on Debian and on Raspberry Pi OS; "" for none
	lines []string // of the section [Service]
	kinds []string // of plugins that need it
}

// anyDevice leaves the rights of devices to their groups. The driver of a device that is plugged in later
// may not be known when the service starts, and systemd resolves the names of drivers then. The empty
// list takes back those of drop-ins that come before.
const anyDevice = "DevicePolicy=auto\nDeviceAllow="

var serviceGrants = []grant{
	{"gpio", "GPIO lines", "gpio", []string{"DeviceAllow=char-gpiochip rw"}, []string{"gpio"}},
	{"pwm", "PWM channels, which are files in /sys", "gpio", []string{"ProtectKernelTunables=no"}, []string{"pwm"}},
	{"i2c", "I²C buses", "i2c", []string{"DeviceAllow=char-i2c rw"}, []string{"i2c"}},
	{"spi", "SPI devices, for programs of plugins", "spi", []string{"DeviceAllow=char-spi rw"}, nil},
	{"serial", "serial ports, also those that are plugged in later", "dialout", []string{anyDevice}, []string{"serial", "modbus"}},
	{"input", "keyboards and buttons: every key that is pressed", "input", []string{"DeviceAllow=char-input rw"}, []string{"input"}},
	{"video", "cameras, for programs of plugins", "video", []string{anyDevice}, nil},
	{"processes", "the processes of all users", "", []string{"ProtectProc=default"}, []string{"process"}},
	{"commands", "programs of plugins that compile code while they run (Node, Java, .NET), or use other system calls than a service needs", "",
		[]string{"MemoryDenyWriteExecute=no", "SystemCallFilter=", "SystemCallFilter=~@clock @cpu-emulation @debug @module @mount @obsolete @privileged @raw-io @reboot @swap"}, []string{"exec", "execd"}},
}

func (g grant) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made by `postbus service grant %s`; `postbus service revoke %s` removes it.\n[Service]\n", g.name, g.name)
	if g.group != "" {
		fmt.Fprintf(&b, "SupplementaryGroups=%s\n", g.group)
	}
	for _, l := range g.lines {
		b.WriteString(l + "\n")
	}
	return b.String()
}

// path is the drop-in's. systemd reads them in the order of their names.
func (g grant) path() string {
	at := "50"
	if slices.Contains(g.lines, anyDevice) {
		at = "60"
	}
	return filepath.Join(systemUnit+".d", at+"-postbus-"+g.name+".conf")
}

func (g grant) granted() bool {
	_, err := os.Stat(g.path())
	return err == nil
}

func grantNames() (names []string) {
	for _, g := range serviceGrants {
		names = append(names, g.name)
	}
	return names
}

// grantsOf returns the grants of these names.
func grantsOf(names []string) (list []grant, err error) {
	for _, name := range names {
		i := slices.IndexFunc(serviceGrants, func(g grant) bool { return g.name == name })
		if i < 0 {
			hint := "the names: " + strings.Join(grantNames(), ", ")
			if near := suggest.Nearest(name, grantNames()); near != "" {
				hint = "did you mean " + near + "?"
			}
			return nil, withHint(usagef("there is no grant %q", name), "%s", hint)
		}
		list = append(list, serviceGrants[i])
	}
	return list, nil
}

func (m *Main) serviceCommands() []*cobra.Command {
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return grantNames(), cobra.ShellCompDirectiveNoFileComp
	}
	var about strings.Builder
	for _, g := range serviceGrants {
		fmt.Fprintf(&about, "\n  %-10s %s", g.name, g.about)
	}
	allow := &cobra.Command{
		Use:   "grant [NAME...]",
		Short: "Let the machine's service use devices, processes or programs; without a name list them",
		Long: `Let the machine's service use devices, other users' processes, or programs that need more than the bus does.
Without that it has no device at all. The service is restarted.
` + about.String(),
		Example:           "  sudo postbus service grant gpio i2c",
		ValidArgsFunction: complete,
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 {
				return m.listGrants()
			}
			return m.changeGrants(cmd.Context(), names, true)
		},
	}
	revoke := &cobra.Command{
		Use:               "revoke NAME...",
		Short:             "Take from the machine's service what was granted",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: complete,
		RunE: func(cmd *cobra.Command, names []string) error {
			return m.changeGrants(cmd.Context(), names, false)
		},
	}
	return []*cobra.Command{allow, revoke}
}

func (m *Main) listGrants() error {
	w := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "GRANT\tGRANTED\tWHAT")
	for _, g := range serviceGrants {
		is := "no"
		if g.granted() {
			is = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", g.name, is, g.about)
	}
	return w.Flush()
}

// changeGrants makes or removes drop-ins, and restarts the service with them.
func (m *Main) changeGrants(ctx context.Context, names []string, give bool) error {
	list, err := grantsOf(names)
	if err != nil {
		return err
	}
	if err := m.needSystemd(&service{}); err != nil {
		return err
	}
	if text, err := ownUnit(systemUnit); err != nil {
		return err
	} else if text == "" {
		return withHint(fmt.Errorf("no service is installed: %s does not exist", systemUnit), "sudo postbus service install")
	}
	for _, g := range list {
		if err := g.set(give); err != nil {
			return err
		}
	}
	if err := systemctl(ctx, false, "daemon-reload"); err != nil {
		return err
	}
	if err := systemctl(ctx, false, "restart", serviceName); err != nil {
		return notStarted(ctx, false, err)
	}
	done := "revoked"
	if give {
		done = "granted"
	}
	m.printf("%s: %s; the service was restarted\n", done, strings.Join(names, ", "))
	return nil
}

// set makes or removes a drop-in.
func (g grant) set(give bool) error {
	if !give {
		if err := os.Remove(g.path()); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if g.group != "" {
		if _, err := user.LookupGroup(g.group); err != nil { // systemd would not start the service
			return withHint(fmt.Errorf("the machine has no group %q, which would own the devices of %q", g.group, g.name),
				"sudo groupadd --system %s, and a rule of udev that gives it the devices: see docs/raspberry-pi.md", g.group)
		}
	}
	if err := os.MkdirAll(filepath.Dir(g.path()), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(g.path(), []byte(g.text()), 0o644)
}

// permissionHint says how a plugin's kind gets permissions, if this process is the machine's service.
func permissionHint(getenv func(string) string) func(kind string) string {
	me, err := user.Current()
	if err != nil || me.Username != serviceName || getenv("INVOCATION_ID") == "" {
		return nil
	}
	return func(kind string) string {
		for _, g := range serviceGrants {
			if slices.Contains(g.kinds, kind) && !g.granted() {
				return "sudo postbus service grant " + g.name
			}
		}
		return ""
	}
}
