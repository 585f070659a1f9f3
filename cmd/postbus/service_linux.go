// This file is the service under systemd. It writes the unit itself, because the libraries for that
// know neither Type=notify nor StateDirectory nor groups nor hardening.

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/config/atomicfile"
)

const (
	lastingHint = "put it in its place and install from there: sudo install postbus /usr/local/bin/ && sudo /usr/local/bin/postbus service install"
	systemUnit  = "/etc/systemd/system/" + serviceName + ".service"
	unitMark    = "# Made by `postbus service install`, which replaces it."
)

var systemd = systemPaths{config: "/etc/postbus/postbus.yaml", data: "/var/lib/postbus"}

// unitFile is the content of a unit file.
type unitFile struct {
	service
	config  string // "" for the user's default
	data    string // of the machine's service
	lowPort bool   // it listens on a port below 1024
}

// text returns the unit file's text.
func (u unitFile) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	edit := "sudo systemctl edit " + serviceName
	if u.user {
		edit = "systemctl --user edit " + serviceName
	}
	line("%s Put your changes into a drop-in: %s", unitMark, edit)
	line("[Unit]\nDescription=postbus, an MQTT event bus\nDocumentation=https://github.com/postbus/postbus")
	if !u.user {
		line("After=network.target") // not network-online: a bus without a network is still useful
	}
	line("StartLimitIntervalSec=0") // no person is there to restart it
	line("\n[Service]\nType=notify")
	start := unitWord(strings.ReplaceAll(u.program, "$", "$$")) + " run"
	if u.config != "" {
		start += " --config " + unitWord(strings.ReplaceAll(u.config, "$", "$$"))
	}
	line("ExecStart=%s", start)
	line("ExecReload=/bin/kill -HUP $MAINPID")
	line("Restart=always\nRestartSec=5s")
	line("TimeoutStartSec=10min") // to read a long journal on a slow card
	line("TimeoutStopSec=15s")    // stopping takes 5 s at most
	line("KillMode=mixed")        // the bus ends its children itself
	line("WatchdogSec=%d", watchdogSeconds)
	if u.user {
		line("NoNewPrivileges=yes") // more would need a namespace, which a user's service may not have
		line("\n[Install]\nWantedBy=default.target")
		return b.String()
	}
	line("LimitNOFILE=65536")
	line("MemoryMax=75%%") // with the programs of its plugins: it is restarted before the machine has no memory left
	line("\n# Its own user, without a device: `postbus service grant` gives it devices.\nUser=%s\nGroup=%s", serviceName, serviceName)
	line("\n# /var/lib/postbus, /etc/postbus and /run/postbus, the last for sockets.")
	line("StateDirectory=postbus\nStateDirectoryMode=0750\nConfigurationDirectory=postbus\nConfigurationDirectoryMode=2750\nRuntimeDirectory=postbus\nUMask=0007")
	line("\n# Restrictions, also for the programs that its plugins run. To allow writing to other folders:\n# ReadWritePaths=/srv/data in a drop-in.")
	if u.lowPort {
		line("AmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE")
	} else {
		line("CapabilityBoundingSet=")
	}
	for _, l := range sandbox {
		line("%s", l)
	}
	if u.data != systemd.data {
		line("ReadWritePaths=%s", unitWord(u.data))
	}
	line("\n[Install]\nWantedBy=multi-user.target")
	return b.String()
}

// sandbox restricts the machine's service. systemd-analyze security judges it in a test.
var sandbox = []string{
	"NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=read-only", "PrivateTmp=yes", "RemoveIPC=yes",
	"DevicePolicy=closed", // not PrivateDevices: an error should say what is missing, not that there is no device
	"ProtectControlGroups=yes", "ProtectKernelModules=yes", "ProtectKernelLogs=yes", "ProtectKernelTunables=yes", "ProtectHostname=yes", "ProtectProc=invisible",
	"RestrictRealtime=yes", "RestrictSUIDSGID=yes", "RestrictNamespaces=yes", "LockPersonality=yes", "MemoryDenyWriteExecute=yes",
	"RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK", // netlink: devices that come and go, and the machine's addresses
	"SystemCallArchitectures=native", "SystemCallFilter=@system-service", "SystemCallFilter=~@privileged", "SystemCallErrorNumber=EPERM",
}

// watchdogSeconds is how long the service may be silent before systemd restarts it.
const watchdogSeconds = 60

