package decode

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	"github.com/tinylib/msgp/msgp"

	"github.com/postbus/postbus/plugins/payload"
)

type object = map[string]any

func decode(e Encoding, b string) (any, string) {
	f := object{}
	e.Payload([]byte(b), f)
	why, _ := f["decode_error"].(string)
	return f["json"], why
}

// unhex reads bytes as a specification writes them.
func unhex(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// TestCBOR has the examples of RFC 8949, appendix A, and what sensors send.
func TestCBOR(t *testing.T) {
	for in, want := range map[string]any{
		"00": int64(0), "1864": int64(100), "1bffffffffffffffff": json.Number("18446744073709551615"), "20": int64(-1), "3bffffffffffffffff": json.Number("-18446744073709551616"),
		"c249010000000000000000": json.Number("18446744073709551616"), "c349010000000000000000": json.Number("-18446744073709551617"),
		"f90000": 0.0, "f93c00": 1.0, "fb3ff199999999999a": 1.1, "fa47c35000": 100000.0, "f4": false, "f5": true, "f6": nil, "f7": nil, "f8ff": int64(255),
		"c074323031332d30332d32315432303a30343a30305a": "2013-03-21T20:04:00Z", "c11a514b67b0": "2013-03-21T20:04:00Z", "c1fb41d452d9ec200000": "2013-03-21T20:04:00.5Z",
		"d74401020304": []byte{1, 2, 3, 4}, "d818456449455446": []byte("dIETF"), "d82076687474703a2f2f7777772e6578616d706c652e636f6d": "http://www.example.com",
		"40": []byte{}, "60": "", "62c3bc": "ü", "61fc": "\uFFFD", "80": []any{}, "83010203": []any{int64(1), int64(2), int64(3)}, "a0": object{},
		"a201020304": object{"1": int64(2), "3": int64(4)}, "a26161016162820203": object{"a": int64(1), "b": []any{int64(2), int64(3)}},
		"5f42010243030405ff": []byte{1, 2, 3, 4, 5}, "7f657374726561646d696e67ff": "streaming", "9fff": []any{}, "9f018202039f0405ffff": []any{int64(1), []any{int64(2), int64(3)}, []any{int64(4), int64(5)}},
		"bf61610161629f0203ffff": object{"a": int64(1), "b": []any{int64(2), int64(3)}}, "a16474656d70fb4035800000000000": object{"temp": 21.5},
		"a44100f420f5f93e00f6f400": object{"\x00": false, "-1": true, "1.5": nil, "false": int64(0)},
	} {
		if got, why := decode("cbor", unhex(in)); why != "" || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v %s; want %#v", in, got, why, want)
		}
	}
	for in, want := range map[string]string{
		"": "EOF", "18": "EOF", "0000": "more bytes after", "a1": "EOF", "ff": "break", "1c": "additional information", "9f": "EOF", "a1810102": "key", "a1f601": "neither text nor number",
		"c001": "tag", "7b7fffffffffffffff00": "EOF", "9b7fffffffffffffff00": "exceeded", "bb0000000100000000": "exceeded",
		strings.Repeat("81", 100) + "00": "exceeded max nested level", "c2590400" + strings.Repeat("ff", 1024): "more than the maximum of 4096 bits",
		strings.Repeat("80", 1) + strings.Repeat("00", MaxSize): "more than the maximum of 1 MiB",
	} {
		if v, why := decode("cbor", unhex(in)); v != nil || !strings.HasPrefix(why, "this is not CBOR: ") || !strings.Contains(why, want) {
			t.Errorf("%.40s: %v %q; want %q", in, v, why, want)
		}
	}
}

