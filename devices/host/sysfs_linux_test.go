package host

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// sysfs makes a tree of files.
func sysfs(t *testing.T, files map[string]string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "sys[1]") // a pattern's characters in a path are literal
	for name, content := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestTemperatureFiles(t *testing.T) {
	pi := map[string]string{"class/thermal/thermal_zone0/type": "cpu-thermal", "class/thermal/thermal_zone0/temp": "48312"}
	ssd := map[string]string{"class/hwmon/hwmon1/name": "nvme", "class/hwmon/hwmon1/temp1_label": "Composite", "class/hwmon/hwmon1/temp1_input": "61850"}
	for _, c := range []struct {
		name  string
		files []map[string]string
		want  map[string]any
		err   string
	}{
		{"nothing", nil, map[string]any{}, "no sensor"},
		{"a Pi", []map[string]string{pi}, map[string]any{"temperature": 48.312, "temperatures": map[string]any{"cpu-thermal": 48.312}}, ""},
		{"a Pi with an SSD", []map[string]string{pi, ssd}, map[string]any{"temperature": 48.312, "temperatures": map[string]any{"cpu-thermal": 48.312, "nvme_composite": 61.85}}, ""},
		{"a Pi by hwmon as well", []map[string]string{pi, {"class/hwmon/hwmon0/name": "cpu_thermal", "class/hwmon/hwmon0/temp1_input": "48000"}},
			map[string]any{"temperature": 48.0, "temperatures": map[string]any{"cpu_thermal": 48.0}}, ""},
		{"nonsense", []map[string]string{ssd, {"class/hwmon/hwmon2/name": "coretemp", "class/hwmon/hwmon2/temp1_input": "warm",
			"class/hwmon/hwmon3/temp1_input": "1000", "class/thermal/thermal_zone0/temp": "1"}},
			map[string]any{"temperatures": map[string]any{"nvme_composite": 61.85}}, "no sensor"},
	} {
		files := map[string]string{}
		for _, f := range c.files {
			maps.Copy(files, f)
		}
		got, err := readTemperature(t.Context(), sysfs(t, files))
		if !reflect.DeepEqual(got, c.want) || (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

func TestBattery(t *testing.T) {
	battery := func(name, capacity, status string, more ...string) map[string]string {
		dir := "class/power_supply/" + name + "/"
		m := map[string]string{dir + "type": "Battery", dir + "capacity": capacity, dir + "status": status}
		for i := 0; i < len(more); i += 2 {
			m[dir+more[i]] = more[i+1]
		}
		return m
	}
	mains := map[string]string{"class/power_supply/AC/type": "Mains", "class/power_supply/AC/online": "1"}
	for _, c := range []struct {
		name  string
		files []map[string]string
		want  map[string]any
		err   string
	}{
		{"none", []map[string]string{mains}, nil, "no battery"},
		{"one", []map[string]string{mains, battery("BAT0", "57", "Discharging")}, map[string]any{"battery": 57.0, "charging": false}, ""},
		{"charging", []map[string]string{battery("BAT1", "57", "Charging")}, map[string]any{"battery": 57.0, "charging": true}, ""},
		{"full", []map[string]string{battery("BAT1", "103", "Full")}, map[string]any{"battery": 100.0, "charging": false}, ""},
		{"a mouse", []map[string]string{battery("hidpp", "5", "Discharging", "scope", "Device")}, nil, "no battery"},
		{"two of a size", []map[string]string{battery("BAT0", "50", "Full"), battery("BAT1", "100", "Full")}, map[string]any{"battery": 75.0, "charging": false}, ""},
		{"a large and a small one", []map[string]string{battery("BAT0", "50", "Full", "energy_full", "30000"), battery("BAT1", "100", "Charging", "energy_full", "10000")},
			map[string]any{"battery": 62.5, "charging": true}, ""},
		{"an empty bay", []map[string]string{battery("BAT0", "50", "Full"), battery("BAT1", "0", "Unknown", "present", "0")}, map[string]any{"battery": 50.0, "charging": false}, ""},
		{"broken", []map[string]string{battery("BAT0", "x", "Full")}, nil, "BAT0: its charge"},
	} {
		files := map[string]string{}
		for _, f := range c.files {
			maps.Copy(files, f)
		}
		got, err := readBattery(sysfs(t, files))
		if !reflect.DeepEqual(got, c.want) || (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

func TestThrottling(t *testing.T) {
	const pi4, pi5 = "devices/platform/soc/soc:firmware/get_throttled", "devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // the fields that are true; "nil" for none at all
		err   string
	}{
		{"no Pi", nil, "nil", "not a Raspberry Pi"},
		{"well", map[string]string{pi4: "0"}, "", ""},
		{"a Pi 5 that was hot and is", map[string]string{pi5: "e0008"}, "soft_temperature_limit frequency_capped_occurred throttled_occurred soft_temperature_limit_occurred", ""},
		{"with 0x", map[string]string{pi4: "0x50005"}, "under_voltage throttled under_voltage_occurred throttled_occurred", ""},
		{"nonsense", map[string]string{pi4: "warm"}, "nil", `contains "warm"`},
		{"a Debian kernel", map[string]string{"class/hwmon/hwmon1/name": "rpi_volt", "class/hwmon/hwmon1/in0_lcrit_alarm": "1"}, "under_voltage", ""},
	} {
		got, err := readThrottling(sysfs(t, c.files))
		if (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
		var on []string
		for _, k := range keysOf["throttling"] {
			if got[k] == true {
				on = append(on, k)
			}
		}
		if s := strings.Join(on, " "); got == nil && c.want != "nil" || got != nil && s != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
