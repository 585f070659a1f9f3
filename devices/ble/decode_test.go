package ble

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// words returns a reading in short form.
func words(r reading) string {
	out := []string{r.format}
	for _, key := range slices.Sorted(maps.Keys(r.fields)) {
		if key != "values" {
			out = append(out, fmt.Sprintf("%s=%v", key, r.fields[key]))
		}
	}
	values := r.fields["values"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		out = append(out, fmt.Sprintf("%s:%v", key, values[key]))
	}
	return strings.Join(out, " ")
}

// TestBTHome has the examples of bthome.io/format, and what it says about order, repetition, unknown
// objects and encryption.
func TestBTHome(t *testing.T) {
	for data, want := range map[string]string{
		"02C40903BF13": "humidity:50.55 temperature:25",
		"518756":       "acceleration:22.151", "0161": "battery:97", "12E204": "co2:1250", "56E803": "conductivity:1000",
		"0960": "count:96", "3D0960": "count:24585", "3E2A2C0960": "count:1.611213866e+09", "59EA": "count:-22", "5AEAEA": "count:-5398",
		"5BEA0234EA": "count:-3.65690134e+08", "434E34": "current:13.39", "5D02EA": "current:-5.63", "08CA06": "dewpoint:17.38",
		"400C00": "distance_mm:12", "414E00": "distance:7.8", "424E3400": "duration:13.39", "4d12138a14": "energy:344593.17",
		"0A138A14": "energy:1346.067", "4B138A14": "gas:1346.067", "4C41018A01": "gas:25821.505", "528756": "gyroscope:22.151",
		"03BF13": "humidity:50.55", "2E23": "humidity:35", "05138A14": "illuminance:13460.67", "065E1F": "mass:80.3", "073E1D": "mass_lb:74.86",
		"14020C": "moisture:30.74", "2F23": "moisture:35", "0D120C": "pm2_5:3090", "0E021C": "pm10:7170", "0B021B00": "power:69.14",
		"5C02FBFFFF": "power:-12.78", "04138A01": "pressure:1008.83", "540C48656C6C6F20576F726C6421": "raw:48656c6c6f20576f726c6421",
		"3F020C": "rotation:307.4", "444E34": "speed:133.9", "57EA": "temperature:-22", "58EA": "temperature:-7.7", "451101": "temperature:27.3",
		"02CA09": "temperature:25.06", "530C48656C6C6F20576F726C6421": "text:Hello World!", "505d396164": "timestamp:1.684093277e+09",
		"133301": "tvoc:307", "0C020C": "voltage:3.074", "4A020C": "voltage:307.4", "4E87562A01": "volume:19551.879", "478756": "volume:2215.1",
		"48DC87": "volume_ml:34780", "5587562A01": "volume_storage:19551.879", "49DC87": "volume_flow_rate:34.78", "4632": "uv_index:5",
		"4F87562A01": "water:19551.879", "5E9F8C": "direction:359.99", "5FA00F": "precipitation:4000",
		"1501": "battery_low:true", "1700": "carbon_monoxide:false", "1A00": "door:false", "1B01": "garage_door:true", "1C01": "gas_detected:true",
		"0F01": "generic_boolean:true", "2001": "moisture_detected:true", "2100": "motion:false", "1100": "opening:false", "1001": "power_on:true", "2D01": "window:true",
		"3A00": "", "3A01": "button:press", "3A02": "button:double_press", "3A06": "button:long_triple_press", "3A80": "button:hold_press", "3A77": "button:unknown_119",
		"3A003A01": "button_2:press", "3C0000": "", "3C0103": "dimmer:rotate_left dimmer_steps:3", "3C020A": "dimmer:rotate_right dimmer_steps:10",
		"F00100": "device_type:1", "F100010204": "firmware:4.2.1.0", "F2000106": "firmware:6.1.0",
		"0009 02CA09": "counter=9 temperature:25.06", "02CA09 02D007 451101": "temperature:25.06 temperature_2:20 temperature_3:27.3",
		"02CA09 70 0102": "rest=700102 temperature:25.06", "02CA09 03BF": "rest=03bf temperature:25.06", "0161 530C48": "battery:97 rest=530c48",
		"": "", "0102 53 02 FF41": "battery:2 text:\uFFFDA",
	} {
		r, err := decodeService(serviceBTHome, append([]byte{0x40}, unhex(t, data)...))
		got := strings.Fields(words(r))
		slices.Sort(got[1:])
		expected := append([]string{"bthome"}, strings.Fields(want)...)
		if strings.Contains(want, "!") {
			expected = []string{"bthome", "World!", "text:Hello"}
		}
		slices.Sort(expected[1:])
		if err != nil || !slices.Equal(got, expected) {
			t.Errorf("%s: %q, %v; want %q", data, got, err, expected)
		}
	}
	r, err := decodeService(serviceBTHome, unhex(t, "41a47266c95f730011223378237214"))
	if err != nil || words(r) != "bthome encrypted=true" || !r.once {
		t.Errorf("encrypted: %q, %v", words(r), err)
	}
	r, err = decodeService(serviceBTHome, unhex(t, "44 3A01")) // a trigger-based device
	if err != nil || words(r) != "bthome button:press" || r.once {
		t.Errorf("trigger based: %q, %v", words(r), err)
	}
	for data, want := range map[string]string{"": "no data", "2002CA09": "version 1", "40700102": "nothing that is known", "4002CA": "nothing that is known"} {
		if r, err := decodeService(serviceBTHome, unhex(t, data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %q", data, r, err, want)
		}
	}
}

// TestManufacturers has the test vectors of Ruuvi's specification, and an iBeacon.
func TestManufacturers(t *testing.T) {
	for name, c := range map[string]struct {
		company uint16
		data    string
		want    string
	}{
		"ruuvi": {companyRuuvi, "0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F",
			"ruuvi counter=205 acceleration_x:0.004 acceleration_y:-0.004 acceleration_z:1.036 humidity:53.49 movements:66 pressure:1000.44 temperature:24.3 tx_power:4 voltage:2.977"},
		"ruuvi, the highest": {companyRuuvi, "057FFFFFFEFFFE7FFF7FFF7FFFFFDEFEFFFECBB8334C884F",
			"ruuvi counter=65534 acceleration_x:32.767 acceleration_y:32.767 acceleration_z:32.767 humidity:163.835 movements:254 pressure:1155.34 temperature:163.835 tx_power:20 voltage:3.646"},
		"ruuvi, the lowest": {companyRuuvi, "058001000000008001800180010000000000CBB8334C884F",
			"ruuvi counter=0 acceleration_x:-32.767 acceleration_y:-32.767 acceleration_z:-32.767 humidity:0 movements:0 pressure:500 temperature:-163.835 tx_power:-40 voltage:1.6"},
		"ruuvi, not available": {companyRuuvi, "058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF", "ruuvi"},
		"ruuvi, format 3":      {companyRuuvi, "03291A1ECE1EFC18F94202CA0B53", "raw data=03291a1ece1efc18f94202ca0b53 manufacturer=1177"},
		"ibeacon":              {companyApple, "0215 B5B182C7EAB14988AA99B5C1517008D9 0001 FFFE C6", "ibeacon major=1 minor=65534 power=-58 uuid=b5b182c7-eab1-4988-aa99-b5c1517008d9"},
		"apple, but no beacon": {companyApple, "1005031c6e1f59", "raw data=1005031c6e1f59 manufacturer=76"},
		"another":              {0xffff, "", "raw data= manufacturer=65535"},
	} {
		r, err := decodeManufacturer(c.company, unhex(t, c.data))
		if err != nil || words(r) != c.want {
			t.Errorf("%s: %q, %v; want %q", name, words(r), err, c.want)
		}
	}
	for _, c := range []struct {
		company uint16
		data    []byte
	}{{companyRuuvi, []byte{5, 0}}, {companyApple, []byte{2, 0x15, 1}}, {1, make([]byte, maxPayload+1)}} {
		if r, err := decodeManufacturer(c.company, c.data); err == nil {
			t.Errorf("%d % x: %v", c.company, c.data, r)
		}
	}
}

// TestThermometers has both layouts of service 0x181A.
func TestThermometers(t *testing.T) {
	for data, want := range map[string]string{
		"A4C138000001 00E7 37 5A 0B86 2A":          "atc counter=42 battery:90 humidity:55 temperature:23.1 voltage:2.95",
		"A4C138000001 FF9C 37 5A 0B86 2A":          "atc counter=42 battery:90 humidity:55 temperature:-10 voltage:2.95",
		"010000 38C1A4 0A09 D015 860B 5A 2A 05":    "pvvx counter=42 battery:90 flags:5 humidity:55.84 temperature:23.14 voltage:2.95",
		"010000 38C1A4 18FC D015 860B 5A 2A 05":    "pvvx counter=42 battery:90 flags:5 humidity:55.84 temperature:-10 voltage:2.95",
		"0102030405060708090A0B":                   "raw data=0102030405060708090a0b service=" + serviceATC, // encrypted
		"":                                         "raw data= service=" + serviceATC,
		"0102030405060708090A0B0C0D0E0F1011121314": "raw data=0102030405060708090a0b0c0d0e0f1011121314 service=" + serviceATC,
	} {
		r, err := decodeService(serviceATC, unhex(t, data))
		if err != nil || words(r) != want {
			t.Errorf("%s: %q, %v; want %q", data, words(r), err, want)
		}
	}
	if r, err := decodeService(strings.Repeat("x", 1<<20), nil); err == nil {
		t.Errorf("a long UUID: %v", r)
	}
}

// FuzzDecode checks that any bytes give a reading or an error, always the same, with finite numbers
// and no more than the bytes can hold.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{"0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F", "0215B5B182C7EAB14988AA99B5C1517008D90001FFFEC6",
		"400009020A09530C48656C6C6F20576F726C6421", "403A003A013C0103F100010204F2000106", "A4C13800000100E7375A0B862A", "01000038C1A40A09D015860B5A2A05", "4153"} {
		f.Add(unhex(f, text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, decode := range []func() (reading, error){
			func() (reading, error) { return decodeManufacturer(companyRuuvi, data) },
			func() (reading, error) { return decodeManufacturer(companyApple, data) },
			func() (reading, error) { return decodeManufacturer(1, data) },
			func() (reading, error) { return decodeService(serviceBTHome, data) },
			func() (reading, error) { return decodeService(serviceATC, data) },
		} {
			r, err := decode()
			again, errAgain := decode()
			if !reflect.DeepEqual(r, again) || fmt.Sprint(err) != fmt.Sprint(errAgain) {
				t.Fatalf("% x: %v, then %v", data, r, again)
			}
			if (err == nil) == (r.format == "") {
				t.Fatalf("% x: %v, %v", data, r, err)
			}
			if err != nil {
				continue
			}
			values := r.fields["values"].(map[string]any)
			if len(values) > max(len(data), 16) {
				t.Fatalf("% x: %d values", data, len(values))
			}
			for name, v := range values {
				if n, ok := v.(float64); ok && (math.IsNaN(n) || math.IsInf(n, 0)) {
					t.Fatalf("% x: %s is %v", data, name, n)
				}
			}
		}
	})
}

func TestOptions(t *testing.T) {
	o := Options{Devices: []string{"a4:c1:38:00:00:01", "A4-C1-38-00-00-01", "A4:C1:38:00:00"}, Names: map[string]string{"cellar": "x"}, Adapter: "/dev/hci0"}
	errs := o.Check()
	if len(errs) != 4 {
		t.Errorf("%q", errs)
	}
	if f := (Options{Devices: []string{"a4:c1:38:00:00:01"}}).filter(); !f.wants("A4:C1:38:00:00:01") || f.wants("A4:C1:38:00:00:02") {
		t.Error("the case of an address matters")
	}
}
