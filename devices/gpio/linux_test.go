//go:build linux

package gpio

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestKernelStructs(t *testing.T) {
	for name, c := range map[string][2]uintptr{
		"request": {unsafe.Sizeof(unix.GPIOV2LineRequest{}), 592},
		"config":  {unsafe.Sizeof(unix.GPIOV2LineConfig{}), 272},
		"info":    {unsafe.Sizeof(unix.GPIOV2LineInfo{}), 256},
		"event":   {unsafe.Sizeof(unix.GPIOV2LineEvent{}), 48},
		"values":  {unsafe.Sizeof(unix.GPIOV2LineValues{}), 16},
	} {
		if c[0] != c[1] {
			t.Errorf("%s has %d bytes, the kernel's has %d", name, c[0], c[1])
		}
	}
}

func TestAMachineWithoutChips(t *testing.T) {
	dir := t.TempDir()
	s := New(Options{Line: "GPIO17"}, kindtest.NewBus())
	s.dev = dir
	err := s.Open(t.Context())
	if err == nil || err.Error() != "this machine has no GPIO chip: there is no "+dir+"/gpiochip*" {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if list, err := list(dir); len(list) != 0 || err != nil {
		t.Error(list, err)
	}
}

func TestAFileThatIsNoChip(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/gpiochip0", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := New(Options{Line: "GPIO17"}, kindtest.NewBus())
	s.dev = dir
	if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "/gpiochip0 is not a GPIO chip") {
		t.Error(err)
	}
	s.Close()
}

func TestNoPermissionNamesTheGroup(t *testing.T) {
	file := t.TempDir() + "/gpiochip0"
	if err := os.WriteFile(file, nil, 0o660); err != nil {
		t.Fatal(err)
	}
	refusal := &fs.PathError{Op: "open", Path: file, Err: unix.EACCES}
	if err := denied(file, refusal); !strings.Contains(err.Error(), "udev/rules.d") && os.Getgid() == 0 || !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
}

func TestAnAbsentOutputIsDegradedAndEndsAtOnce(t *testing.T) {
	b := kindtest.NewBus()
	a := newAction(ActionOptions{Line: "GPIO17", Initial: Off, Safe: Off}, b, t.TempDir())
	if got := b.NextDegraded(t); !strings.Contains(got, "no GPIO chip") {
		t.Error(got)
	}
	if err := a.Do(t.Context(), Args{Value: "on"}); err == nil {
		t.Error("an absent line was set")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := a.Do(t.Context(), Args{Value: "on"}); err == nil {
		t.Error("a closed action set a line")
	}
}
