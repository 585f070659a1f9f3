// This file is "service": the bus as a service of this machine, or of a user. Services differ by
// system: see service_linux.go for systemd, service_other.go for launchd and Windows.

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/config/atomicfile"
)

const serviceName = "postbus"

// service is the service to install or uninstall.
type service struct {
	user     bool   // a service of the current user, not of the machine
	program  string // absolute
	settings settings
}

func (m *Main) serviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Install or uninstall the bus as a service that starts with the machine",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(m.serviceInstall(), m.serviceUninstall())
	cmd.AddCommand(m.serviceCommands()...)
	return cmd
}

func (m *Main) serviceInstall() *cobra.Command {
	var s service
	var show bool
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install or update the service, and start it",
		Long: `Install the service and start it: as root a service of the machine, which starts with it, otherwise your own,
which starts when you log in. An existing service is updated and restarted. The service runs the very file
that this command runs from; it isn't copied. Data, config and plugins are never removed.`,
		Example: `  sudo postbus service install
  postbus service install --user`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := m.whoseService(cmd, &s); err != nil {
				return err
			}
			var err error
			if s.program, err = lastingProgram(); err != nil {
				return err
			}
			if show {
				return m.printService(&s)
			}
			return m.installService(cmd.Context(), &s)
		},
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&show, "print", false, "only print what would be installed")
	return cmd
}

func (m *Main) serviceUninstall() *cobra.Command {
	var s service
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Stop and uninstall the service; keep data, config and plugins",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := m.whoseService(cmd, &s); err != nil {
				return err
			}
			return m.uninstallService(cmd.Context(), &s)
		},
	}
	s.flags(cmd)
	return cmd
}

func (s *service) flags(cmd *cobra.Command) {
	s.settings.configFlag(cmd)
	cmd.Flags().BoolVar(&s.user, "user", false,
		"a service of the current user, not of the machine (default unless root)")
}

// whoseService chooses between the machine's and the user's service when the user didn't.
func (m *Main) whoseService(cmd *cobra.Command, s *service) error {
	root := os.Geteuid() == 0 // -1 on Windows
	switch {
	case s.user && root && m.getenv("SUDO_USER") != "":
		return withHint(usagef("--user with sudo would install a service for root"),
			"run it without sudo, or leave --user out for a service of the machine")
	case !cmd.Flags().Changed("user"):
		s.user = !root && runtime.GOOS != "windows"
	}
	return nil
}

// lastingProgram returns this program's file, which must still exist after a restart.
func lastingProgram() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("the path of this program is unknown: %w", err)
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	if dir := temporary(exe, os.TempDir(), "/tmp", "/var/tmp"); dir != "" {
		return "", withHint(fmt.Errorf("this program is %s, and files in %s are temporary", exe, dir),
			"%s", lastingHint)
	}
	return exe, nil
}

// temporary returns the temporary folder that contains the program, or "". `go run` has one of its
// own.
func temporary(exe string, folders ...string) string {
	for _, dir := range folders {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		}
		if rel, err := filepath.Rel(dir, exe); err == nil && filepath.IsLocal(rel) {
			return dir
		}
	}
	if i := strings.Index(exe, string(filepath.Separator)+"go-build"); i >= 0 {
		return exe[:i]
	}
	return ""
}

// printServiceAddresses prints the service's addresses, and where its files are.
func (m *Main) printServiceAddresses(c *loaded, log string) {
	for _, l := range c.Listen.MQTT {
		m.printf("  MQTT     %s\n", l)
	}
	if c.Listen.HTTP != "" {
		m.printf("  HTTP     %s\n", c.Listen.HTTPURL())
	}
	m.printPaths(c)
	m.printf("  log      %s\n", log)
}

func (m *Main) printPaths(c *loaded) {
	m.printf("  plugins  %s\n  data     %s\n  config   %s\n", c.PluginsDir, c.DataDir, c.file)
}

// systemPaths are the paths of the machine's service.
type systemPaths struct{ config, data string }

// text returns a new config of the machine's service. It names the data folder, so that commands
// that are given the file find the data.
func (p systemPaths) text() string {
	return fmt.Sprintf("# The config of the service %s. Every key is optional; README and config/examples/postbus.yaml list them.\n"+
		"# Check a change before you reload: postbus check --config %s\ndata_dir: %s\n", serviceName, p.config, p.data)
}

// newConfig writes the config when it doesn't exist, and reports whether it did.
func (p systemPaths) newConfig(mode os.FileMode) (bool, error) {
	if _, err := os.Stat(p.config); !os.IsNotExist(err) {
		return false, err
	}
	if _, err := config.Parse(p.config, []byte(p.text()), nil); err != nil {
		return false, err
	}
	return true, atomicfile.Write(p.config, []byte(p.text()), mode)
}
