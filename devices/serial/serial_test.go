package serial

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload/decode"
)

func TestBytes(t *testing.T) {
	for in, want := range map[string]string{"\n": "\n", "hex:0d0a": "\r\n", "hex:42 4d": "BM", "hex:FF": "\xff", "": ""} {
		var b Bytes
		if err := b.UnmarshalText([]byte(in)); string(b) != want || err != nil {
			t.Errorf("%q: %q, %v", in, b, err)
		}
	}
	for _, in := range []string{"hex:0", "hex:zz", strings.Repeat("x", 65)} {
		var b Bytes
		if b.UnmarshalText([]byte(in)) == nil {
			t.Errorf("%q is taken", in)
		}
	}
}

func TestCheck(t *testing.T) {
	change := func(f func(*Options)) Options {
		o := defaults()
		f(&o)
		return o
	}
	for want, o := range map[string]Options{
		"":           defaults(),
		"length":     change(func(o *Options) { o.Framing = "fixed" }),
		"length ":    change(func(o *Options) { o.Length = 3 }),
		"start":      change(func(o *Options) { o.Framing, o.Length, o.Start = "fixed", 1, "ab" }),
		"start ":     change(func(o *Options) { o.Start = "ab" }),
		"delimiter":  change(func(o *Options) { o.Delimiter = "" }),
		"gap":        change(func(o *Options) { o.Framing, o.Gap = "gap", 0 }),
		"format":     change(func(o *Options) { o.Framing, o.Length, o.Format = "fixed", 9, "nmea" }),
		"skip_first": change(func(o *Options) { o.Framing, o.SkipFirst = "gap", true }),
	} {
		var keys []string
		for _, err := range o.Check() {
			keys = append(keys, err.(*kind.OptionError).Key())
		}
		if got := strings.Join(keys, " "); got != strings.TrimSpace(want) {
			t.Errorf("%q: wrong is %q", want, got)
		}
	}
}

// cutUp runs a framer over text; "~" is a silence. Chunks have length step, or random lengths when
// it is 0.
func cutUp(f framing, text string, step int) (frames []string, lost map[string]int) {
	lost = map[string]int{}
	fr := newFramer(f, func(n int, reason string) { lost[reason] += n })
	used := func(silent bool) {
		for frame, cut, ok := fr.next(silent); ok; frame, cut, ok = fr.next(silent) {
			s := string(frame)
			if cut {
				s += "…"
			}
			frames = append(frames, s)
			fr.consume()
		}
	}
	for i, part := range strings.Split(text, "~") {
		if i > 0 {
			used(true)
		}
		for b := []byte(part); len(b) > 0; {
			n := step
			if n == 0 {
				n = 1 + rand.IntN(9)
			}
			n = min(n, len(b))
			fr.feed(b[:n])
			b = b[n:]
			used(false)
			if len(fr.buf) > f.max+f.length+len(f.delimiter)+2 {
				panic(fmt.Sprintf("%d bytes are kept", len(fr.buf)))
			}
		}
	}
	fr.end()
	return frames, lost
}

func TestFraming(t *testing.T) {
	lines := framing{kind: "lines", delimiter: "\n", max: 8}
	first := lines
	first.skipFirst = true
	etx := framing{kind: "lines", delimiter: "\r\x03", max: 8}
	fixed := framing{kind: "fixed", length: 4, gap: 1, max: 64}
	started := framing{kind: "fixed", length: 4, start: "BM", gap: 1, max: 64}
	gap := framing{kind: "gap", gap: 1, max: 8}
	for name, c := range map[string]struct {
		f    framing
		text string
		want string
		lost map[string]int
	}{
		"lines":            {lines, "a\nbc\r\n\n\r\nd\n", "a|bc|d", nil},
		"as long as can":   {lines, "12345678\n12345678\r\na\n", "12345678|12345678|a", nil},
		"overlong":         {lines, "123456789\nb\n1234567890123456789\nc\n", "12345678…|b|12345678…|c", nil},
		"half a line":      {lines, "a\nbc", "a", map[string]int{lostPart: 1}},
		"silence":          {lines, "a~b\n", "ab", nil},
		"no delimiter":     {lines, "123456789123456789", "12345678…", nil},
		"the first line":   {first, "45.5\n123.5\n", "123.5", map[string]int{lostFirst: 1}},
		"an empty first":   {first, "\n123.5\n", "123.5", nil},
		"delimiter of two": {etx, "ab\r\x03c\rd\x03e\r\x03", "ab|c\rd\x03e", nil},
		"fixed":            {fixed, "abcdefgh12", "abcd|efgh", map[string]int{lostPart: 1}},
		"fixed, silence":   {fixed, "abc~defg", "defg", map[string]int{lostShort: 1}},
		"start":            {started, "BM12BM34", "BM12|BM34", nil},
		"start in garbage": {started, "xxBxBM12BBM34xy", "BM12|BM34", map[string]int{lostGarbage: 3}},
		"start, silence":   {started, "BM1~BM23", "BM23", map[string]int{lostShort: 1}},
		"gap":              {gap, "abc~d~~ef~", "abc|d|ef", nil},
		"gap, unfinished":  {gap, "abc~d", "abc", map[string]int{lostPart: 1}},
		"gap, overlong":    {gap, "123456789123~a~", "12345678…|a", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if c.lost == nil {
				c.lost = map[string]int{}
			}
			for _, step := range []int{1, 2, 3, 1000, 0, 0, 0, 0} {
				frames, lost := cutUp(c.f, c.text, step)
				got := strings.Join(frames, "|")
				if got != c.want || !reflect.DeepEqual(lost, c.lost) {
					t.Errorf("in steps of %d: %q, lost %v; want %q, lost %v", step, got, lost, c.want, c.lost)
				}
			}
		})
	}
}

