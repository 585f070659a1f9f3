package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestUnit(t *testing.T) {
	system := unitFile{service: service{program: `/opt/my bus/100%/$x/postbus`}, config: "/etc/postbus/postbus.yaml", data: systemd.data}.text()
	elsewhere := unitFile{service: service{program: "/usr/local/bin/postbus"}, config: "/srv/postbus.yaml", data: "/mnt/ssd/postbus", lowPort: true}.text()
	mine := unitFile{service: service{user: true, program: "/home/me/.local/bin/postbus"}}.text()
	for _, c := range []struct {
		name, text string
		has, not   []string
	}{
		{"the machine's", system, []string{
			"Type=notify", `ExecStart="/opt/my bus/100%%/$$x/postbus" run --config /etc/postbus/postbus.yaml`,
			"User=postbus", "StateDirectory=postbus", "ConfigurationDirectory=postbus", "Restart=always", "NoNewPrivileges=yes", "ProtectSystem=strict", "WantedBy=multi-user.target",
		}, []string{"ReadWritePaths=/", "SupplementaryGroups", "AmbientCapabilities"}},
		{"its data elsewhere", elsewhere, []string{"ReadWritePaths=/mnt/ssd/postbus\n", "--config /srv/postbus.yaml", "AmbientCapabilities=CAP_NET_BIND_SERVICE\n"}, []string{"CapabilityBoundingSet=\n"}},
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

// TestExposure is what systemd says of the unit: 0 is best, 10 worst. A grant must be valid and must not
// open more than its purpose.
func TestExposure(t *testing.T) {
	dir := t.TempDir()
	unit := filepath.Join(dir, "postbus.service")
	judge := func(dropIn string) float64 {
		t.Helper()
		text := unitFile{service: service{program: "/bin/true"}, config: "/etc/postbus/postbus.yaml", data: systemd.data}.text()
		if err := os.WriteFile(unit, []byte(text+dropIn), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", unit).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if strings.Contains(string(out), "gnoring") {
			t.Errorf("systemd ignores a line:\n%s", out)
		}
		_, figure, _ := strings.Cut(string(out), "Overall exposure level for postbus.service: ")
		figure, _, _ = strings.Cut(figure, " ")
		exposure, err := strconv.ParseFloat(figure, 64)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return exposure
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze")
	}
	base := judge("")
	t.Logf("the unit: %.1f", base)
	if base > 2.5 {
		t.Errorf("the unit's exposure is %.1f, more than 2.5", base)
	}
	for _, g := range serviceGrants {
		// A drop-in's lines follow those of the unit.
		_, lines, _ := strings.Cut(g.text(), "[Service]\n")
		with := judge("[Service]\n" + lines)
		t.Logf("with %s: %.1f", g.name, with)
		if with > 2.5 {
			t.Errorf("%s raises the exposure from %.1f to %.1f", g.name, base, with)
		}
	}
}

func TestGrantsOf(t *testing.T) {
	if list, err := grantsOf([]string{"gpio", "serial"}); err != nil || len(list) != 2 || list[1].group != "dialout" {
		t.Errorf("%v, %v", list, err)
	}
	_, err := grantsOf([]string{"seriel"})
	var h hinter
	if !errors.As(err, &h) || h.Hint() != "did you mean serial?" {
		t.Errorf("%v", err)
	}
	names := map[string]bool{}
	for _, k := range catalog().Kinds() {
		names[k.Name] = true
	}
	for _, g := range serviceGrants {
		for _, k := range g.kinds {
			if !names[k] {
				t.Errorf("%s: there is no kind %s", g.name, k)
			}
		}
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
