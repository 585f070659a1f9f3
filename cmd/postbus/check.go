// This file is "check": all errors in the config and the plugins, and the addresses that the bus
// would listen on.

package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/config"
)

func (m *Main) checkCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the config and every plugin; exit code 1 if anything is wrong",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.overrides(cmd)
			return m.check(&s)
		},
	}
	s.configFlag(cmd)
	s.dirFlags(cmd)
	return cmd
}

func (m *Main) check(s *settings) error {
	l, err := m.load(s)
	if err != nil {
		return err
	}
	// The config package leaves the hashes and the TLS files to other packages.
	_, perr := newPolicy(auth.NewVerifier(1), nil, l.Config)
	_, kerr := loadKeys(l.Listen.TLS, slog.New(slog.DiscardHandler))
	if err := errors.Join(perr, kerr); err != nil {
		return err
	}
	if l.there {
		m.printf("ok: %s\n", m.shown(l.file))
	} else {
		m.printf("ok: no config file at %s, the defaults apply\n", l.file)
	}
	if len(l.Users) > 0 {
		m.warnReadable(l.file)
	}
	for _, a := range l.Listen.MQTT {
		m.printf("  MQTT     %s%s\n", a, who(l.Config, a.Local()))
	}
	if l.Listen.HTTP != "" {
		m.printf("  HTTP     %s%s\n", l.Listen.HTTPURL(), who(l.Config, config.LocalAddress(l.Listen.HTTP)))
	}
	m.printf("  plugins  %s\n  data     %s\n", l.PluginsDir, l.DataDir)
	if l.PlainPasswords() {
		m.warn(plainPasswords, plainPasswordsHint)
	}
	if files, err := m.pluginFiles(l, nil); err != nil || len(files) == 0 {
		return err
	}
	return m.checkPlugins(l, nil)
}

// who says which clients a listener accepts.
func who(c *config.Config, local bool) string {
	anonymous := !c.Anonymous.Off && (local || c.Anonymous.Explicit)
	switch n := len(c.Users); {
	case n == 0 && anonymous && local:
		return "  (this machine only, without a password)"
	case n == 0 && anonymous:
		return "  (any client, without a password)"
	case anonymous:
		return fmt.Sprintf("  (%s, and any client without a password)", users(n))
	default:
		return fmt.Sprintf("  (%s)", users(n))
	}
}

func users(n int) string {
	if n == 1 {
		return "1 user"
	}
	return fmt.Sprintf("%d users", n)
}
