// This file is the "plugin" commands that need no running bus.

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/config/atomicfile"
	"github.com/postbus/postbus/config/suggest"
	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/devices/desktop"
	"github.com/postbus/postbus/plugins"
	"github.com/postbus/postbus/plugins/payload"
)

func (m *Main) pluginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "Check, test, trace and explain plugins",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(m.pluginCheckCommand(), m.pluginTestCommand(), m.pluginNewCommand(), m.pluginSchemaCommand(), m.pluginReferenceCommand(),
		m.pluginApproveCommand(), m.pluginListCommand(), m.pluginTraceCommand(), m.pluginExplainCommand(), m.pluginTimersCommand(), m.pluginReplayCommand())
	return cmd
}

func (m *Main) pluginCheckCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Check plugin files and report all errors; without FILE those in the plugins folder",
		RunE: func(cmd *cobra.Command, args []string) error {
			s.overrides(cmd)
			l, err := m.load(&s)
			if err != nil {
				return err
			}
			return m.checkPlugins(l, args)
		},
	}
	s.configFlag(cmd)
	s.dirFlags(cmd)
	return cmd
}

// pluginFile is one file to check.
type pluginFile struct{ path, shown, id string }

// pluginFiles returns the named files, or all of the folder.
func (m *Main) pluginFiles(l *loaded, args []string) ([]pluginFile, error) {
	var list []pluginFile
	for _, a := range args {
		list = append(list, pluginFile{a, a, strings.TrimSuffix(filepath.Base(a), ".yaml")})
	}
	if len(args) > 0 {
		return list, nil
	}
	entries, err := os.ReadDir(l.PluginsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("plugins folder: %w", err)
	}
	for _, e := range entries {
		if name := e.Name(); plugins.IsPluginFile(name) {
			path := filepath.Join(l.PluginsDir, name)
			list = append(list, pluginFile{path, m.shown(path), strings.TrimSuffix(name, ".yaml")})
		}
	}
	return list, nil
}

// checkedFile is a file's spec, or its errors.
func checkFile(c *plugins.Checker, f pluginFile) (*plugins.Spec, yamlnode.Errors) {
	data, err := plugins.ReadFile(f.path)
	if err != nil {
		e := &yamlnode.Error{File: f.shown, Reason: err.Error()}
		if h, ok := err.(hinter); ok {
			e.Hint = h.Hint()
		}
		return nil, yamlnode.Errors{e}
	}
	return c.Check(f.id, f.shown, data)
}

func (m *Main) checkPlugins(l *loaded, args []string) error {
	files, err := m.pluginFiles(l, args)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		m.printf("ok: no plugin files in %s\n", l.PluginsDir)
		return nil
	}
	c := checker(l)
	c.Secret = func(name string) error { return plugins.FindSecret(l.secretDirs, name) }
	var all yamlnode.Errors
	bad := 0
	claims := map[string]string{}
	for _, f := range files {
		spec, errs := checkFile(c, f)
		if spec != nil {
			if err := spec.Claim(claims, f.shown); err != nil {
				errs = yamlnode.Errors{{File: f.shown, Reason: err.Error(),
					Hint: "change one of the two, or disable it: mv x.yaml x.yaml.off"}}
			}
		}
		if len(errs) > 0 {
			bad++
			all = append(all, errs...)
			continue
		}
		m.printf("ok: %s%s\n", f.shown, summary(spec))
		for _, w := range spec.Warnings() {
			m.printf("warning: %s\n", w)
		}
	}
	if len(all) > 0 {
		where := fmt.Sprintf("%d of %d plugin files", bad, len(files))
		if len(files) == 1 {
			where = files[0].shown
		}
		return &configError{where: where, list: all, many: bad > 1}
	}
	return nil
}

