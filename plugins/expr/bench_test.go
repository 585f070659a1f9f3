package expr

import "testing"

// benchVars is a small event, as a host source publishes it.
func benchVars() *Vars {
	v := sample()
	v.Event = map[string]any{"cpu": 23.4, "temperature": 51.2, "room": "attic", "load": []any{0.5, 0.4, 0.3}}
	return v
}

func filter0(b testing.TB) *Program {
	p, err := Compile(`abs(event.cpu - (last.cpu ?? 0)) >= 2`, Scope{})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func topic0(b testing.TB) *Template {
	t, err := ParseTemplate(`devices/${host}/${event.room}/cpu`, Scope{})
	if err != nil {
		b.Fatal(err)
	}
	return t
}

func object0(b testing.TB) Value {
	return Map([]string{"percent", "celsius", "unit", "room"}, []Value{
		template(b, "${round(event.cpu)}"), template(b, "${event.temperature}"), Const("C"), template(b, "in the ${event.room}"),
	})
}

func BenchmarkFilter(b *testing.B) {
	p, v := filter0(b), benchVars()
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := p.Bool(v); !ok || err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTopic(b *testing.B) {
	t, v := topic0(b), benchVars()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.Text(v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkObject(b *testing.B) {
	x, v := object0(b), benchVars()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = x.AppendJSON(buf[:0], v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAll(b *testing.B) {
	p, t, x, v := filter0(b), topic0(b), object0(b), benchVars()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := p.Bool(v); !ok || err != nil {
			b.Fatal(err)
		}
		if _, err := t.Text(v); err != nil {
			b.Fatal(err)
		}
		var err error
		if buf, err = x.AppendJSON(buf[:0], v); err != nil {
			b.Fatal(err)
		}
	}
}
