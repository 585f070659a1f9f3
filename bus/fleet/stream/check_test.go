package stream

import (
	"strings"
	"testing"
)

func TestVersions(t *testing.T) {
	for version, want := range map[string]bool{
		"2.12.0": true, "2.12.0-beta.1": true, "2.15.3": true, "3.0.0": true, "v2.13.1": true, "2.100.0": true,
		"2.11.99": false, "2.9.0": false, "1.99.0": false, "": false, "2": false, "dev": false, "x.y.z": false, "2.x.1": false,
	} {
		if got := atLeast(version, minVersion); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"a.b", "a.b", true}, {"a.*", "a.b", true}, {"a.>", "a.b", true}, {"a.>", "a.b.c", true}, {">", "a", true}, {"a.>", "a.>", true},
		{"a.>", "a.*.c", true}, {"*.*", "a.*", true}, {"a.*", "a.*", true},
		{"a.>", "a", false}, {"a.b", "a.*", false}, {"a.*", "a.>", false}, {"a.*", "a.b.c", false}, {"a.b.c", "a.b", false}, {"b.>", "a.b", false}, {"a.b.>", "a.>", false},
	} {
		if got := covers(c.a, c.b); got != c.want {
			t.Errorf("%s covers %s: %v", c.a, c.b, got)
		}
	}
}

func TestSubjects(t *testing.T) {
	for subject, want := range map[string][2]bool{ // as a subject, as a filter
		"a": {true, true}, "a.b-c_d": {true, true}, "pbf.home.*.a": {false, true}, "a.>": {false, true}, ">": {false, true},
		"": {}, "a..b": {}, ".a": {}, "a.": {}, "a b": {}, "a\r\nPUB x": {}, "a.>.b": {}, "a\x00": {}, "a*b": {true, true},
		strings.Repeat("a", 1001): {},
	} {
		if got := [2]bool{validSubject(subject, false), validSubject(subject, true)}; got != want {
			t.Errorf("%q: %v", subject, got)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{URLs: []string{"nats://x"}, Stream: "PBF_home"}
	if _, err := good.complete(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"no hub":                func(o *Options) { o.URLs = nil },
		"no stream":             func(o *Options) { o.Stream = "" },
		"a stream with a dot":   func(o *Options) { o.Stream = "a.b" },
		"an inbox elsewhere":    func(o *Options) { o.Inbox = "pbf.home" },
		"an inbox of all":       func(o *Options) { o.Inbox = "_INBOX.*" },
		"credentials of nobody": func(o *Options) { o.Creds = []byte("SUX") },
	} {
		o := good
		change(&o)
		if _, err := Open(t.Context(), o); !isFault(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	o := &Options{Stream: "PBF_home"}
	for _, c := range []struct {
		code int
		text string
		want Conflict
	}{
		{codeWrongLast, "wrong last sequence: 12", Conflict{Subject: "a", Expected: 7, Last: 12}},
		{codeWrongLast, "wrong last sequence: 0", Conflict{Subject: "a", Expected: 7}},
		{codeWrongLast, "wrong last sequence", Conflict{Subject: "a", Expected: 7, Pending: true}},
		{codeWrongLastConstant, "wrong last sequence", Conflict{Subject: "a", Expected: 7, Pending: true}},
	} {
		err := o.refused("a", 7, &apiError{ErrCode: c.code, Description: c.text})
		if got, ok := err.(*Conflict); !ok || *got != c.want {
			t.Errorf("%d %s: %+v", c.code, c.text, err)
		}
	}
	if err := o.refused("a", 7, &apiError{ErrCode: codeStreamMismatch}); !isFault(err) {
		t.Error(err)
	}
	if err := o.refused("a", 7, &apiError{ErrCode: 10008}); isFault(err) { // temporarily unavailable
		t.Error(err)
	}
}

// FuzzCredentials takes what users put into the file of credentials.
func FuzzCredentials(f *testing.F) {
	seed, _, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("-----BEGIN NATS USER JWT-----\ne30.e30.e30\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n" + string(seed) + "\n------END USER NKEY SEED------\n"))
	f.Add([]byte("SUAB"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		option, err := credentials(content)
		if (option == nil) == (err == nil) || err != nil && !isFault(err) {
			t.Errorf("%v, %v", option == nil, err)
		}
	})
}

// FuzzRefusal takes the descriptions of errors of the hub.
func FuzzRefusal(f *testing.F) {
	f.Add(codeWrongLast, "wrong last sequence: 12")
	f.Add(codeWrongLast, "wrong last sequence")
	f.Add(codeWrongLastConstant, "wrong last sequence")
	f.Add(codeNoStream, "stream not found")
	f.Fuzz(func(t *testing.T, code int, text string) {
		err := (&Options{Stream: "s"}).refused("a", 7, &apiError{ErrCode: code, Description: text})
		if err == nil {
			t.Fatal("no error")
		}
		c, is := err.(*Conflict)
		if is != (code == codeWrongLast || code == codeWrongLastConstant) {
			t.Errorf("%T", err)
		}
		if is && c.Pending && c.Last != 0 {
			t.Errorf("%+v", c)
		}
	})
}