// TestMessagePack has a value of each format of the specification.
func TestMessagePack(t *testing.T) {
	for in, want := range map[string]any{
		"c0": nil, "c2": false, "c3": true, "00": int64(0), "7f": int64(127), "ff": int64(-1), "e0": int64(-32), "cc80": int64(128), "cd0100": int64(256), "ce00010000": int64(65536),
		"cf0000000100000000": int64(1 << 32), "cfffffffffffffffff": json.Number("18446744073709551615"), "d080": int64(-128), "d18000": int64(-32768), "d280000000": int64(-1 << 31), "d38000000000000000": int64(-1 << 63),
		"ca41ac0000": 21.5, "cb4035800000000000": 21.5, "a0": "", "a2c3bc": "ü", "a1fc": "\uFFFD", "d90161": "a", "da000161": "a", "db0000000161": "a", "c400": []byte{}, "c40100": []byte{0}, "c500020102": []byte{1, 2}, "c60000000101": []byte{1},
		"90": []any{}, "9301c0a0": []any{int64(1), nil, ""}, "dc000101": []any{int64(1)}, "dd0000000101": []any{int64(1)}, "80": object{}, "81a474656d70cb4035800000000000": object{"temp": 21.5},
		"de0001a16101": object{"a": int64(1)}, "df00000001a16101": object{"a": int64(1)}, "820102ffc3": object{"1": int64(2), "-1": true}, "82c2c0c4016101": object{"false": nil, "a": int64(1)},
		"d6ff514b67b0": "2013-03-21T20:04:00Z", "d7ff77359400514b67b0": "2013-03-21T20:04:00.5Z", "c70cff1dcd650000000000514b67b0": "2013-03-21T20:04:00.5Z",
		"d40001": []byte{1}, "d5030102": []byte{1, 2}, "d80500000000000000000000000000000000": make([]byte, 16), "c70005": []byte{}, "c800010801": []byte{1}, "c90000000108aa": []byte{0xaa},
	} {
		if got, why := decode("msgpack", unhex(in)); why != "" || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v %s; want %#v", in, got, why, want)
		}
	}
	deep := strings.Repeat("91", MaxDepth)
	if v, why := decode("msgpack", unhex(deep+"01")); why != "" || v == nil {
		t.Error(why)
	}
	for in, want := range map[string]string{
		"": errShort.Error(), "0000": "more bytes after", "c1": "no value begins with", "92": errShort.Error(), "dd7fffffff": errShort.Error(), "ddffffffff": errShort.Error(), "dfffffffff": errShort.Error(), "dbffffffff": errShort.Error(), "c6ffffffff": errShort.Error(),
		"c9ffffffff": errShort.Error(), "c7": errShort.Error(), "c705ff": errShort.Error(), "c70105": errShort.Error(), "d6": errShort.Error(), "cf00": errShort.Error(), "81c001": "neither text nor number", "819001": "neither text nor number",
		"d4ff00": "want 4, 8 or 12", "d7ffffffffff00000000": "years 1 to 9999", "c70cff000000007fffffffffffffff": "years 1 to 9999",
		deep + "9101": "nested deeper", strings.Repeat("81a161", MaxDepth+1) + "01": "nested deeper", strings.Repeat("00", MaxSize+1): "more than the maximum of 1 MiB",
	} {
		if v, why := decode("msgpack", unhex(in)); v != nil || !strings.HasPrefix(why, "this is not MessagePack: ") || !strings.Contains(why, want) {
			t.Errorf("%.40s: %v %q; want %q", in, v, why, want)
		}
	}
}

func TestCSV(t *testing.T) {
	for in, want := range map[string]any{
		"": []any{}, "a": []any{[]any{"a"}}, "21.5,\"x, \"\"y\"\"\",\r\n007,\"two\nlines\"\n": []any{[]any{"21.5", `x, "y"`, ""}, []any{"007", "two\nlines"}}, "\ufeffa,b\n": []any{[]any{"a", "b"}}, "\xfc,1": []any{[]any{"\ufffd", "1"}},
	} {
		if got, why := decode("csv", in); why != "" || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %#v %s; want %#v", in, got, why, want)
		}
	}
	for in, want := range map[string]string{`"a`: "extraneous or missing", `a"b`: `bare "`, strings.Repeat(",", MaxValues): "more than the maximum of 100000 values"} {
		if v, why := decode("csv", in); v != nil || !strings.HasPrefix(why, "this is not CSV: ") || !strings.Contains(why, want) {
			t.Errorf("%.40q: %v %q", in, v, why)
		}
	}
	for in, want := range map[string]any{"": []any{}, "a,1": []any{"a", "1"}, "a\nb": nil} {
		f := object{}
		Encoding("csv").Line([]byte(in), f)
		if !reflect.DeepEqual(f["json"], want) || (want == nil) != (f["decode_error"] != nil) {
			t.Errorf("%q: %v", in, f)
		}
	}
}

