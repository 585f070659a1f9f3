package stream

import (
	"errors"
	"testing"
)

func TestAppendComparesAndSets(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	s := open(t, h.options())
	ctx := t.Context()
	a, err := s.Append(ctx, "pbf.home.attic.a", 0, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(ctx, "pbf.home.desk.a", 0, []byte("other")); err != nil {
		t.Fatal(err)
	}
	b, err := s.Append(ctx, "pbf.home.attic.a", a, []byte("two"))
	if err != nil || b != a+2 {
		t.Fatalf("got %d, %v", b, err)
	}
	for name, expect := range map[string]uint64{"none": 0, "an older one": a, "another subject's": a + 1, "a later one": b + 1} {
		_, err := s.Append(ctx, "pbf.home.attic.a", expect, []byte("stale"))
		var c *Conflict
		if !errors.As(err, &c) || c.Pending || c.Last != b || c.Expected != expect {
			t.Errorf("expecting %s: got %v", name, err)
		}
	}
	m, ok, err := s.Last(ctx, "pbf.home.attic.a")
	if err != nil || !ok || m.Seq != b || string(m.Data) != "two" || m.Subject != "pbf.home.attic.a" || m.Stored.IsZero() {
		t.Errorf("last: %+v, %v, %v", m, ok, err)
	}
	if m, ok, err = s.At(ctx, a); err != nil || !ok || string(m.Data) != "one" {
		t.Errorf("at: %+v, %v, %v", m, ok, err)
	}
	if _, ok, err = s.At(ctx, b+1); err != nil || ok {
		t.Errorf("at the end: %v, %v", ok, err)
	}
	if _, ok, err = s.Last(ctx, "pbf.home.nobody.a"); err != nil || ok {
		t.Errorf("last of none: %v, %v", ok, err)
	}
	if err := s.SelfTest(ctx, "pbf.home.attic.test"); err != nil {
		t.Error(err)
	}
	if i, err := s.Info(ctx); err != nil || i.Last != b {
		t.Errorf("the self-test stored something: %+v, %v", i, err)
	}
}
