// This file is the default locations of files.

package config

import (
	"errors"
	"path"
	"strings"
)

// Paths are postbus's default locations. All are absolute.
type Paths struct {
	DataDir    string
	ConfigFile string
	PluginsDir string // plugins.d beside ConfigFile
}

// ErrNoHome means that neither the home folder nor a replacement for it is known.
var ErrNoHome = errors.New("the home folder is unknown: set HOME, or give --data-dir and --config")

// DefaultPaths finds the default locations. With ErrNoHome it returns those that are known and
// leaves the others empty. It uses the environment only (getenv is os.Getenv, goos runtime.GOOS,
// home the result of os.UserHomeDir or ""); it reads no file:
//
//   - data: $STATE_DIRECTORY (systemd), $XDG_STATE_HOME/postbus, ~/.local/state/postbus; on macOS
//     ~/Library/Application Support/postbus/data, on Windows %LocalAppData%\postbus;
//   - config: $CONFIGURATION_DIRECTORY (systemd), /etc/postbus for a system service,
//     $XDG_CONFIG_HOME/postbus, ~/.config/postbus; on macOS ~/Library/Application Support/postbus,
//     on Windows %AppData%\postbus.
func DefaultPaths(getenv func(string) string, goos, home string) (Paths, error) {
	if goos == "windows" {
		return windowsPaths(getenv, home)
	}
	if !strings.HasPrefix(home, "/") {
		home = ""
	}
	data, conf := first(getenv("STATE_DIRECTORY")), first(getenv("CONFIGURATION_DIRECTORY"))
	if goos == "linux" && systemService(getenv, home) {
		data, conf = or(data, "/var/lib/postbus"), or(conf, "/etc/postbus")
	}
	data = or(data, under(getenv("XDG_STATE_HOME"), "postbus"))
	conf = or(conf, under(getenv("XDG_CONFIG_HOME"), "postbus"))
	if goos == "darwin" || goos == "ios" {
		data = or(data, under(home, "Library/Application Support/postbus/data"))
		conf = or(conf, under(home, "Library/Application Support/postbus"))
	}
	data = or(data, under(home, ".local/state/postbus"))
	conf = or(conf, under(home, ".config/postbus"))
	p := Paths{DataDir: data}
	if conf != "" {
		p.ConfigFile, p.PluginsDir = path.Join(conf, "postbus.yaml"), path.Join(conf, "plugins.d")
	}
	if data == "" || conf == "" {
		return p, ErrNoHome
	}
	return p, nil
}

// systemService reports whether this is a service of the machine rather than of a user. A user's
// service has its state folder in the home folder. INVOCATION_ID alone proves little, because every
// process of a desktop session inherits it.
func systemService(getenv func(string) string, home string) bool {
	state := first(getenv("STATE_DIRECTORY"))
	if state != "" {
		return strings.HasPrefix(state, "/var/lib/")
	}
	return getenv("INVOCATION_ID") != "" && (home == "" || home == "/" || home == "/root")
}

func windowsPaths(getenv func(string) string, home string) (Paths, error) {
	home = strings.TrimRight(home, `\/`)
	local, roaming := getenv("LocalAppData"), getenv("AppData")
	if home != "" {
		local, roaming = or(local, home+`\AppData\Local`), or(roaming, home+`\AppData\Roaming`)
	}
	if local == "" || roaming == "" {
		return Paths{}, ErrNoHome
	}
	conf := strings.TrimRight(roaming, `\/`) + `\postbus`
	return Paths{DataDir: strings.TrimRight(local, `\/`) + `\postbus`, ConfigFile: conf + `\postbus.yaml`, PluginsDir: conf + `\plugins.d`}, nil
}

// first returns the first of the folders that systemd separates with colons. It ignores a relative
// one, as the XDG specification requires.
func first(list string) string {
	s, _, _ := strings.Cut(list, ":")
	return under(s, "")
}

func under(dir, name string) string {
	if !strings.HasPrefix(dir, "/") {
		return ""
	}
	return path.Join(dir, name)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
