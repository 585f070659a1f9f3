// This file finds the config from the file, the environment and the flags, and the default paths.

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/config/yamlnode"
)

// settings are the flags that decide the config.
type settings struct {
	file                string
	dataDir, pluginsDir string
	flags               []config.Override
}

// loaded is a config with its paths filled in.
type loaded struct {
	*config.Config
	file  string // the config file, absolute; it may not exist yet unless given is set
	given bool   // the user named it
	there bool   // the file exists

	pluginEnv  map[string]string // the environment variables that plugins may read
	secretDirs []string          // the folders of plugins' secrets
}

// configFlag adds --config.
func (s *settings) configFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.file, "config", "",
		"config `FILE` (default: postbus.yaml in the platform's folder, if it is there)")
}

// dirFlags adds --data-dir and --plugins-dir, for users who gave them to run.
func (s *settings) dirFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.dataDir, "data-dir", "", "the bus keeps its data in `DIR`")
	cmd.Flags().StringVar(&s.pluginsDir, "plugins-dir", "", "plugins are in `DIR`")
}

// overrides applies the flags that were given.
func (s *settings) overrides(cmd *cobra.Command) {
	s.override(cmd, "data-dir", "data_dir", s.dataDir)
	s.override(cmd, "plugins-dir", "plugins_dir", s.pluginsDir)
}

func (s *settings) override(cmd *cobra.Command, flag, key string, values ...string) {
	if cmd.Flags().Changed(flag) {
		s.flags = append(s.flags, config.Override{Flag: "--" + flag, Key: key, Values: values})
	}
}

// configFile returns the file that settings name, whether it exists or not.
func (m *Main) configFile(s *settings) (string, error) {
	paths, pathErr := config.DefaultPaths(m.getenv, runtime.GOOS, m.home())
	switch file, _, err := m.namedFile(s, paths); {
	case err != nil:
		return "", err
	case file == "":
		return "", pathErr
	default:
		return behindLinks(file), nil
	}
}

// namedFile returns the absolute path of the config file, "" if none is given and the system has no place
// for it.
func (m *Main) namedFile(s *settings, paths config.Paths) (file string, given bool, err error) {
	if file = s.file; file == "" {
		file = m.getenv("POSTBUS_CONFIG")
	}
	if given = file != ""; !given {
		file = paths.ConfigFile
	}
	if file != "" {
		file, err = filepath.Abs(file)
	}
	return file, given, err
}

// behindLinks returns the file behind a link, which an edit replaces instead of the link.
func behindLinks(file string) string {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		return real
	}
	return file
}

// load reads the config again.
func (m *Main) load(s *settings) (*loaded, error) { return m.loadWith(s, config.Load) }

// loadWith reads the config by a function such as config.Load.
func (m *Main) loadWith(s *settings, load func(path string, env []string, flags ...config.Override) (*config.Config, error)) (*loaded, error) {
	paths, pathErr := config.DefaultPaths(m.getenv, runtime.GOOS, m.home())
	l := &loaded{}
	var err error
	if l.file, l.given, err = m.namedFile(s, paths); err != nil {
		return nil, err
	}
	c, err := load(m.shown(l.file), m.Env, s.flags...)
	l.there = err == nil && l.file != ""
	if errors.Is(err, fs.ErrNotExist) {
		if l.given {
			return nil, withHint(err, "every key is optional: an empty file is valid; or leave --config out")
		}
		c, err = config.Load("", m.Env, s.flags...)
	}
	var list yamlnode.Errors
	if errors.As(err, &list) {
		return nil, &configError{where: m.whose(list), list: list}
	}
	if err != nil {
		return nil, err
	}
	l.Config = c
	if c.DataDir == "" {
		if paths.DataDir == "" {
			return nil, pathErr
		}
		c.DataDir = paths.DataDir
	}
	if c.PluginsDir == "" {
		switch {
		case l.given:
			c.PluginsDir = filepath.Join(filepath.Dir(l.file), "plugins.d")
		case paths.PluginsDir != "":
			c.PluginsDir = paths.PluginsDir
		default:
			return nil, pathErr
		}
	}
	l.pluginEnv = map[string]string{}
	for _, name := range c.PluginEnv {
		l.pluginEnv[name] = m.getenv(name)
	}
	if dir := m.getenv("CREDENTIALS_DIRECTORY"); dir != "" { // systemd's
		l.secretDirs = append(l.secretDirs, dir)
	}
	if l.file != "" {
		l.secretDirs = append(l.secretDirs, filepath.Join(filepath.Dir(l.file), "secrets"))
	}
	return l, absolute(&c.DataDir, &c.PluginsDir)
}

// absolute makes paths absolute, so that a later change of the working directory has no effect.
func absolute(paths ...*string) error {
	for _, p := range paths {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}

// shown returns a file's name in its shortest form, which makes errors clearer.
func (m *Main) shown(file string) string {
	if file == "" {
		return ""
	}
	wd, err := os.Getwd()
	if err != nil {
		return file
	}
	rel, err := filepath.Rel(wd, file)
	if err != nil || !filepath.IsLocal(rel) {
		return file
	}
	return rel
}

// whose names the source of the errors.
func (m *Main) whose(list yamlnode.Errors) string {
	for _, e := range list {
		if e.File != list[0].File {
			return "the config"
		}
	}
	switch f := list[0].File; f {
	case "environment", "command line":
		return "the " + f
	default:
		return f
	}
}