func TestJSONAndNone(t *testing.T) {
	for _, e := range []Encoding{"json", ""} {
		if v, why := decode(e, `{"a": 1}`); why != "" || !reflect.DeepEqual(v, object{"a": int64(1)}) {
			t.Errorf("%v %s", v, why)
		}
		if v, why := decode(e, "hello"); v != nil || why != "" {
			t.Errorf("%v %s", v, why)
		}
	}
	if v, why := decode("none", "1"); v != nil || why != "" {
		t.Errorf("%v %s", v, why)
	}
}

// TestMemory decodes what takes the most memory for its bytes.
func TestMemory(t *testing.T) {
	for name, c := range map[string]struct {
		e Encoding
		b string
	}{
		"empty maps, CBOR":             {"cbor", "\x9a\x00\x01\x86\x9f" + strings.Repeat("\xa0", MaxValues-1)},
		"small maps, CBOR":             {"cbor", "\x9a\x00\x00\x82\x00" + strings.Repeat("\xa1\x00\x00", 0x8200)},
		"more values, CBOR":            {"cbor", "\x9a\x00\x02\x00\x00" + strings.Repeat("\x80", 0x20000)},
		"two lists, CBOR":              {"cbor", "\x82" + strings.Repeat("\x99\xea\x60"+strings.Repeat("\x80", 60_000), 2)},
		"two lists, MessagePack":       {"msgpack", "\x92" + strings.Repeat("\xdc\xea\x60"+strings.Repeat("\x90", 60_000), 2)},
		"nested lists, CBOR":           {"cbor", strings.Repeat("\x9f", MaxDepth-1) + strings.Repeat("\x80", MaxSize/2)},
		"claims, CBOR":                 {"cbor", strings.Repeat("\x9a\x00\x01\x00\x00", MaxDepth-1)},
		"empty maps, MessagePack":      {"msgpack", "\xdd\x00\x01\x86\x9f" + strings.Repeat("\x80", MaxValues-1)},
		"small maps, MessagePack":      {"msgpack", "\xdd\x00\x00\x82\x00" + strings.Repeat("\x81\x00\x00", 0x8200)},
		"more values, MessagePack":     {"msgpack", "\xdd\x00\x02\x00\x00" + strings.Repeat("\x90", 0x20000)},
		"claims, MessagePack":          {"msgpack", strings.Repeat("\xdd\x00\x01\x00\x00", MaxDepth) + strings.Repeat("\x00", 0x10000)},
		"fields, CSV":                  {"csv", strings.Repeat(",", MaxValues-1)},
		"records, CSV":                 {"csv", strings.Repeat("a\n", MaxValues-1)},
		"a large integer, CBOR":        {"cbor", "\xc2\x5a\x00\x0f\x00\x00" + strings.Repeat("\xff", 0xf0000)},
		"bytes that are text, CBOR":    {"cbor", "\x7a\x00\x0f\x00\x00" + strings.Repeat("\xff", 0xf0000)},
		"a key in each level, CBOR":    {"cbor", strings.Repeat("\xa1\x00", MaxDepth-1) + "\x00"},
		"texts of a list, CBOR":        {"cbor", "\x9f" + strings.Repeat("\x7f\x60\xff", 30_000) + "\xff"},
		"the same key, CBOR":           {"cbor", "\xbf" + strings.Repeat("\x00\x00", 49_000) + "\xff"},
		"many keys, MessagePack":       {"msgpack", "\xdf\x00\x00\xc0\x00" + strings.Repeat("\xcd\x12\x34\x00", 0xc000)},
		"extensions, MessagePack":      {"msgpack", "\xdd\x00\x01\x00\x00" + strings.Repeat("\xd4\x00\x00", 0x10000)},
		"a time in bytes, MessagePack": {"msgpack", "\xc9\x00\x0f\x00\x00\xff" + strings.Repeat("\xff", 0xf0000)},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, why := decode(c.e, c.b)
		runtime.ReadMemStats(&after)
		if many := strings.HasPrefix(name, "two") || strings.HasPrefix(name, "more"); many != strings.Contains(why, "more than the maximum of 100000 values") && !strings.HasPrefix(name, "nested") {
			t.Errorf("%s: %q", name, why)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 {
			t.Errorf("%s: %d KiB allocated", name, n>>10)
		} else {
			t.Logf("%-28s %8d bytes %8d KiB  %s", name, len(c.b), n>>10, why)
		}
	}
}

// sound reports what is wrong with a decoded value.
func sound(v any, depth int, left *int) string {
	if *left--; *left < 0 {
		return "too many values"
	}
	if depth > MaxDepth {
		return "too deep"
	}
	switch v := v.(type) {
	case nil, bool, int64, float64, []byte:
	case json.Number:
		if !json.Valid([]byte(v)) {
			return "the number " + string(v)
		}
	case string:
		if !utf8.ValidString(v) {
			return fmt.Sprintf("the text %q", v)
		}
	case []any:
		for _, e := range v {
			if why := sound(e, depth+1, left); why != "" {
				return why
			}
		}
	case object:
		for k, e := range v {
			if !utf8.ValidString(k) {
				return fmt.Sprintf("the key %q", k)
			}
			if why := sound(e, depth+1, left); why != "" {
				return why
			}
		}
	default:
		return fmt.Sprintf("a %T", v)
	}
	return ""
}

func fuzz(f *testing.F, e Encoding, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(unhex(s)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		v, why := decode(e, string(b))
		left := MaxValues + 1
		if problem := sound(v, 0, &left); problem != "" || v != nil && why != "" || strings.ContainsAny(why, "\x00\n") || len(why) > maxReason+3 || !utf8.ValidString(why) {
			t.Fatalf("%x: %s, %q", b, problem, why)
		}
		if !bytes.Equal(b, before) {
			t.Fatal("the payload has changed")
		}
	})
}

