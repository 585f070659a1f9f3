package vmtest

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestMachines(t *testing.T) {
	for _, arch := range []string{"arm64", "armhf", "amd64"} {
		t.Run(arch, func(t *testing.T) {
			Test(t, Machine{Arch: arch, Modules: []string{"configfs"}, Run: "^TestGuest$", Files: map[string]string{"/opt/x/doc.go": "doc.go", "/opt/y": "doc.go"}, Answer: func(vm *VM, words []string) (string, error) {
				if _, err := vm.QMP("query-status", nil); err != nil {
					return "", err
				}
				return strings.Join(words, "|"), nil
			}})
		})
	}
}

func TestGuest(t *testing.T) {
	if !Inside() {
		return
	}
	if got := Ask(t, "one", "two \"words\""); got != `one|two "words"` {
		t.Errorf("the host answered %q", got)
	}
	for _, name := range []string{"/opt/x/doc.go", "/opt/y"} {
		if text, err := os.ReadFile(name); err != nil || !strings.Contains(string(text), "package vmtest") {
			t.Errorf("%s: %v", name, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.DialTimeout("tcp", l.Addr().String(), 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	var u [2]string
	for i, name := range []string{"ostype", "osrelease"} {
		text, err := os.ReadFile("/proc/sys/kernel/" + name)
		if err != nil {
			t.Fatal(err)
		}
		u[i] = strings.TrimSpace(string(text))
	}
	Figure("kernel %s", fmt.Sprint(u[0], " ", u[1]))
}
