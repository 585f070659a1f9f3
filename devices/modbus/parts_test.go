package modbus

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/postbus/postbus/plugins/kind"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestValues(t *testing.T) {
	for name, c := range map[string]struct {
		r     Register
		wire  string
		value any
	}{
		"uint16":              {Register{}, "ffff", int64(65535)},
		"int16":               {Register{Type: "int16"}, "ff85", int64(-123)},
		"int16, low byte":     {Register{Type: "int16", Order: "badc"}, "85ff", int64(-123)},
		"uint16, cdab":        {Register{Order: "cdab"}, "0102", int64(0x0102)},
		"uint32":              {Register{Type: "uint32"}, "01020304", int64(0x01020304)},
		"uint32, cdab":        {Register{Type: "uint32", Order: "cdab"}, "03040102", int64(0x01020304)},
		"uint32, badc":        {Register{Type: "uint32", Order: "badc"}, "02010403", int64(0x01020304)},
		"uint32, dcba":        {Register{Type: "uint32", Order: "dcba"}, "04030201", int64(0x01020304)},
		"int32":               {Register{Type: "int32"}, "fffffffe", int64(-2)},
		"int64":               {Register{Type: "int64"}, "fffffffffffffffe", int64(-2)},
		"int64, cdab":         {Register{Type: "int64", Order: "cdab"}, "0708050603040102", int64(0x0102030405060708)},
		"int64, dcba":         {Register{Type: "int64", Order: "dcba"}, "0807060504030201", int64(0x0102030405060708)},
		"uint64":              {Register{Type: "uint64"}, "00000000ffffffff", int64(math.MaxUint32)},
		"a large uint64":      {Register{Type: "uint64"}, "8000000000000000", uint64(1 << 63)},
		"the largest uint64":  {Register{Type: "uint64"}, "ffffffffffffffff", uint64(math.MaxUint64)},
		"int64, whole scale":  {Register{Type: "int64", Scale: 1, Offset: 2}, "0020000000000001", int64(1<<53 + 3)},
		"float32":             {Register{Type: "float32"}, "43666666", 230.4},
		"float32, cdab":       {Register{Type: "float32", Order: "cdab"}, "66664366", 230.4},
		"float64":             {Register{Type: "float64"}, "406ccccccccccccd", 230.4},
		"scale":               {Register{Scale: 0.1}, "08fd", 230.1},
		"scale and offset":    {Register{Scale: 0.1, Offset: -40}, "028b", 25.1},
		"a scale of 10":       {Register{Scale: 10, Type: "int16"}, "fff6", -100.0},
		"offset only":         {Register{Offset: -40}, "0028", 0.0},
		"float32, scaled":     {Register{Type: "float32", Scale: 1000}, "3dcccccd", 100.0},
		"bool":                {Register{Type: "bool"}, "0001", true},
		"bool, off":           {Register{Type: "bool"}, "0000", false},
		"coil":                {Register{Kind: "coil"}, "01", true},
		"discrete":            {Register{Kind: "discrete"}, "00", false},
		"coils":               {Register{Kind: "coil", Count: 3}, "010001", []any{true, false, true}},
		"list":                {Register{Type: "int16", Count: 2, Scale: 0.5}, "0001ffff", []any{0.5, -0.5}},
		"list of one":         {Register{Count: 1}, "0007", int64(7)},
		"list of floats":      {Register{Type: "float32", Order: "cdab", Count: 2}, "6666436600003f80", []any{230.4, 1.0}},
		"string":              {Register{Type: "string", Count: 3}, "4142432d3100", "ABC-1"},
		"string, low byte":    {Register{Type: "string", Count: 2, Order: "badc"}, "42414443", "ABCD"},
		"string of one":       {Register{Type: "string"}, "4100", "A"},
		"string until a zero": {Register{Type: "string", Count: 2}, "41004243", "A"},
	} {
		t.Run(name, func(t *testing.T) {
			wire := unhex(t, c.wire)
			got, err := c.r.decode(wire)
			if err != nil || !reflect.DeepEqual(got, c.value) {
				t.Errorf("read %#v, %v; want %#v", got, err, c.value)
			}
			if hex.EncodeToString(wire) != c.wire {
				t.Error("the answer was changed")
			}
			if name == "string until a zero" {
				return
			}
			if name == "int64, whole scale" {
				return // written as a float64
			}
			back, err := c.r.encode(c.value)
			if c.r.Type == "bool" && c.value == true {
				wire = []byte{0, 1}
			}
			if err != nil || !bytes.Equal(back, wire) {
				t.Errorf("written as % x, %v; want % x", back, err, wire)
			}
		})
	}
	for name, c := range map[string]struct{ typ, wire string }{"NaN": {"float32", "7fc00000"}, "infinite": {"float64", "7ff0000000000000"}} {
		if v, err := (Register{Type: c.typ}).decode(unhex(t, c.wire)); err != errNaN || v != nil {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}

func TestWhatIsWritten(t *testing.T) {
	for name, c := range map[string]struct {
		r    Register
		v    any
		want string // hexadecimal, or the error
	}{
		"text":                  {Register{}, " 12 ", "000c"},
		"a fraction is rounded": {Register{}, 12.5, "000d"},
		"a number of JSON":      {Register{Type: "uint64"}, json.Number("9223372036854775807"), "7fffffffffffffff"},
		"a float64 as a uint64": {Register{Type: "uint64"}, 1.8446744073709550e19, "fffffffffffff800"},
		"the largest uint64":    {Register{Type: "uint64"}, json.Number("18446744073709551615"), "ffffffffffffffff"},
		"the same as a text":    {Register{Type: "uint64"}, "18446744073709551615", "ffffffffffffffff"},
		"beyond a uint64":       {Register{Type: "uint64"}, json.Number("18446744073709551616"), "18446744073709551616 is out of the range of a uint64"},
		"the least int64":       {Register{Type: "int64"}, int64(math.MinInt64), "8000000000000000"},
		"scaled":                {Register{Type: "int16", Scale: 0.1}, 21.5, "00d7"},
		"scaled text":           {Register{Type: "int16", Scale: 0.1, Offset: -40}, "-39.9", "0001"},
		"float32":               {Register{Type: "float32"}, 1, "3f800000"},
		"on":                    {Register{Kind: "coil"}, "ON", "01"},
		"1 as a bool":           {Register{Kind: "coil"}, 1.0, "01"},
		"bool of a register":    {Register{Type: "bool", Order: "badc"}, true, "0100"},
		"too large":             {Register{}, 65536, "65536 is out of the range of a uint16"},
		"negative":              {Register{}, -1, "-1 is out of the range of a uint16"},
		"int16":                 {Register{Type: "int16"}, 32768, "32768 is out of the range of an int16"},
		"int16, low":            {Register{Type: "int16"}, -32769.0, "-32769 is out of the range of an int16"},
		"int32":                 {Register{Type: "int32"}, 2147483647.5, "2.1474836475e+09 is out of the range of an int32"},
		"uint32":                {Register{Type: "uint32"}, int64(1 << 32), "4294967296 is out of the range of a uint32"},
		"int64":                 {Register{Type: "int64"}, 9.3e18, "9.3e+18 is out of the range of an int64"},
		"uint64":                {Register{Type: "uint64"}, 1.9e19, "1.9e+19 is out of the range of a uint64"},
		"uint64, negative":      {Register{Type: "uint64"}, -1.0, "-1 is out of the range of a uint64"},
		"too large when scaled": {Register{Type: "int16", Scale: 0.1}, 3276.8, "3276.8 is out of the range of an int16, with scale and offset"},
		"float32, too large":    {Register{Type: "float32"}, 1e39, "1e+39 is out of the range of a float32"},
		"NaN":                   {Register{}, math.NaN(), "NaN is out of the range of a uint16"},
		"NaN as a text":         {Register{Type: "float32"}, "NaN", `"NaN" is out of the range of a float32`},
		"a word":                {Register{}, "warm", `"warm" is not a number`},
		"a mapping":             {Register{}, map[string]any{}, "map[] is not a number"},
		"neither on nor off":    {Register{Kind: "coil"}, 2, "2 is neither on nor off"},
		"a long text":           {Register{Type: "string", Count: 2}, "ABCDE", `"ABCDE" has 5 bytes, more than the 4 of 2 registers`},
		"no text":               {Register{Type: "string", Count: 2}, 7, "7 is not a text"},
		"one of two":            {Register{Count: 2}, 7, "7 is not a list of 2 values"},
		"three of two":          {Register{Count: 2}, []any{1, 2, 3}, "[1 2 3] is not a list of 2 values"},
		"a bad one of two":      {Register{Count: 2}, []any{1, -2}, "-2 is out of the range of a uint16"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := c.r.encode(c.v)
			got := hex.EncodeToString(b)
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	reg := func(name string, address int, changes ...any) Register {
		r := Register{Name: name, Address: address}
		for _, m := range changes {
			switch v := m.(type) {
			case int:
				r.Unit = v
			case string:
				if _, ok := readers[v]; ok {
					r.Kind = v
				} else {
					r.Type = v
				}
			}
		}
		return r
	}
	for name, c := range map[string]struct {
		list      []Register
		gap, most int
		want      string
	}{
		"together":       {[]Register{reg("b", 1), reg("a", 0), reg("c", 2, "float32")}, 0, 125, "holding 0 to 3 of unit 1: a b c"},
		"a hole":         {[]Register{reg("a", 0), reg("b", 2)}, 0, 125, "holding 0 of unit 1: a; holding 2 of unit 1: b"},
		"a hole of one":  {[]Register{reg("a", 0), reg("b", 2)}, 1, 125, "holding 0 to 2 of unit 1: a b"},
		"the same twice": {[]Register{reg("a", 0, "uint32"), reg("b", 1), reg("c", 0)}, 0, 125, "holding 0 to 1 of unit 1: a c b"},
		"tables":         {[]Register{reg("a", 0), reg("b", 1, "input"), reg("c", 0, "coil"), reg("d", 1, "coil")}, 0, 125, "coil 0 to 1 of unit 1: c d; holding 0 of unit 1: a; input 1 of unit 1: b"},
		"units":          {[]Register{reg("a", 0, 2), reg("b", 1), reg("c", 1, 2)}, 0, 125, "holding 1 of unit 1: b; holding 0 to 1 of unit 2: a c"},
		"at most three":  {[]Register{reg("a", 0), reg("b", 1), reg("c", 2, "uint32"), reg("d", 4)}, 0, 3, "holding 0 to 1 of unit 1: a b; holding 2 to 4 of unit 1: c d"},
	} {
		t.Run(name, func(t *testing.T) {
			var out []string
			for _, b := range plan(c.list, 1, c.gap, c.most) {
				var names []string
				for _, r := range b.registers {
					names = append(names, r.Name)
				}
				out = append(out, fmt.Sprintf("%s: %s", b.q, strings.Join(names, " ")))
			}
			if got := strings.Join(out, "; "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	var bits []Register
	for i := range 2100 {
		bits = append(bits, reg(fmt.Sprint("b", i), i, "coil"))
	}
	if b := plan(bits, 1, 0, 10); len(b) != 2 || b[0].q.count != maxBits || b[1].q.count != 100 {
		t.Errorf("2,100 coils are %d requests", len(b))
	}
}

func TestCheck(t *testing.T) {
	reg := func(r Register) []Register { r.Name = "a"; return []Register{r} }
	tcp := func(list []Register) Options {
		o := defaults()
		o.TCP, o.Registers = "x:502", list
		return o
	}
	for want, o := range map[string]Options{
		"":                 tcp(reg(Register{Address: 65535})),
		"no device is set": {Registers: reg(Register{Unit: 1}), MaxRegisters: 125},
		"tcp, rtu_over_tcp and serial exclude each other":             {TCP: "x:1", Serial: &Serial{Port: "/dev/x"}, Registers: reg(Register{}), MaxRegisters: 125},
		"registers[0] unit 0 is a broadcast, which no device answers": {Serial: &Serial{Port: "/dev/x"}, Registers: reg(Register{}), MaxRegisters: 125},
		"registers[0].name \"a-b\" is not a name":                     tcp([]Register{{Name: "a-b"}}),
		"registers[0].name ok is a field that every event has":        tcp([]Register{{Name: "ok"}}),
		"registers[1].name two registers are called a":                tcp([]Register{{Name: "a"}, {Name: "a", Address: 1}}),
		"registers[0].type a coil is a bool, and not an int16":        tcp(reg(Register{Kind: "coil", Type: "int16"})),
		"registers[0].order a bit has no order of bytes":              tcp(reg(Register{Kind: "coil", Order: "cdab"})),
		"registers[0] a string can't be scaled":                       tcp(reg(Register{Type: "string", Scale: 2})),
		"registers[0].count it has 126, more than the 125 of one request, registers[0] a has 126 registers, more than max_registers, 125": tcp(reg(Register{Type: "int32", Count: 63})),
		"registers[0].address 2 addresses from 65535 on are too many":                                                                     tcp(reg(Register{Address: 65535, Type: "float32"})),
	} {
		var out []string
		for _, err := range o.Check() {
			e := err.(*kind.OptionError)
			out = append(out, strings.TrimSpace(e.Key()+" "+e.Error()))
		}
		if got := strings.Join(out, ", "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	a := ActionOptions{TCP: "x:1", Registers: reg(Register{Kind: "input"})}
	if errs := a.Check(); len(errs) != 1 || errs[0].Error() != "input can't be written" {
		t.Error(errs)
	}
	for in, want := range map[string]string{"192.168.1.7": "192.168.1.7:502", "meter.lan:1502": "meter.lan:1502", "[::1]": "[::1]:502", "::1": "[::1]:502", "tcp://a:1": "a:1", "": "", ":502": "", "a b": ""} {
		var got Address
		if err := got.UnmarshalText([]byte(in)); string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	o := Options{Serial: &Serial{Port: "/dev/ttyUSB0"}}
	if got := o.Claims()[0] + " " + o.Access()[0]; got != "serial:/dev/ttyUSB0 device:/dev/ttyUSB0" {
		t.Error(got)
	}
	o = tcp(nil)
	if o.Claims() != nil || o.Access()[0] != "host:x:502" {
		t.Error(o.Claims(), o.Access())
	}
}

// TestKnownFrames checks frames from the specifications and from manuals.
func TestKnownFrames(t *testing.T) {
	q := request{unit: 1, function: readHolding, address: 0x6b, count: 3}
	if got := hex.EncodeToString(rtu(1, q.pdu())); got != "0103006b00037417" {
		t.Error(got)
	}
	if got := hex.EncodeToString(mbap(0x1501, 255, q.pdu())); got != "1501"+"0000"+"0006"+"ff"+"03006b0003" {
		t.Error(got)
	}
	if crc([]byte("123456789")) != 0x4b37 {
		t.Errorf("%#x", crc([]byte("123456789")))
	}
	coils := request{unit: 1, function: writeCoils, address: 0x13, count: 10, data: []byte{0xcd, 0x01}}
	if got := hex.EncodeToString(coils.pdu()); got != "0f0013000a02cd01" {
		t.Error(got)
	}
}

func TestAnswers(t *testing.T) {
	q := request{unit: 1, function: readHolding, address: 5, count: 2}
	w := request{unit: 1, function: writeRegister, address: 5, count: 1, data: []byte{0, 7}}
	for name, c := range map[string]struct {
		q    request
		pdu  string
		want string
	}{
		"good":               {q, "030400010002", "00010002"},
		"short":              {q, "03020001", "an answer of 4 bytes in place of 6"},
		"count is wrong":     {q, "030300010002", "an answer with 3 bytes of data in place of 4"},
		"another function":   {q, "040400010002", "an answer to another function (04 04 00 01 00 02)"},
		"refused":            {q, "8302", "the device refused holding 5 to 6 of unit 1: there is no such address (exception 2)"},
		"refused otherwise":  {q, "8363", "the device refused holding 5 to 6 of unit 1: exception 99"},
		"nothing":            {q, "", "an answer to another function ()"},
		"written":            {w, "0600050007", ""},
		"written elsewhere":  {w, "0600060007", "it confirms a different write (06 00 06 00 07)"},
		"another value":      {w, "0600050008", "it confirms a different write (06 00 05 00 08)"},
		"refusal of another": {w, "8302", "an answer to another function (83 02)"},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := c.q.read(unhex(t, c.pdu))
			got := hex.EncodeToString(data)
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestAnswersOnALine(t *testing.T) {
	q := request{unit: 1, function: readHolding, address: 5, count: 2}
	good := rtu(1, []byte{3, 4, 0, 1, 0, 2})
	bad := bytes.Clone(good)
	bad[4] ^= 1
	for name, c := range map[string]struct {
		came []byte
		want string
	}{
		"good":          {good, "030400010002"},
		"noise before":  {append([]byte{0, 0xff, 1, 3, 4}, good...), "030400010002"},
		"noise after":   {append(bytes.Clone(good), 0, 0), "030400010002"},
		"a bad one too": {append(bytes.Clone(bad), good...), "030400010002"},
		"its request":   {append(rtu(1, q.pdu()), good...), "030400010002"},
		"refused":       {rtu(1, []byte{0x83, 2}), "8302"},
		"damaged":       {bad, "an answer with a wrong checksum was received"},
		"a part":        {good[:6], "a part of an answer was received"},
		"another unit":  {rtu(2, []byte{3, 4, 0, 1, 0, 2}), "an answer of unit 2 was received"},
		"noise":         {[]byte{1, 2, 3}, "3 bytes were received that are not an answer"},
		"nothing":       {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			pdu, ok, trouble := findRTU(c.came, q)
			got := hex.EncodeToString(pdu)
			if !ok {
				got = trouble
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte{3, 4, 0, 1, 0, 2}, byte(3), byte(2), "float32", "cdab")
	f.Add([]byte{0x83, 2}, byte(3), byte(2), "uint16", "")
	f.Add([]byte{0, 1, 0, 0, 0, 7, 1, 3, 4, 0, 1, 0, 2}, byte(3), byte(2), "int32", "dcba")
	f.Fuzz(func(t *testing.T, b []byte, function, count byte, typ, order string) {
		q := request{unit: 1, function: function%4 + 1, address: 9, count: int(count%125) + 1}
		if _, unit, pdu, n, err := readMBAP(b); err == nil && n > 0 {
			if n > len(b) || len(pdu) > maxPDU || unit != b[6] {
				t.Fatalf("%d of %d bytes, %d of them data", n, len(b), len(pdu))
			}
		}
		if _, ok, trouble := findRTU(b, q); ok != (trouble == "") && len(b) > 0 {
			t.Fatalf("%v, %q", ok, trouble)
		}
		for _, pdu := range [][]byte{b, append([]byte{q.function, byte(q.payload())}, b...)} {
			data, err := q.read(pdu)
			if err != nil {
				continue
			}
			r := Register{Name: "a", Address: 9, Type: typ, Order: order, Scale: 0.1}
			if q.function <= 2 {
				r = Register{Name: "a", Address: 9, Kind: "coil", Count: q.count}
			} else if n := q.count / r.size(); n == 0 {
				continue
			} else if r.Count = n; typ == "string" {
				r.Scale = 0
			}
			v, err := r.decode(block{q, []Register{r}}.data(r, data))
			if err != nil {
				continue
			}
			if _, err := json.Marshal(v); err != nil {
				t.Fatal(err)
			}
		}
		if found, ok, _ := findRTU(append(bytes.Clone(b), rtu(q.unit, append([]byte{q.function, byte(q.payload())}, make([]byte, q.payload())...))...), q); !ok || len(found) == 0 {
			t.Fatal("an answer after noise is not found")
		}
	})
}