func FuzzCBOR(f *testing.F) {
	fuzz(f, "cbor", "a26161016162820203", "c1fb41d452d9ec200000", "bf61610161629f0203ffff", "c249010000000000000000", "5f42010243030405ff", "d818456449455446", "a44100f420f5f93e00f6f400", "9b7fffffffffffffff00", "c001")
}

func FuzzMessagePack(f *testing.F) {
	fuzz(f, "msgpack", "81a474656d70cb4035800000000000", "d7ff77359400514b67b0", "9301c0a0", "df00000001a16101", "dd7fffffff", "c9ffffffff", "c70cff1dcd650000000000514b67b0")
}

func FuzzCSV(f *testing.F) { fuzz(f, "csv", "612c620a22630a22", "22") }

// FuzzJSONValues encodes what JSON can say with the libraries, and decodes it again.
func FuzzJSONValues(f *testing.F) {
	f.Add(`{"a": [1, -2.5, "x", null, true, {"b": {}}, 9007199254740993], "": -9223372036854775808}`)
	f.Fuzz(func(t *testing.T, s string) {
		v, ok := payload.JSON([]byte(s))
		if !ok || strings.Count(s, "[")+strings.Count(s, "{") > MaxDepth-2 || hasNumber(v) {
			return
		}
		b, err := cbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if got, why := decode("cbor", string(b)); !reflect.DeepEqual(got, v) {
			t.Fatalf("CBOR: %s: %#v %s", s, got, why)
		}
		if b, err = msgp.AppendIntf(nil, v); err != nil {
			t.Fatal(err)
		}
		if got, why := decode("msgpack", string(b)); !reflect.DeepEqual(got, v) {
			t.Fatalf("MessagePack: %s: %#v %s", s, got, why)
		}
	})
}

// hasNumber reports whether v holds a json.Number, which the libraries encode in their own ways.
func hasNumber(v any) bool {
	switch v := v.(type) {
	case json.Number:
		return true
	case []any:
		for _, e := range v {
			if hasNumber(e) {
				return true
			}
		}
	case object:
		for _, e := range v {
			if hasNumber(e) {
				return true
			}
		}
	}
	return false
}
