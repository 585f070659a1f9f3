package host

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
)

func TestBusy(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b cpu.TimesStat
		want float64
		ok   bool
	}{
		{"idle", cpu.TimesStat{}, cpu.TimesStat{Idle: 4}, 0, true},
		{"busy", cpu.TimesStat{}, cpu.TimesStat{User: 3, System: 1}, 100, true},
		{"a quarter", cpu.TimesStat{User: 10, Idle: 90}, cpu.TimesStat{User: 11, Idle: 93}, 25, true},
		{"waiting for a disk is idle", cpu.TimesStat{}, cpu.TimesStat{User: 1, Iowait: 3}, 25, true},
		{"no time passed", cpu.TimesStat{User: 1}, cpu.TimesStat{User: 1}, 0, false},
		{"backwards", cpu.TimesStat{User: 2}, cpu.TimesStat{User: 1}, 0, false},
		{"iowait backwards", cpu.TimesStat{Iowait: 5}, cpu.TimesStat{Iowait: 4, User: 3}, 100, true},
	} {
		if got, ok := busy(c.a, c.b); got != c.want || ok != c.ok {
			t.Errorf("%s: %v, %v", c.name, got, ok)
		}
	}
}

func TestFirstCPUIsNil(t *testing.T) {
	f, err := readCPU()(t.Context())
	if err != nil || f["cpu"] != nil {
		t.Errorf("%v, %v", f, err)
	}
}

func TestRates(t *testing.T) {
	var r rates
	t0 := time.Unix(1000, 0)
	for _, step := range []struct {
		name string
		at   int
		now  map[string]counter
		want map[string]any
	}{
		{"the first has totals only", 0, map[string]counter{"a": {1000, 10}}, map[string]any{"rx_total": int64(1000), "tx_total": int64(10)}},
		{"a rate", 2, map[string]counter{"a": {1400, 20}}, map[string]any{"rx_total": int64(1400), "tx_total": int64(20), "rx": 200.0, "tx": 5.0}},
		{"a new interface isn't a burst", 3, map[string]counter{"a": {1500, 20}, "b": {1 << 40, 0}}, map[string]any{"rx_total": int64(1500 + 1<<40), "tx_total": int64(20), "rx": 100.0, "tx": 0.0}},
		{"nor one that was reset", 4, map[string]counter{"a": {3, 0}, "b": {1<<40 + 7, 0}}, map[string]any{"rx_total": int64(1<<40 + 10), "tx_total": int64(0), "rx": 7.0, "tx": 0.0}},
		{"the clock stood still", 4, map[string]counter{"a": {3, 0}}, map[string]any{"rx_total": int64(3), "tx_total": int64(0)}},
	} {
		if got := r.next(t0.Add(time.Duration(step.at)*time.Second), step.now); !reflect.DeepEqual(got, step.want) {
			t.Errorf("%s: %v", step.name, got)
		}
	}
}

func TestNetworkOfNobody(t *testing.T) {
	f, err := readNetwork("nosuch0")(t.Context())
	if err == nil || !strings.Contains(err.Error(), `no interface "nosuch0"`) || f["rx"] != nil {
		t.Errorf("%v, %v", f, err)
	}
}

func TestDiskOfNobody(t *testing.T) {
	if _, err := readDisk(context.Background(), "/nosuch/mount"); err == nil || !strings.Contains(err.Error(), "/nosuch/mount") {
		t.Error(err)
	}
}

func TestHottest(t *testing.T) {
	for _, c := range []struct {
		name    string
		sensors []sensor
		want    any
	}{
		{"nothing", nil, nil},
		{"a disk only", []sensor{{"nvme_composite", 60}}, nil},
		{"a Pi", []sensor{{"rp1_adc", 55}, {"cpu_thermal", 48.3}}, 48.3},
		{"a Pi by its zone", []sensor{{"nvme_composite", 60}, {"cpu-thermal", 48.3}}, 48.3},
		{"Intel: the package, not a core", []sensor{{"coretemp_core_0", 71}, {"coretemp_package_id_0", 70}, {"acpitz", 90}}, 70.0},
		{"two packages", []sensor{{"coretemp_package_id_0", 50}, {"coretemp_package_id_1", 65}}, 65.0},
		{"AMD", []sensor{{"k10temp_tctl", 72}, {"k10temp_tccd1", 60}, {"amdgpu_edge", 80}}, 72.0},
		{"AMD with an offset", []sensor{{"k10temp_tctl", 99}, {"k10temp_tdie", 72}}, 72.0},
		{"Apple", []sensor{{"PMU tdie1", 40}, {"PMU tdie2", 43}, {"NAND CH0 temp", 50}}, 43.0},
		{"nonsense", []sensor{{"cpu_thermal", -273.15}, {"cpu_thermal", 6553.5}}, nil},
	} {
		got, err := temperatures(c.sensors)
		if got["temperature"] != c.want || (err == nil) != (c.want != nil) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
	two, _ := temperatures([]sensor{{"nvme", 40}, {"nvme", 41}, {"nvme", 42}})
	if want := map[string]any{"nvme": 40.0, "nvme_2": 41.0, "nvme_3": 42.0}; !reflect.DeepEqual(two["temperatures"], want) {
		t.Errorf("%v", two)
	}
}
