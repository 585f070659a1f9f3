//go:build linux

package busconn

import (
	"os"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/devices/internal/desktoptest"
)

// TestFilesThatNobodyAskedFor checks that unwanted files are refused, because other programs could
// exhaust this process's files with them.
func TestFilesThatNobodyAskedFor(t *testing.T) {
	bus := desktoptest.NewBus(t)
	conn, err := Connect("unix:path=/nowhere/bus;" + bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard := make(chan *dbus.Signal, 10)
	conn.Signal(heard)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stranger := bus.Dial()
	send := func(kind dbus.Type, body ...any) {
		stranger.Send(&dbus.Message{Type: kind, Flags: dbus.FlagNoReplyExpected, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath("/x")), dbus.FieldInterface: dbus.MakeVariant("x.y"), dbus.FieldMember: dbus.MakeVariant("Z"),
			dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(body...)), dbus.FieldDestination: dbus.MakeVariant(conn.Names()[0])}}, make(chan *dbus.Call, 1))
	}
	file := dbus.UnixFD(w.Fd())
	for _, kind := range []dbus.Type{dbus.TypeSignal, dbus.TypeMethodCall} {
		send(kind, file)
		send(kind, map[string]dbus.Variant{"deep": dbus.MakeVariant([]any{dbus.MakeVariant(file)})})
	}
	send(dbus.TypeSignal, "the end")
	for end := time.After(desktoptest.Patience); ; {
		select {
		case s := <-heard:
			if len(s.Body) != 1 || s.Body[0] != "the end" {
				continue
			}
		case <-end:
			t.Fatal("the signals didn't come")
		}
		break
	}
	w.Close()
	ended := make(chan error, 1)
	go func() { // a pipe reports its end once its other end is closed everywhere
		_, err := r.Read(make([]byte, 1))
		ended <- err
	}()
	select {
	case <-ended:
	case <-time.After(desktoptest.Patience):
		t.Error("the files are still open")
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"unix:":                    "the address has none of path, abstract and runtime",
		"unix:guid=12":             "the address has none of path, abstract and runtime",
		"unix:path=/no%20where/b":  "dial unix /no where/b: connect: no such file or directory",
		"unix:abstract=no/where,x": "dial unix @no/where: connect: connection refused",
		"autolaunch:":              "dbus: invalid bus address (invalid or unsupported transport)",
	} {
		if _, err := Connect(address); err == nil || err.Error() != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}
