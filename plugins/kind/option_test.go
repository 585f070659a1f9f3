package kind

import "testing"

func TestAddresses(t *testing.T) {
	for address, want := range map[string][2]bool{ // to listen, to connect
		"127.0.0.1:9000": {true, true}, "[::1]:9000": {true, true}, "pi.local:1": {true, true}, ":9000": {true, false},
		"9000": {}, "a:0": {}, "a:65536": {}, "a:http": {}, "a:b:1": {}, "": {},
	} {
		for i, listen := range []bool{true, false} {
			errs := CheckAddress("to", address, listen)
			if (len(errs) == 0) != want[i] {
				t.Errorf("%q, listen %v: %v", address, listen, errs)
			}
			for _, err := range errs {
				if e := err.(*OptionError); e.Key() != "to" || e.Hint() == "" || e.Error() == "" {
					t.Errorf("%+v", e)
				}
			}
		}
	}
}

func TestQoS(t *testing.T) {
	for text, level := range map[string]byte{"0": 0, "1": 1, "2": 2} {
		var q QoS
		if err := q.UnmarshalText([]byte(text)); err != nil || q.Level() != level {
			t.Errorf("%s: %v, %v", text, q, err)
		}
	}
	var q QoS
	if q.Level() != 1 {
		t.Error("left out is not 1")
	}
	for _, text := range []string{"3", "", "-1", "01"} {
		if q.UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