// summary describes a file's effect and needs.
func summary(s *plugins.Spec) string {
	text := fmt.Sprintf("  (%s)", s.Flow())
	if n := s.Tests(); n > 0 {
		text += fmt.Sprintf(", %s passed", plural(n, "test"))
	}
	if need := s.Consent(); len(need) > 0 {
		text += fmt.Sprintf(", needs approval: %s", strings.Join(need, ", "))
	}
	return text
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (m *Main) pluginTestCommand() *cobra.Command {
	var s settings
	var events string
	cmd := &cobra.Command{
		Use:   "test [FILE...]",
		Short: "Run the tests in plugin files, or recorded events through one",
		Long: `Run the tests in plugin files. With --events the events of a file, one JSON object a line (- is standard
input), go through the mapping of one plugin file, and the outcome of each is printed; nothing is published.`,
		Example: `  postbus plugin test doorbell.yaml
  postbus plugin trace --json doorbell > recorded.jsonl      # a while later:
  postbus plugin test --events recorded.jsonl doorbell.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.overrides(cmd)
			l, err := m.load(&s)
			if err != nil {
				return err
			}
			if events != "" {
				return m.replay(l, args, events)
			}
			return m.testPlugins(l, args)
		},
	}
	s.configFlag(cmd)
	s.dirFlags(cmd)
	cmd.Flags().StringVar(&events, "events", "", "events to map, one JSON object a line, from `FILE`")
	return cmd
}

func (m *Main) testPlugins(l *loaded, args []string) error {
	files, err := m.pluginFiles(l, args)
	if err != nil {
		return err
	}
	c := checker(l)
	var all yamlnode.Errors
	for _, f := range files {
		spec, errs := checkFile(c, f)
		if len(errs) > 0 {
			m.printf("FAIL %s\n", f.shown)
			all = append(all, errs...)
			continue
		}
		switch n := spec.Tests(); n {
		case 0:
			m.printf("ok   %s  no tests\n", f.shown)
		default:
			m.printf("ok   %s  %s passed\n", f.shown, plural(n, "test"))
		}
	}
	if len(all) > 0 {
		return &configError{where: "the plugins", list: all}
	}
	return nil
}

// replay maps recorded events.
func (m *Main) replay(l *loaded, args []string, file string) error {
	if len(args) != 1 {
		return usagef("plugin test: --events goes with one plugin file")
	}
	spec, errs := checkFile(checker(l), pluginFile{args[0], args[0], strings.TrimSuffix(filepath.Base(args[0]), ".yaml")})
	if len(errs) > 0 {
		return &configError{where: args[0], list: errs}
	}
	in := m.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	run := spec.Replay(plugins.HostName(""), l.pluginEnv)
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, 4<<20)
	for n := 1; scan.Scan(); n++ {
		if strings.TrimSpace(scan.Text()) == "" {
			continue
		}
		v, _ := payload.JSON(scan.Bytes())
		e, ok := v.(map[string]any)
		if !ok {
			return withHint(fmt.Errorf("%s:%d: not a JSON object", file, n),
				`one event a line, as {"value": 1} or as a line of postbus plugin trace --json`)
		}
		if inner, ok := e["event"].(map[string]any); ok && e["verdicts"] != nil {
			e = inner
		}
		for _, line := range run(e) {
			m.printf("%d: %s\n", n, oneLine(line))
		}
	}
	return scan.Err()
}

func (m *Main) pluginNewCommand() *cobra.Command {
	var action, homeAssistant bool
	cmd := &cobra.Command{
		Use:   "new [KIND]",
		Short: "Print a commented example of a plugin file; without KIND list the kinds",
		Example: `  postbus plugin new timer > plugins.d/clock.yaml
  postbus plugin new --action http
  postbus plugin new desktop --home-assistant > plugins.d/desktop.yaml`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: one(kindNames),
		RunE: func(_ *cobra.Command, args []string) error {
			c := catalog()
			if homeAssistant {
				if len(args) == 0 || args[0] != "desktop" || action {
					return withHint(usagef("--home-assistant is for the kind desktop"), "postbus plugin new desktop --home-assistant")
				}
				_, err := io.WriteString(m.Stdout, desktop.HomeAssistant(plugins.HostName("")))
				return err
			}
			if len(args) == 0 {
				for _, k := range c.Kinds() {
					what := "source"
					if k.Action {
						what = "action"
					}
					m.printf("%-14s %s  %s\n", k.Name, what, plugins.FirstSentence(k.About))
				}
				return nil
			}
			source, act := c.Named(args[0])
			k := source
			if k == nil || action {
				k = act
			}
			if k == nil {
				return noKind(c, args[0])
			}
			_, err := io.WriteString(m.Stdout, k.Sample)
			return err
		},
	}
	cmd.Flags().BoolVar(&action, "action", false, "the action of that name, if a source has the same name")
	cmd.Flags().BoolVar(&homeAssistant, "home-assistant", false, "with desktop: a file that announces the whole desktop to Home Assistant")
	return cmd
}

func (m *Main) pluginSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of plugin files, for editors",
		Long: `Print the JSON Schema of plugin files. Editors with the YAML language server complete and check a file that
begins with: # yaml-language-server: $schema=plugin.schema.json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := m.Stdout.Write(catalog().Schema())
			return err
		},
	}
}

