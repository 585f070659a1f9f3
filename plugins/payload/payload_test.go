package payload

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for b, want := range map[string]string{
		"":                         "",
		"plain":                    "plain",
		"\xef\xbb\xbfgrün":         "grün",
		"\xef\xbb\xbf":             "",
		"gr\xfcn":                  "gr\ufffdn",
		"a\xef\xbb\xbfb":           "a\ufeffb", // within a text it is a character
		"\xff\xfeh\x00\xf6\x00":    "hö",
		"\xfe\xff\x00h\x00\xf6":    "hö",
		"\xff\xfe\x3d\xd8\x00\xde": "😀",
		"\xfe\xff\xd8\x3d\xde\x00": "😀",
		"\xff\xfe\x3d\xd8a\x00":    "\ufffda", // half a pair
		"\xff\xfea\x00b":           "a\ufffd", // half a character
		"\xff\xfe":                 "",
		"\xff":                     "\ufffd",
		"h\x00i\x00":               "h\x00i\x00", // without a mark the encoding is unknown
	} {
		if got := Text([]byte(b)); got != want {
			t.Errorf("%q is %q, want %q", b, got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	type m = map[string]any
	for b, want := range map[string]any{
		`{"a": [1, -2, "x", null, true, false]}`: m{"a": []any{int64(1), int64(-2), "x", nil, true, false}},
		" 21.5\n":                                21.5,
		"5.0":                                    5.0,
		"-0":                                     int64(0),
		"1e3":                                    1000.0,
		"0.30000000000000004":                    0.30000000000000004,
		"9007199254740993":                       int64(9007199254740993),
		"9007199254740993.0":                     int64(9007199254740993),
		"900719925474099300e-2":                  int64(9007199254740993),
		"9223372036854775807":                    int64(9223372036854775807),
		"-9223372036854775808":                   int64(-9223372036854775808),
		"18446744073709551615":                   json.Number("18446744073709551615"),
		"18446744073709551615.000":               json.Number("18446744073709551615"),
		"123456789012345678901234567890":         json.Number("123456789012345678901234567890"),
		"1E400":                                  json.Number("1E400"),
		"1e20":                                   1e20,
		"\xef\xbb\xbf{\"a\": 1}":                 m{"a": int64(1)},
		"\xff\xfe[\x001\x00]\x00":                []any{int64(1)},
		`"\u00fc\ud83d\ude00"`:                   "ü😀",
		"\"gr\xfcn\"":                            "gr\ufffdn",
		`{"a": 1, "a": 2, "": 3}`:                m{"a": int64(2), "": int64(3)},
	} {
		if got, ok := JSON([]byte(b)); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %#v, %v; want %#v", b, got, ok, want)
		}
	}
	if v, ok := JSON([]byte("null")); v != nil || !ok {
		t.Errorf("null is %v, %v", v, ok)
	}
	for _, b := range []string{"", "  ", "hello", "{", "1 2", "nan", "NaN", `{"a": nan}`, "01", "+1", "'x'", "\xff\xfe{\x00"} {
		if v, ok := JSON([]byte(b)); ok {
			t.Errorf("%q is %v", b, v)
		}
	}
}

// FuzzJSON compares the decoder with the library's, number by number.
func FuzzJSON(f *testing.F) {
	f.Add(`{"a": [1, 2.5, 18446744073709551615, "x\u00fc", null, {"b": {}}]}`)
	f.Add("\ufeff[1e400, -0, 9007199254740993.0]")
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := JSON([]byte(s))
		d := json.NewDecoder(strings.NewReader(string(Decode([]byte(s)))))
		d.UseNumber()
		var want any
		if valid := d.Decode(&want) == nil && !d.More(); ok && !valid {
			t.Fatalf("%q is %v", s, got)
		}
		if !ok {
			return
		}
		a, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(want)
		if strings.ContainsAny(string(b), ".eE-0123456789") {
			return // numbers may be written differently; TestJSON checks them
		}
		if string(a) != string(b) {
			t.Fatalf("%q is %s, want %s", s, a, b)
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add([]byte("\xff\xfea\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s := Text(b); !utf8.ValidString(s) {
			t.Fatalf("%q is %q", b, s)
		}
	})
}
