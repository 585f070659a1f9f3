package vmtest

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestMachines(t *testing.T) {
	for _, arch := range []string{"arm64", "armhf", "amd64"} {
		t.Run(arch, func(t *testing.T) {
			Test(t, Machine{Arch: arch, Modules: []string{"configfs"}, Run: "^TestGuest$", Answer: func(vm *VM, words []string) (string, error) {
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
	var u [4]string
	for i, name := range []string{"ostype", "osrelease"} {
		text, err := os.ReadFile("/proc/sys/kernel/" + name)
		if err != nil {
			t.Fatal(err)
		}
		u[i] = strings.TrimSpace(string(text))
	}
	Figure("kernel %s", fmt.Sprint(u[0], " ", u[1]))
}