// noKind is the error for the name of a kind that does not exist.
func noKind(c *plugins.Catalog, name string) error {
	var all []string
	for _, k := range c.Kinds() {
		all = append(all, k.Name)
	}
	slices.Sort(all)
	err := usagef("no kind is called %q", name)
	if s := suggest.Nearest(name, all); s != "" {
		return withHint(err, "did you mean %s?", s)
	}
	return withHint(err, "the kinds: %s", strings.Join(slices.Compact(all), ", "))
}

func (m *Main) pluginReferenceCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "reference [KIND]",
		Short:             "Print the reference page of a kind, or the list of all kinds, in Markdown",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: one(kindNames),
		RunE: func(_ *cobra.Command, args []string) error {
			c := catalog()
			page := c.Reference()[plugins.ReferenceIndex]
			if len(args) > 0 {
				if page = c.Page(args[0]); page == nil {
					return noKind(c, args[0])
				}
			}
			_, err := m.Stdout.Write(page)
			return err
		},
	}
}

func (m *Main) pluginApproveCommand() *cobra.Command {
	var s settings
	var revoke, yes bool
	cmd := &cobra.Command{
		Use:   "approve ID",
		Short: "Allow the current version of a plugin to run commands, or suspend or reboot the machine",
		Long: `Allow a plugin to run the commands that its file names, or to lock, suspend or reboot the machine. The
approval is for the exact content of the file, and of the scripts in the plugins folder that it runs: after a
change it has to be given again. Until then the approved version of a changed file keeps running, and a plugin
with a changed script stops. On a terminal the command shows the rights and asks for confirmation.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completePlugins(&s),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.overrides(cmd)
			l, err := m.load(&s)
			if err != nil {
				return err
			}
			return m.approve(l, args[0], revoke, yes || !isTerminal(m.Stdin))
		},
	}
	s.configFlag(cmd)
	s.dirFlags(cmd)
	cmd.Flags().BoolVar(&revoke, "revoke", false, "revoke the approval")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}

func (m *Main) approve(l *loaded, id string, revoke, yes bool) error {
	file := filepath.Join(l.DataDir, approvalsFile)
	all, err := plugins.ReadApprovals(file)
	if err != nil {
		return fmt.Errorf("approvals: %w", err)
	}
	if revoke {
		if all[id] == "" {
			return fmt.Errorf("the plugin %q is not approved", id)
		}
		delete(all, id)
		m.printf("revoked: %s\n", id)
		return writeApprovals(file, all)
	}
	path := filepath.Join(l.PluginsDir, id+".yaml")
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) || !plugins.IDForm.MatchString(id) {
		return noPlugin(id, m.pluginIDs(l))
	}
	spec, errs := checkFile(checker(l), pluginFile{path, m.shown(path), id})
	if len(errs) > 0 {
		return &configError{where: m.shown(path), list: errs}
	}
	need := spec.Consent()
	if len(need) == 0 {
		m.printf("%s needs no approval\n", id)
		return nil
	}
	hash, err := spec.ApprovalHash(l.PluginsDir)
	if err != nil {
		return withHint(fmt.Errorf("%s: %w", m.shown(path), err), "an approval covers the content of the scripts in the plugins folder")
	}
	what := fmt.Sprintf("the current version of %s (%.12s) may use\n  %s\n", id, spec.Hash, strings.Join(append(need, spec.Scripts(l.PluginsDir)...), "\n  "))
	if !yes {
		fmt.Fprintf(m.Stderr, "%sapprove? [y/N] ", what)
		answer, _ := bufio.NewReader(io.LimitReader(m.Stdin, 1<<10)).ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			return errors.New("not approved")
		}
		what = id + "\n"
	}
	all[id] = hash
	if err := writeApprovals(file, all); err != nil {
		return fmt.Errorf("approvals: %w", err)
	}
	m.printf("approved: %s", what)
	return nil
}

// pluginIDs returns the plugins of the folder, as far as it can be read.
func (m *Main) pluginIDs(l *loaded) []string {
	files, _ := m.pluginFiles(l, nil)
	var ids []string
	for _, f := range files {
		ids = append(ids, f.id)
	}
	return ids
}

// writeApprovals replaces the file of approvals, which only its owner may read.
func writeApprovals(file string, all map[string]string) error {
	data, err := plugins.EncodeApprovals(all)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(file, data, 0o600)
}
