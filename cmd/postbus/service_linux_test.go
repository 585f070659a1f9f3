package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnit(t *testing.T) {
	system := unitFile{service: service{program: `/opt/my bus/100%/$x/postbus`}, config: "/etc/postbus/postbus.yaml", data: systemd.data, groups: []string{"gpio", "i2c"}}.text()
	elsewhere := unitFile{service: service{program: "/usr/local/bin/postbus"}, config: "/srv/postbus.yaml", data: "/mnt/ssd/postbus"}.text()
	mine := unitFile{service: service{user: true, program: "/home/me/.local/bin/postbus"}}.text()
	for _, c := range []struct {
		name, text string
		has, not   []string
	}{
		{"the machine's", system, []string{
			"Type=notify", `ExecStart="/opt/my bus/100%%/$$x/postbus" run --config /etc/postbus/postbus.yaml`, "SupplementaryGroups=gpio i2c",
			"User=postbus", "StateDirectory=postbus", "ConfigurationDirectory=postbus", "Restart=always", "NoNewPrivileges=yes", "ProtectSystem=strict", "WantedBy=multi-user.target",
		}, []string{"ReadWritePaths=/", "PrivateDevices", "ProtectKernelTunables", "DevicePolicy"}},
		{"its data elsewhere", elsewhere, []string{"ReadWritePaths=/mnt/ssd/postbus\n", "--config /srv/postbus.yaml"}, []string{"SupplementaryGroups"}},
		{"of a user", mine, []string{"ExecStart=/home/me/.local/bin/postbus run\n", "WantedBy=default.target"}, []string{"User=", "StateDirectory", "ProtectSystem"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, s := range c.has {
				if !strings.Contains(c.text, s) {
					t.Errorf("has no %q:\n%s", s, c.text)
				}
			}
			for _, s := range c.not {
				if strings.Contains(c.text, "\n"+s) {
					t.Errorf("has %q:\n%s", s, c.text)
				}
			}
			if !strings.HasPrefix(c.text, unitMark) {
				t.Error("would not be known again")
			}
		})
	}
}

func TestAnUpdateKeepsTheConfig(t *testing.T) {
	for _, config := range []string{"", "/etc/postbus/postbus.yaml", `/srv/my "bus" \ 100% $x/postbus.yaml`} {
		text := unitFile{service: service{user: true, program: "/usr/bin/postbus"}, config: config}.text()
		if got := configOf(text); got != config {
			t.Errorf("%q became %q", config, got)
		}
	}
}

func TestTheUnitOfSomebodyElse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "postbus.service")
	if text, err := ownUnit(file); text != "" || err != nil {
		t.Errorf("where there is none: %q, %v", text, err)
	}
	if err := os.WriteFile(file, []byte("[Service]\nExecStart=/usr/bin/postbus run\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ownUnit(file); err == nil {
		t.Error("it would be overwritten")
	}
}

func TestATemporaryProgramIsRefused(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		exe  string
		want bool
	}{
		{filepath.Join(dir, "postbus"), true},
		{"/home/me/.cache/go-build/ab/postbus", true},
		{"/var/folders/x/go-build123/b001/exe/postbus", true},
		{"/usr/local/bin/postbus", false},
		{"/home/tmp/postbus", false},
	} {
		if got := temporary(c.exe, dir) != ""; got != c.want {
			t.Errorf("%s: temporary %v", c.exe, got)
		}
	}
}

// TestPrint prints the user's unit for a config, without systemd.
func TestPrint(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "postbus.yaml")
	if err := os.WriteFile(file, []byte("profile: pi\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	m := &Main{Stdout: &out, Stderr: &out, Env: []string{"HOME=" + dir}}
	if err := m.printService(&service{user: true, program: "/usr/bin/postbus", settings: settings{file: file}}); err != nil {
		t.Fatal(err)
	}
	if want := "ExecStart=/usr/bin/postbus run --config " + file + "\n"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q:\n%s", want, &out)
	}
	if err := m.printService(&service{user: true, program: "/usr/bin/postbus", settings: settings{file: file + "x"}}); err == nil {
		t.Error("a config that isn't there is no mistake")
	}
}
