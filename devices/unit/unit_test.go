package unit

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		units []string
		want  string
	}{
		"fine":        {[]string{"nginx", "backup.timer", "getty@tty1.service", `dev-disk-by\x2duuid-x.swap`, "org.example.App"}, ""},
		"none":        {nil, "no unit is listed"},
		"empty":       {[]string{""}, `"" is not the name of a unit`},
		"a space":     {[]string{"my service"}, `"my service" is not the name of a unit`},
		"a path":      {[]string{"/etc/x.service"}, `"/etc/x.service" is not the name of a unit`},
		"a template":  {[]string{"getty@.service"}, `"getty@.service" is not the name of a unit`},
		"twice":       {[]string{"nginx", "nginx.service"}, "nginx.service is listed twice"},
		"a long name": {[]string{strings.Repeat("x", 250)}, `"` + strings.Repeat("x", 250) + `" is not the name of a unit`},
		"many":        {strings.Fields(many(257)), "there are 257 units"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, err := range (Options{Units: c.units}).Check() {
				got += err.Error()
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "u%d ", i)
	}
	return b.String()
}

func TestSimilarNames(t *testing.T) {
	all := []string{"nginx.service", "nfs-server.service", "ssh.service", "ssh.socket", "sshd-keygen.service", "cron.service", "systemd-timesyncd.service"}
	for name, want := range map[string][]string{
		"ngnix.service": {"nginx.service"},
		"sshd.service":  {"ssh.service", "ssh.socket", "sshd-keygen.service"},
		"crond.service": {"cron.service"},
		"timesyncd":     {"systemd-timesyncd.service"},
		"zzz.service":   nil,
	} {
		if got := similar(name, all); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
