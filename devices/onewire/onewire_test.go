package onewire

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// good returns a sensor's file with a valid reading.
func good(milli int) string {
	return fmt.Sprintf("72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=%d\n", milli)
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"warm":      {good(23125), "23.125"},
		"cold":      {good(-10062), "-10.062"},
		"zero":      {good(0), "0"},
		"checksum":  {"72 01 4b 46 7f ff 0e 10 57 : crc=17 NO\n72 01 … t=23125\n", "the checksum is wrong: the wire is too long or badly connected"},
		"no supply": {"00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n", "the wire is short-circuited, or the sensor has no power"},
		"empty":     {"", "its file is empty"},
		"half":      {"72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n", `"" is not a temperature`},
		"too hot":   {good(127937), `"72 01 4b 46 7f ff 0e 10 57 t=127937" is not a temperature`},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := parse(c.text)
			got := fmt.Sprint(v)
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestIdsAreWrittenAsTheKernelWritesThem(t *testing.T) {
	for id, good := range map[string]bool{"28-00000a1b2c3d": true, "28-00000A1B2C3D": false, "3b-00000a1b2c3d": true, "3B-00000a1b2c3d": false, "28-0a1b2c3d": false} {
		o := defaults()
		o.Sensors, o.Names = []string{id}, map[string]string{id: "cellar"}
		if errs := o.Check(); (len(errs) == 0) != good {
			t.Errorf("%s: %v", id, errs)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(good(23125))
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := parse(text); err == nil && (v < -55 || v > 125) {
			t.Errorf("%q is %v", text, v)
		}
	})
}

func write(t *testing.T, root, id, text string) {
	t.Helper()
	dir := filepath.Join(root, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "w1_slave"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reading returns the events of one round, and the degraded state.
func reading(t *testing.T, s *Source) string {
	t.Helper()
	s.o.Every = time.Hour
	b := kindtest.NewBus()
	s.env = b
	stop := b.Start(t, s, nil)
	condition := b.NextDegraded(t)
	stop()
	var events []string
	for len(b.Events) > 0 {
		e := b.Next(t)
		events = append(events, fmt.Sprint(e["name"], " ", e["temperature"]))
	}
	if condition != "<nil>" {
		events = append(events, strings.Split(condition, "\n")...)
	}
	return strings.Join(events, "; ")
}

func TestSensorsComeAndGo(t *testing.T) {
	if runtime.GOOS != "linux" {
		return
	}
	root := t.TempDir()
	const a, b = "28-00000a1b2c3d", "10-00000a1b2c3e"
	o := defaults()
	o.Root, o.Names = root+"/none", map[string]string{a: "cellar"}
	s := New(o, nil)
	is := func(want string) {
		t.Helper()
		if got := reading(t, s); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	is("this machine has no 1-Wire bus: there is no " + root + "/none; on a Raspberry Pi write dtoverlay=w1-gpio into config.txt and restart it, elsewhere `modprobe w1-gpio w1-therm`")
	s.o.Root = root
	if err := os.MkdirAll(root+"/w1_bus_master1", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, root, "29-000000000001", "no thermometer")
	is("there is no temperature sensor on the 1-Wire bus: check the wires and the 4.7 kΩ resistor from data to 3.3 V")
	write(t, root, a, good(12500))
	is("cellar 12.5")
	write(t, root, b, good(-250))
	is(b + " -0.25; cellar 12.5")
	write(t, root, a, good(85000))
	is(b + " -0.25; the sensor " + a + ": it reports 85 °C, as sensors do that lost power before a conversion")
	write(t, root, a, good(82000))
	is(b + " -0.25; cellar 82")
	write(t, root, a, good(85000)) // it really is that hot
	is(b + " -0.25; cellar 85")
	if err := os.RemoveAll(filepath.Join(root, b)); err != nil {
		t.Fatal(err)
	}
	is("cellar 85")
	s.o.Sensors = []string{a, b}
	is("cellar 85; there is no sensor " + b + "; available: " + a)
}

func TestIDs(t *testing.T) {
	o := Options{Sensors: []string{"28-00000a1b2c3d", "29-00000a1b2c3d", "28-1", "../../etc/passwd"}, Names: map[string]string{"x": "y"}}
	if errs := o.Check(); len(errs) != 4 {
		t.Error(errs)
	}
}