// unitWord escapes one word of a command line or a path, as systemd.service(5) and
// systemd.syntax(7) require.
func unitWord(s string) string {
	s = strings.NewReplacer("%", "%%", `\`, `\\`, `"`, `\"`).Replace(s)
	if strings.ContainsAny(s, " \t'\";") {
		return `"` + s + `"`
	}
	return s
}

// configOf returns the config that a unit names, "" when it names none: the inverse of unitWord.
func configOf(text string) string {
	_, word, ok := strings.Cut(text, " run --config ")
	if !ok {
		return ""
	}
	word, _, _ = strings.Cut(word, "\n")
	if strings.HasPrefix(word, `"`) {
		word = strings.Trim(word, `"`)
	}
	return strings.NewReplacer("%%", "%", "$$", "$", `\\`, `\`, `\"`, `"`).Replace(word)
}

// newUnit collects the content of the unit, and the config that it is for. It changes nothing.
func (m *Main) newUnit(s *service) (unitFile, *loaded, error) {
	u := unitFile{service: *s}
	if !s.user && s.settings.file == "" {
		s.settings.file = systemd.config
	}
	given := s.settings.file != ""
	l, err := m.load(&s.settings)
	switch {
	case !s.user && s.settings.file == systemd.config && errors.Is(err, fs.ErrNotExist): // it will be created
		if l, err = m.load(&settings{}); err != nil {
			return u, nil, err
		}
		l.file, l.DataDir, l.PluginsDir = systemd.config, systemd.data, filepath.Join(filepath.Dir(systemd.config), "plugins.d")
	case err != nil:
		return u, nil, err
	}
	if given {
		u.config = l.file
	}
	u.data, u.lowPort = l.DataDir, lowPort(l.Listen)
	return u, l, nil
}

// lowPort reports whether a listener has a port for which a program needs a capability.
func lowPort(l config.Listen) bool {
	addresses := []string{l.HTTP}
	for _, m := range l.MQTT {
		if m.Network != "unix" {
			addresses = append(addresses, m.Address)
		}
	}
	return slices.ContainsFunc(addresses, func(address string) bool {
		_, port, err := net.SplitHostPort(address)
		n, perr := strconv.Atoi(port)
		return err == nil && perr == nil && n > 0 && n < 1024
	})
}

func (m *Main) printService(s *service) error {
	u, _, err := m.newUnit(s)
	if err == nil {
		m.printf("%s", u.text())
	}
	return err
}

// unitPath returns the unit's path.
func (m *Main) unitPath(forUser bool) (string, error) {
	if !forUser {
		return systemUnit, nil
	}
	dir := m.getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		if m.home() == "" {
			return "", withHint(errors.New("no home folder is known"), "set HOME")
		}
		dir = filepath.Join(m.home(), ".config")
	}
	return filepath.Join(dir, "systemd/user", serviceName+".service"), nil
}

// needSystemd says why a service is impossible.
func (m *Main) needSystemd(s *service) error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return withHint(errors.New("this machine doesn't run systemd"),
			"have its init system run: postbus run; postbus service install --print shows what systemd would do")
	}
	if !s.user && os.Geteuid() != 0 {
		return withHint(errors.New("only root can install a service of the machine"),
			"sudo postbus service install; or one of your own: postbus service install --user")
	}
	if s.user {
		if _, err := os.Stat(filepath.Join(m.getenv("XDG_RUNTIME_DIR"), "systemd")); m.getenv("XDG_RUNTIME_DIR") == "" || err != nil {
			return withHint(errors.New("systemd runs no services for this user here"), "log in at the machine or by ssh, not by su or sudo; loginctl enable-linger starts your services with the machine")
		}
	}
	return nil
}

func (m *Main) installService(ctx context.Context, s *service) error {
	if err := m.needSystemd(s); err != nil {
		return err
	}
	file, err := m.unitPath(s.user)
	if err != nil {
		return err
	}
	before, err := ownUnit(file)
	if err != nil {
		return err
	}
	if s.settings.file == "" {
		s.settings.file = configOf(before) // an update keeps it
	}
	u, l, err := m.newUnit(s)
	if err != nil {
		return err
	}
	if !s.user {
		if err := reachableByAll(s.program); err != nil {
			return err
		}
		if err := m.prepareSystem(ctx, l); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := atomicfile.Write(file, []byte(u.text()), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", "--quiet", serviceName}} {
		if err := systemctl(ctx, s.user, args...); err != nil {
			return err
		}
	}
	if err := systemctl(ctx, s.user, "restart", serviceName); err != nil {
		return notStarted(ctx, s.user, err)
	}
	done := "installed"
	switch {
	case before == u.text():
		done = "unchanged and restarted"
	case before != "":
		done = "updated and restarted"
	}
	whose, log := "the machine's service, which starts with it", "journalctl -u "+serviceName+" -f"
	if s.user {
		whose, log = "your service, which starts when you log in", "journalctl --user -u "+serviceName+" -f"
	} else if os.Geteuid() == 0 && m.getenv("SUDO_USER") != "" {
		log = "sudo " + log
	}
	m.printf("%s: %s, %s\n", done, file, whose)
	m.printServiceAddresses(l, log)
	return nil
}

// ownUnit returns the existing unit, "" for none. A unit that another program wrote is an error.
func ownUnit(file string) (string, error) {
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case !strings.HasPrefix(string(text), unitMark):
		return "", withHint(fmt.Errorf("%s exists, and `postbus service install` did not make it", file),
			"remove it, or move it away; then install again")
	}
	return string(text), nil
}

// reachableByAll checks that another user can run the program.
func reachableByAll(program string) error {
	for path, need := program, os.FileMode(0o005); ; path, need = filepath.Dir(path), 0o001 {
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		if st.Mode().Perm()&need != need {
			return withHint(fmt.Errorf("the user %s can't run %s: %s is closed to others", serviceName, program, path),
				"%s", lastingHint)
		}
		if path == "/" {
			return nil
		}
	}
}

// prepareSystem makes the user, the folders and the first config of the machine's service. It
// leaves existing ones unchanged.
func (m *Main) prepareSystem(ctx context.Context, l *loaded) error {
	if _, err := user.Lookup(serviceName); err != nil {
		if err := command(ctx, "useradd", "--system", "--user-group", "--home-dir", systemd.data, "--no-create-home",
			"--shell", "/usr/sbin/nologin", "--comment", "postbus event bus", serviceName); err != nil {
			return fmt.Errorf("making the user %s: %w", serviceName, err)
		}
	}
	own, err := user.Lookup(serviceName)
	if err != nil {
		return err
	}
	uid, uerr := strconv.Atoi(own.Uid)
	gid, gerr := strconv.Atoi(own.Gid)
	if err := errors.Join(uerr, gerr); err != nil {
		return err
	}
	if l.DataDir != systemd.data { // otherwise systemd makes it
		if err := m.folder(l.DataDir, 0o750, uid, gid); err != nil {
			return err
		}
	}
	if l.file == systemd.config {
		// Files that root creates there get the group of the service, so that it can read files
		// that others may not.
		if err := m.folder(filepath.Dir(l.file), 0o750|os.ModeSetgid, 0, gid); err != nil {
			return err
		}
		fresh, err := systemd.newConfig(0o640)
		if err != nil {
			return err
		}
		if fresh {
			if err := os.Chown(l.file, 0, gid); err != nil {
				return err
			}
		}
	}
	_, err = pluginsFolder(l.PluginsDir)
	return err
}

// folder makes a folder unless it exists.
func (m *Main) folder(dir string, mode os.FileMode, uid, gid int) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}

func (m *Main) uninstallService(ctx context.Context, s *service) error {
	if err := m.needSystemd(s); err != nil {
		return err
	}
	file, err := m.unitPath(s.user)
	if err != nil {
		return err
	}
	text, err := ownUnit(file)
	if err != nil {
		return err
	}
	if text == "" {
		err := fmt.Errorf("no service is installed: %s does not exist", file)
		if _, serr := os.Stat(systemUnit); s.user && serr == nil {
			return withHint(err, "the machine has one: sudo postbus service uninstall")
		}
		return withHint(err, "postbus service install makes one")
	}
	if s.settings.file == "" {
		s.settings.file = configOf(text)
	}
	if err := systemctl(ctx, s.user, "disable", "--quiet", "--now", serviceName); err != nil {
		return err
	}
	if err := os.Remove(file); err != nil {
		return err
	}
	if err := systemctl(ctx, s.user, "daemon-reload"); err != nil {
		return err
	}
	m.printf("stopped and removed: %s\n", file)
	if _, l, err := m.newUnit(s); err == nil {
		m.printf("Nothing else was removed. Remaining:\n")
		m.printPaths(l)
	}
	if !s.user {
		m.printf("  user     %s, the owner of the data; sudo userdel %s removes it\n", serviceName, serviceName)
	}
	if _, err := os.Stat(file + ".d"); err == nil {
		m.printf("  drop-ins %s.d\n", file)
	}
	return nil
}

func systemctl(ctx context.Context, forUser bool, args ...string) error {
	if forUser {
		args = slices.Insert(args, 0, "--user")
	}
	return command(ctx, "systemctl", args...)
}

// command runs a program. Its error contains the program's output.
func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err == nil {
		return nil
	}
	if text := strings.TrimSpace(string(out)); text != "" {
		err = fmt.Errorf("%s (%w)", text, err)
	}
	return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
}

// notStarted adds to an error the last output of the program.
func notStarted(ctx context.Context, forUser bool, err error) error {
	log := []string{"-u", serviceName}
	if forUser {
		log = []string{"--user", "-u", serviceName}
	}
	out, _ := exec.CommandContext(ctx, "journalctl", append(log, "-o", "cat", "--no-pager", "-n", "30")...).Output()
	reason, hint := "", "see its log: journalctl "+strings.Join(log, " ")
	lines := strings.Split(string(out), "\n")
	for i, l := range lines {
		if text, ok := strings.CutPrefix(l, "error: "); ok {
			reason = text
			if i+1 < len(lines) && strings.HasPrefix(lines[i+1], "hint: ") {
				hint = lines[i+1][len("hint: "):]
			}
		}
	}
	if reason != "" {
		err = errors.New(reason)
	}
	return withHint(fmt.Errorf("the service is installed but does not start, and is retried every 5 s: %w", err),
		"%s", hint)
}