func TestAFrameThatIsNotTakenStays(t *testing.T) {
	for text, f := range map[string]framing{
		"abc\nd\n":        {kind: "lines", delimiter: "\n", max: 8},
		"1234567890\nd\n": {kind: "lines", delimiter: "\n", max: 8},
		"abcd":            {kind: "fixed", length: 2},
	} {
		fr := newFramer(f, func(int, string) {})
		fr.feed([]byte(text))
		a, _, ok := fr.next(false)
		b, _, ok2 := fr.next(false)
		if !ok || !ok2 || string(a) != string(b) {
			t.Errorf("%q: %q, then %q", text, a, b)
		}
		fr.consume()
		if c, _, ok := fr.next(false); !ok || string(c) == string(a) {
			t.Errorf("%q: after it was taken, %q", text, c)
		}
	}
}

func sum(body string) string { return fmt.Sprintf("$%s*%02X", body, checksum([]byte(body))) }

func TestNMEA(t *testing.T) {
	for name, c := range map[string]struct {
		line string
		want map[string]any
	}{
		"GGA": {"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47", map[string]any{"talker": "GP", "sentence": "GGA", "lat": 48.1173, "lon": 11.51666667,
			"valid": true, "fix": 1, "satellites": 8, "hdop": 0.9, "altitude": 545.4}},
		"RMC": {"$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A", map[string]any{"talker": "GP", "sentence": "RMC", "lat": 48.1173, "lon": 11.51666667,
			"valid": true, "speed": 11.523556, "course": 84.4, "time": "1994-03-23T12:35:19Z"}},
		"south and west": {sum("GNRMC,000000.25,A,3351.5,S,15112.6,W,0.0,,010126,,,A"), map[string]any{"talker": "GN", "sentence": "RMC", "lat": -33.85833333, "lon": -151.21,
			"valid": true, "speed": 0.0, "time": "2026-01-01T00:00:00.25Z"}},
		"no fix":                         {sum("GPRMC,,V,,,,,,,,,,N"), map[string]any{"talker": "GP", "sentence": "RMC", "valid": false}},
		"GGA without a fix":              {sum("GPGGA,,,,,,0,00,99.99,,,,,,"), map[string]any{"talker": "GP", "sentence": "GGA", "valid": false, "fix": 0, "satellites": 0, "hdop": 99.99}},
		"an old fix is none":             {sum("GPGGA,123519,4807.038,N,01131.000,E,0,00,,,M,,M,,"), map[string]any{"talker": "GP", "sentence": "GGA", "valid": false, "fix": 0, "satellites": 0}},
		"GNS":                            {sum("GNGNS,112257.00,3844.24011,N,00908.43828,W,AN,03,10.5,,,,"), map[string]any{"talker": "GN", "sentence": "GNS", "lat": 38.7373351667, "lon": -9.140638, "valid": true, "satellites": 3, "hdop": 10.5}},
		"GLL":                            {sum("GPGLL,4916.45,N,12311.12,W,225444,A"), map[string]any{"talker": "GP", "sentence": "GLL", "lat": 49.27416667, "lon": -123.18533333, "valid": true}},
		"VTG":                            {sum("GPVTG,054.7,T,034.4,M,005.5,N,010.2,K"), map[string]any{"talker": "GP", "sentence": "VTG", "course": 54.7, "speed": 2.829444}},
		"VTG in km/h":                    {sum("GPVTG,,T,,M,,N,36.0,K"), map[string]any{"talker": "GP", "sentence": "VTG", "speed": 10.0}},
		"ZDA":                            {sum("GPZDA,201530.00,04,07,2002,00,00"), map[string]any{"talker": "GP", "sentence": "ZDA", "time": "2002-07-04T20:15:30Z"}},
		"wind":                           {sum("WIMWV,214.8,R,0.1,K,A"), map[string]any{"talker": "WI", "sentence": "MWV"}},
		"maker's own":                    {sum("PUBX,00,1"), map[string]any{"talker": "P", "sentence": "UBX"}},
		"AIS":                            {"!AIVDM,1,1,,B,177KQJ5000G?tO`K>RA1wUbN0TKH,0*5C", map[string]any{"talker": "AI", "sentence": "VDM"}},
		"tag block":                      {`\s:r3669961*78\` + sum("GPVTG,,T,,M,,N,,K"), map[string]any{"talker": "GP", "sentence": "VTG"}},
		"nonsense":                       {sum("GPRMC,999999,A,9999.99,N,99999.9,E,Inf,0x1p3,999999,,"), map[string]any{"talker": "GP", "sentence": "RMC", "valid": false}},
		"a fix without a position":       {sum("GPRMC,123519,A,,,,,022.4,084.4,230394,003.1,W"), map[string]any{"talker": "GP", "sentence": "RMC", "valid": false, "time": "1994-03-23T12:35:19Z"}},
		"a fix with half a position":     {sum("GPGGA,123519,4807.038,N,,,1,08,0.9,545.4,M,46.9,M,,"), map[string]any{"talker": "GP", "sentence": "GGA", "valid": false, "fix": 1, "satellites": 8, "hdop": 0.9}},
		"a latitude of 99":               {sum("GPGLL,9916.45,N,12311.12,W,225444,A"), map[string]any{"talker": "GP", "sentence": "GLL", "valid": false}},
		"75 minutes":                     {sum("GNGNS,112257.00,3875.24011,N,00908.43828,W,AN,03,10.5,12.0,,,"), map[string]any{"talker": "GN", "sentence": "GNS", "valid": false, "satellites": 3, "hdop": 10.5}},
		"a quality that is not a number": {sum("GPGGA,123519,4807.038,N,01131.000,E,x,08,0.9,545.4,M,46.9,M,,"), map[string]any{"talker": "GP", "sentence": "GGA", "valid": false, "satellites": 8, "hdop": 0.9}},
		"a mode of none":                 {sum("GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W,N"), map[string]any{"talker": "GP", "sentence": "RMC", "valid": false, "time": "1994-03-23T12:35:19Z"}},
		"GLL, a mode of none":            {sum("GPGLL,4916.45,N,12311.12,W,225444,A,N"), map[string]any{"talker": "GP", "sentence": "GLL", "valid": false}},
		"a warning with a speed":         {sum("GPRMC,123519,V,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W"), map[string]any{"talker": "GP", "sentence": "RMC", "valid": false, "time": "1994-03-23T12:35:19Z"}},
		"too few words":                  {sum("GPGGA"), map[string]any{"talker": "GP", "sentence": "GGA", "valid": false}},
	} {
		t.Run(name, func(t *testing.T) {
			s, garbage, wrong := readSentence([]byte(c.line), true)
			if wrong != "" || garbage {
				t.Fatal(wrong, garbage)
			}
			got := map[string]any{}
			var ck clock
			ck.fill(s, got)
			if len(got["fields"].([]string)) != strings.Count(c.line[strings.LastIndexAny(c.line, "$!"):], ",") {
				t.Errorf("%q", got["fields"])
			}
			delete(got, "fields")
			for k, v := range got {
				if v == nil {
					delete(got, k)
				}
			}
			for _, k := range []string{"lat", "lon"} {
				a, ok1 := got[k].(float64)
				b, ok2 := c.want[k].(float64)
				if ok1 && ok2 && a-b < 1e-8 && b-a < 1e-8 {
					got[k] = b
				}
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
	for line, want := range map[string]string{
		"$GPGGA,123519*48": lostSum, "$GPGGA,123519*4": lostSum, "$GPGGA,123519*": lostSum, "$GPGGA,1": lostNoSum, "hello": lostNMEA, "": lostNMEA, sum("gpgga,1"): lostNMEA, sum("X,1"): lostNMEA,
		sum(""): lostNMEA, "$GPGGA,1*47*47": lostSum,
	} {
		if _, _, wrong := readSentence([]byte(line), true); wrong != want {
			t.Errorf("%q: %q, want %q", line, wrong, want)
		}
	}
	if s, garbage, wrong := readSentence([]byte("$GPGGA,12$GPVTG,1"), false); wrong != "" || !garbage || s.name != "VTG" {
		t.Errorf("%v %v %q", s, garbage, wrong)
	}
}

func TestDatesOfSentencesWithoutOne(t *testing.T) {
	var c clock
	for _, step := range []struct{ hms, date, want string }{
		{"235959", "", "<nil>"}, {"235958", "311225", "2025-12-31T23:59:58Z"}, {"235959.5", "", "2025-12-31T23:59:59.5Z"}, {"000000", "", "2026-01-01T00:00:00Z"},
		{"000000", "010126", "2026-01-01T00:00:00Z"}, {"120000", "", "2026-01-01T12:00:00Z"}, {"250000", "", "<nil>"}, {"1200", "", "<nil>"}, {"120000.x", "", "<nil>"}, {"120000", "310226", "<nil>"},
	} {
		if got := fmt.Sprint(c.moment(step.hms, step.date)); got != step.want {
			t.Errorf("%s %s: %s, want %s", step.hms, step.date, got, step.want)
		}
	}
}

func TestFormats(t *testing.T) {
	for name, c := range map[string]struct {
		format, frame string
		want          map[string]any
		lost          string
	}{
		"text":         {"text", "hello", map[string]any{"text": "hello"}, ""},
		"text of JSON": {"text", ` {"a":1}`, map[string]any{"text": ` {"a":1}`, "json": map[string]any{"a": int64(1)}}, ""},
		"no UTF-8":     {"text", "a\xff", map[string]any{"text": "a\ufffd", "bytes": []byte("a\xff")}, ""},
		"json":         {"json", `3`, map[string]any{"text": "3", "json": int64(3)}, ""},
		"null":         {"json", `null`, map[string]any{"text": "null"}, ""},
		"no json":      {"json", `{"a":`, nil, lostJSON},
		"hex":          {"hex", "BM\x01", map[string]any{"text": "424d01", "bytes": []byte("BM\x01")}, ""},
		"base64":       {"base64", "\xff\xfe", map[string]any{"text": "//4=", "bytes": []byte("\xff\xfe")}, ""},
		"nmea":         {"nmea", "junk" + sum("WIMWV,1"), map[string]any{"text": sum("WIMWV,1"), "talker": "WI", "sentence": "MWV", "fields": []string{"1"}}, lostGarbage},
		"bad nmea":     {"nmea", "$WIMWV,1*00", nil, lostSum},
	} {
		t.Run(name, func(t *testing.T) {
			lost := ""
			f := format{name: c.format, needSum: true, lost: func(_ int, reason string) { lost += reason }}
			got := f.fields([]byte(c.frame), false, "/dev/x")
			if got != nil {
				if got["port"] != "/dev/x" || len(got) != reflect.TypeFor[eventFields]().NumField()-1 { // decode_error is absent
					t.Errorf("%d fields: %v", len(got), got)
				}
				delete(got, "port")
			}
			for k, v := range got {
				if v == nil {
					delete(got, k)
				}
			}
			if !reflect.DeepEqual(got, c.want) || lost != c.lost {
				t.Errorf("got  %v %s\nwant %v %s", got, lost, c.want, c.lost)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		decode      decode.Encoding
		lines       bool
		frame       string
		json, wrong any
	}{
		{"cbor", false, "\x82\x01\x0a", []any{int64(1), int64(10)}, nil},
		{"msgpack", false, "\x92\x01", nil, "this is not MessagePack: it ends in the middle of a value"},
		{"csv", true, "a,1", []any{"a", "1"}, nil},
		{"csv", false, "a,1", []any{[]any{"a", "1"}}, nil},
		{"none", true, "1", nil, nil},
	} {
		f := format{name: "text", decode: c.decode, lines: c.lines}
		if got := f.fields([]byte(c.frame), false, "/dev/x"); !reflect.DeepEqual(got["json"], c.json) || got["decode_error"] != c.wrong {
			t.Errorf("%+v: %v", c, got)
		}
	}
	for _, change := range []func(*Options){func(o *Options) { o.Decode = "cbor" }, func(o *Options) { o.Format, o.Decode = "hex", "csv" }} {
		o := defaults()
		change(&o)
		if errs := o.Check(); len(errs) != 1 || errs[0].(*kind.OptionError).Key() != "decode" {
			t.Error(errs)
		}
	}
}

func TestWhatIsWritten(t *testing.T) {
	for name, c := range map[string]struct {
		a    Args
		want string // empty: a permanent error
	}{
		"text":    {Args{Text: "on"}, "on\r\n"},
		"json":    {Args{JSON: map[string]any{"a": 1}}, "{\"a\":1}\r\n"},
		"hex":     {Args{Hex: "7e 01\nFF"}, "\x7e\x01\xff"},
		"base64":  {Args{Base64: "fgH/"}, "\x7e\x01\xff"},
		"nothing": {Args{}, ""},
		"two":     {Args{Text: "a", Hex: "00"}, ""},
		"no hex":  {Args{Hex: "0"}, ""},
		"no b64":  {Args{Base64: "%"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.a.bytes("\r\n")
			if string(got) != c.want || (c.want == "") != kind.IsPermanent(err) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestAbsurdNumbersOfFramesAreCheap(t *testing.T) {
	fr := newFramer(framing{kind: "lines", delimiter: "\n", max: 64 << 10}, func(int, string) {})
	began := time.Now()
	for range 1 << 20 { // byte by byte, of an endless line
		fr.feed([]byte{'x'})
		if _, _, ok := fr.next(false); ok {
			fr.consume()
		}
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("a megabyte took %s", d)
	}
}

func FuzzFraming(f *testing.F) {
	f.Add([]byte("a\nBM12BM34"), "\n", uint8(4), uint8(0), 7)
	f.Add([]byte("BMBM12BBM"), "BM", uint8(3), uint8(1), 2)
	f.Fuzz(func(t *testing.T, data []byte, mark string, length, kind uint8, step int) {
		if mark == "" || len(mark) > 64 || length == 0 {
			return
		}
		c := framing{kind: []string{"lines", "fixed", "gap"}[kind%3], delimiter: mark, gap: 1, max: int(length)}
		if c.kind == "fixed" {
			c.length = int(length)
			if len(mark) <= c.length {
				c.start = mark
			}
		}
		data = bytes.ReplaceAll(data, []byte("~"), nil)
		frames, lost := cutUp(c, string(data), max(1, step%50))
		n := 0
		for _, s := range frames {
			body := strings.TrimSuffix(s, "…")
			n += len(body)
			if c.kind == "lines" && strings.Contains(body, mark) || c.kind == "fixed" && len(s) != c.length || len(body) > c.max {
				t.Fatalf("%+v: the frame %q", c, s)
			}
		}
		if n > len(data) {
			t.Fatal("more came out than went in")
		}
		if c.kind == "fixed" && c.start == "" && n+lost[lostPart]*c.length < len(data) {
			t.Fatalf("%d of %d bytes came out, lost %v", n, len(data), lost)
		}
		whole, _ := cutUp(c, string(data), 1<<20)
		if c.kind != "gap" && strings.Join(whole, "|") != strings.Join(frames, "|") {
			t.Fatalf("%+v: %q in one piece, %q in steps", c, whole, frames)
		}
	})
}

func FuzzNMEA(f *testing.F) {
	f.Add([]byte("$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47"), true)
	f.Add([]byte("$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A"), true)
	f.Add([]byte("$GNGNS,112257.00,3844.24011,N,00908.43828,W,AN,03,10.5,,,,"), false)
	f.Add([]byte("$GPZDA,201530.00,04,07,2002,00,00"), false)
	f.Fuzz(func(t *testing.T, line []byte, needSum bool) {
		fm := format{name: "nmea", needSum: needSum, lost: func(int, string) {}}
		m := fm.fields(line, false, "")
		if m == nil {
			return
		}
		for k, most := range map[string]float64{"lat": 90, "lon": 180} {
			if v, ok := m[k].(float64); ok && (v > most || v < -most || v != v) {
				t.Fatalf("%s is %v", k, v)
			}
		}
		if s, ok := m["time"].(string); ok {
			if _, err := time.Parse(time.RFC3339Nano, s); err != nil {
				t.Fatal(err)
			}
		}
	})
}
