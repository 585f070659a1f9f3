//go:build linux

// This file tests with a real kernel: an ARM machine with a TMP105, which has the registers of a
// TMP102, on its bus.

package i2c

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/vmtest"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestMain(m *testing.M) { os.Exit(vmtest.Main(m)) }

func TestSensorOnABusOfAKernel(t *testing.T) {
	vmtest.Test(t, vmtest.Machine{
		Arch:    "armhf",
		Modules: []string{"i2c-dev", "i2c-versatile", "lm75"},
		Args:    []string{"-device", "tmp105,id=t1,address=0x48"},
		Run:     "^TestGuest",
		Answer: func(vm *vmtest.VM, words []string) (string, error) { // the temperature in thousandths of a degree
			n, err := strconv.Atoi(words[0])
			if err != nil {
				return "", err
			}
			_, err = vm.QMP("qom-set", map[string]any{"path": "/machine/peripheral/t1", "property": "temperature", "value": n})
			return "", err
		},
	})
}

// number returns the bus of the sensor.
func number(t *testing.T) Bus {
	t.Helper()
	for _, d := range buses() {
		found, err := scanBus(t.Context(), d.Number)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if f.Address == 0x48 {
				return Bus(d.Number)
			}
		}
	}
	t.Fatalf("nothing answers at 0x48: %q", Describe())
	return 0
}

func TestGuestTemperature(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	o := options("tmp102")
	o.Bus, o.Every = number(t), 20*time.Millisecond
	vmtest.Figure("%s", strings.Join(Describe(), " | "))
	b := kindtest.NewBus()
	vmtest.Ask(t, "20000")
	stop := b.Start(t, New(o, b), nil)
	for _, c := range []struct {
		milli string
		want  float64
	}{{"42500", 42.5}, {"-12250", -12.25}, {"127900", 127.875}} {
		vmtest.Ask(t, c.milli)
		began := time.Now()
		for end := began.Add(kindtest.Patience); b.Next(t)["temperature"] != c.want; {
			if time.Now().After(end) {
				t.Fatalf("%v was not read within %s", c.want, kindtest.Patience)
			}
		}
		vmtest.Figure("%v °C read %s after it was set", c.want, time.Since(began).Round(time.Millisecond))
	}
	stop()
	for _, c := range b.Conditions {
		if c != "<nil>" {
			t.Error(c)
		}
	}
}

// TestGuestTwoSourcesShareTheBus reads with two sources at the same time; neither may get the
// other's bytes.
func TestGuestTwoSourcesShareTheBus(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	vmtest.Ask(t, "31000")
	o := options("tmp102")
	o.Bus = number(t)
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			s := New(o, kindtest.NewBus())
			if err := s.Open(t.Context()); err != nil {
				ended <- err
				return
			}
			defer s.Close()
			for range 50 {
				f, err := s.read(t.Context())
				if err != nil || f["temperature"] != 31.0 {
					ended <- fmt.Errorf("%v, %v", f, err)
					return
				}
			}
			ended <- nil
		}()
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestGuestErrorsSayWhatToDo(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	n := number(t)
	open := func(o Options) string {
		s := New(o, kindtest.NewBus())
		err := s.Open(t.Context())
		s.Close()
		if err == nil {
			return ""
		}
		return err.Error()
	}
	o := options("bme280")
	o.Bus = n
	if got := open(o); !strings.HasPrefix(got, fmt.Sprintf("bme280 at 0x76 on i2c-%d doesn't answer; addresses that answer: ", n)) || !strings.Contains(got, "0x48") {
		t.Error(got)
	} else {
		vmtest.Figure("%s", got)
	}
	o.Bus = 77
	if got := open(o); !strings.HasPrefix(got, "there is no bus 77; available: ") || !strings.Contains(got, fmt.Sprintf("%d (", n)) {
		t.Error(got)
	}
	o = options("bme280") // a different chip from the file's
	o.Bus, o.Address = n, 0x48
	if got := open(o); !strings.Contains(got, "this is not a BME280") && !strings.Contains(got, "doesn't answer") {
		t.Error(got)
	}

	o = options("tmp102")
	o.Bus = n
	bus := fmt.Sprintf("/sys/bus/i2c/devices/i2c-%d/", n)
	if err := os.WriteFile(bus+"new_device", []byte("lm75 0x48"), 0); err != nil {
		t.Fatal(err)
	}
	if got := open(o); !strings.HasPrefix(got, fmt.Sprintf("0x48 on i2c-%d is held by the kernel's driver lm75: ", n)) {
		t.Error(got)
	}
	if got := strings.Join(Describe(), "\n"); !strings.Contains(got, "address: 0x48  # held by the kernel's driver lm75") {
		t.Error(got)
	}
	if err := os.WriteFile(bus+"delete_device", []byte("0x48"), 0); err != nil {
		t.Fatal(err)
	}
	if got := open(o); got != "" {
		t.Error(got)
	}

	path := fmt.Sprintf("/dev/i2c-%d", n)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if got := open(o); !strings.Contains(got, "another program has locked the bus for more than 2s") {
		t.Error(got)
	}
}

// TestGuestNothingIsLeftOver opens and closes repeatedly.
func TestGuestNothingIsLeftOver(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	vmtest.NothingLeftOver(t, func() {
		o := options("tmp102")
		o.Bus = 0
		s := New(o, kindtest.NewBus())
		if err := s.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.read(t.Context()); err != nil {
			t.Error(err)
		}
		s.Close()
		o.Sensor = "bh1750"
		s = New(o, kindtest.NewBus())
		if err := s.Open(t.Context()); err == nil {
			t.Error("there is a BH1750")
		}
		s.Close()
	})
}
