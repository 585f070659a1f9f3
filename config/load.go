// This file combines file, environment and command line into one Config.

package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/postbus/postbus/config/suggest"
	"github.com/postbus/postbus/config/yamlnode"
)

// Override is a setting from the command line. It overrides the environment, which overrides the
// file.
type Override struct {
	Flag   string   // as the user wrote it, for errors: "--mqtt"
	Key    string   // dotted path: "listen.mqtt"
	Values []string // one value, unless the key is a list
}

// Load reads the file at path, applies the POSTBUS_… variables in env ("NAME=value", as from
// os.Environ) and then the flags, and checks the result. An empty path means no file: defaults and
// overrides only. The error is a yamlnode.Errors with every error, or states why the file cannot be
// read (errors.Is fs.ErrNotExist).
func Load(path string, env []string, flags ...Override) (*Config, error) {
	if path == "" {
		return Parse("", nil, env, flags...)
	}
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data, env, flags...)
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	defer f.Close()
	// One byte above the limit is enough for Parse to detect that the file is too large.
	data, err := io.ReadAll(io.LimitReader(f, yamlnode.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	return data, nil
}

// Parse works as Load on bytes that were already read. name is the file's name in errors, and
// relative paths in the file are relative to its folder. Every error is a yamlnode.Errors.
func Parse(name string, data []byte, env []string, flags ...Override) (*Config, error) {
	over := overlay(env, flags)
	doc, err := yamlnode.Parse(name, data)
	if err != nil {
		var errs yamlnode.Errors
		errors.As(err, &errs)
		return nil, append(errs, over.Errors()...)
	}
	doc.KnownPaths(allPaths())

	l := &loader{c: DefaultFor(profileOf(doc, over)), env: env, where: map[string]yamlnode.Node{"": doc.Root()}, certificateOf: map[string]string{}}
	if name != "" {
		l.base = filepath.Dir(name)
	}
	l.section(doc.Root(), "")
	l.base = "" // an override's relative path is relative to the working directory, as in a shell
	l.inOverlay = true
	l.section(over.Root(), "")
	l.check()

	if errs := append(doc.Errors(), over.Errors()...); len(errs) > 0 {
		return nil, errs
	}
	return l.c, nil
}

// profileOf reads the profile first, because it decides the defaults of all other keys. section
// reports an invalid one later, in its order.
func profileOf(docs ...*yamlnode.Doc) Profile {
	p := ProfileDefault
	for _, d := range docs {
		raw := d.Root().Raw()
		if raw == nil || !d.Root().IsMap() {
			continue
		}
		for i := 0; i+1 < len(raw.Content); i += 2 {
			if raw.Content[i].Value == "profile" {
				p = Profile(raw.Content[i+1].Value)
			}
		}
	}
	return p
}

// forCLI are variables that the command line reads itself.
var forCLI = map[string]bool{"POSTBUS_PASSWORD": true, "POSTBUS_URL": true, "POSTBUS_USER": true, "POSTBUS_CONFIG": true}

// serviceLink reports whether Kubernetes sets this variable in every pod if a service is called
// "postbus". The user did not write it, so the user could not correct it.
func serviceLink(name string) bool {
	return name == "POSTBUS_PORT" || strings.HasPrefix(name, "POSTBUS_PORT_") || strings.HasPrefix(name, "POSTBUS_SERVICE_")
}

// overlay makes a document of environment and flags.
func overlay(env []string, flags []Override) *yamlnode.Doc {
	lists := map[string]bool{}
	byEnv := map[string]string{}
	var names []string
	for _, k := range keys {
		lists[k.path] = k.list
		if !k.noEnv {
			byEnv[envName(k.path)] = k.path
		}
	}
	for _, p := range rulePaths {
		lists[p] = true
		byEnv[envName(p)] = p
	}
	byEnv[envName(fleetBusPath)] = fleetBusPath
	for n := range byEnv {
		names = append(names, strings.TrimPrefix(n, "POSTBUS_"))
	}
	sort.Strings(names)

	type variable struct{ name, value string }
	var vars []variable
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "POSTBUS_") && !forCLI[name] && !serviceLink(name) {
			vars = append(vars, variable{name, value})
		}
	}
	sort.SliceStable(vars, func(i, j int) bool { return vars[i].name < vars[j].name })

	var settings []yamlnode.Setting
	var unknown []variable
	for _, v := range vars {
		path, ok := byEnv[v.name]
		if !ok {
			unknown = append(unknown, v)
			continue
		}
		s := yamlnode.Setting{Origin: yamlnode.Origin{File: "environment", Name: v.name}, Path: path, Values: []string{v.value}, List: lists[path]}
		if s.List {
			s.Values = splitList(v.value)
		}
		settings = append(settings, s)
	}
	for _, f := range flags {
		settings = append(settings, yamlnode.Setting{Origin: yamlnode.Origin{File: "command line", Name: f.Flag}, Path: f.Key, Values: f.Values, List: lists[f.Key]})
	}
	doc := yamlnode.NewOverlay(settings)
	for _, v := range unknown {
		o := yamlnode.Origin{File: "environment", Name: v.name}
		switch s := suggest.Nearest(strings.TrimPrefix(v.name, "POSTBUS_"), names); {
		case v.name == "POSTBUS_USERS":
			doc.Add(o, "users can't be set from the environment",
				"write them in the config file: postbus user add NAME")
		case v.name == "POSTBUS_GROUPS":
			doc.Add(o, "groups can't be set from the environment",
				"write them in the config file: postbus group add NAME")
		case v.name == "POSTBUS_JWT":
			doc.Add(o, "jwt can't be set from the environment", "write it in the config file")
		case v.name == "POSTBUS_FLEET" || fleetVariable(v.name):
			doc.Add(o, "fleet can't be set from the environment",
				"write it in the config file; POSTBUS_FLEET_BUS sets the name of this bus in it")
		case s != "":
			doc.Add(o, fmt.Sprintf("unknown variable; did you mean POSTBUS_%s?", s), "")
		default:
			doc.Add(o, "unknown variable", "a key's variable is POSTBUS_ and its path, such as POSTBUS_LISTEN_HTTP; unset variables that are no key")
		}
	}
	return doc
}

// fleetVariable reports whether a variable is named like a key of an entry of fleet.
func fleetVariable(name string) bool {
	return slices.ContainsFunc(fleetKeys, func(key string) bool { return name == envName("fleet."+key) })
}

func splitList(s string) []string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	items := strings.Split(s, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}
