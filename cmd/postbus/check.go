// This file is "check": all errors in the config and the plugins, and the addresses that the bus
// would listen on.

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/config"
)

func (m *Main) checkCommand() *cobra.Command {
	var s settings
	var q question
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the config and every plugin; exit code 1 if anything is wrong",
		Long: `Check the config and every plugin. With --who, print what a user may do and why instead: each rule with its
place, and what it means for that user and client. With --topic too, print which rule decides.`,
		Example: `  postbus check
  postbus check --who pi --client pi-kitchen --topic home/lamp
  postbus check --who anonymous --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.overrides(cmd)
			if !cmd.Flags().Changed("who") {
				for _, name := range []string{"client", "topic", "json"} {
					if cmd.Flags().Changed(name) {
						return usagef("--%s needs --who", name)
					}
				}
				return m.check(&s)
			}
			q.hasTopic = cmd.Flags().Changed("topic")
			return m.checkWho(&s, q)
		},
	}
	s.configFlag(cmd)
	s.dirFlags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&q.who, "who", "", "print what a user may do and why; `NAME` may be anonymous")
	fl.StringVar(&q.client, "client", "", "with --who: the `ID` of the user's MQTT client, for rules with ${client}")
	fl.StringVar(&q.topic, "topic", "", "with --who: whether the user may publish to, read and subscribe to `TOPIC`")
	fl.BoolVar(&q.json, "json", false, "with --who: print JSON")
	_ = cmd.RegisterFlagCompletionFunc("who", m.completeUsers(&s)) // it fails for flags that do not exist
	return cmd
}

func (m *Main) check(s *settings) error {
	l, err := m.load(s)
	if err != nil {
		return err
	}
	// The config package leaves the hashes and the TLS files to other packages.
	_, perr := newPolicy(auth.NewVerifier(1), nil, l.Config)
	keys, kerr := loadKeys(l.Listen.TLS, slog.New(slog.DiscardHandler))
	if keys != nil && keys.revoked != nil {
		kerr = keys.revoked.reload()
	}
	if err := errors.Join(perr, kerr, checkKeySets(l)); err != nil {
		return err
	}
	if l.there {
		m.printf("ok: %s\n", m.shown(l.file))
	} else {
		m.printf("ok: no config file at %s, the defaults apply\n", l.file)
	}
	if len(l.Users) > 0 || l.AuthHook.Secret != "" {
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
	for _, w := range l.Warnings() {
		m.warn(w.Error(), w.Hint)
	}
	if files, err := m.pluginFiles(l, nil); err != nil || len(files) == 0 {
		return err
	}
	return m.checkPlugins(l, nil)
}

// who says which clients a listener accepts.
func who(c *config.Config, local bool) string {
	anonymous := !c.Anonymous.Off && (local || c.Anonymous.Explicit)
	var logins []string
	if n := len(c.Users); n > 0 {
		logins = append(logins, users(n))
	}
	switch n := len(c.JWT); {
	case n == 1:
		logins = append(logins, "tokens of 1 issuer")
	case n > 1:
		logins = append(logins, fmt.Sprintf("tokens of %d issuers", n))
	}
	if c.AuthHook.URL != "" {
		logins = append(logins, "users of auth_hook")
	}
	switch {
	case len(logins) == 0 && anonymous && local:
		return "  (this machine only, without a password)"
	case len(logins) == 0 && anonymous:
		return "  (any client, without a password)"
	case anonymous:
		logins = append(logins, "and any client without a password")
	}
	return "  (" + strings.Join(logins, ", ") + ")"
}

func users(n int) string {
	if n == 1 {
		return "1 user"
	}
	return fmt.Sprintf("%d users", n)
}
