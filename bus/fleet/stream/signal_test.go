package stream

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestSignalsAndQuestions(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	a, b := open(t, h.options()), open(t, h.options())
	got := make(chan string, 10)
	stop, err := b.Listen("pbs.home.*", func(subject string, data []byte) []byte {
		got <- subject + " " + string(data)
		return append([]byte("got "), data...)
	})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "somebody listens", func() bool {
		_, err := a.Ask(t.Context(), "pbs.home.desk", []byte("there?"))
		if err != nil && !errors.Is(err, ErrNobody) {
			t.Fatal(err)
		}
		return err == nil
	})
	if s := <-got; s != "pbs.home.desk there?" {
		t.Error(s)
	}
	if err := a.Signal("pbs.home.attic", []byte("wake")); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "pbs.home.attic wake" {
		t.Error(s)
	}
	if r, err := a.Ask(t.Context(), "pbs.home.x", []byte("1")); err != nil || string(r) != "got 1" {
		t.Errorf("%q, %v", r, err)
	}
	<-got
	// A question whose answer would go to a subject of the answering bus gets none.
	if err := a.link.nc.PublishRequest("pbs.home.x", "pbf.home.desk.main", []byte("2")); err != nil {
		t.Fatal(err)
	}
	<-got
	if _, err := a.Ask(t.Context(), "pbs.home.x", []byte("3")); err != nil { // it is answered after that one
		t.Fatal(err)
	}
	<-got
	if i, err := a.Info(t.Context()); err != nil || i.Last != 0 {
		t.Errorf("the answer was stored as message %d, %v", i.Last, err)
	}
	old, _ := b.current()
	h.stop()
	waitLost(t, b, old)
	h.start()
	waitConnected(t, a)
	waitConnected(t, b)
	until(t, "the listener is back", func() bool {
		_, err := a.Ask(t.Context(), "pbs.home.desk", []byte("back?"))
		return err == nil
	})
	stop()
	stop()
	until(t, "nobody listens", func() bool {
		_, err := a.Ask(t.Context(), "pbs.home.desk", nil)
		return errors.Is(err, ErrNobody)
	})
	for _, err := range []error{a.Signal("pbs.*", nil), a.Signal("", nil), a.Signal("a b", nil)} {
		if !isFault(err) {
			t.Errorf("got %v", err)
		}
	}
}

func TestLastPerSubject(t *testing.T) {
	h := startHub(t, nil)
	createHome(t, h.options())
	s := open(t, h.options())
	lasts := map[string]Message{}
	var upTo uint64
	want := map[uint64][]string{} // by bound
	state := func() []string {
		var list []string
		for subject, m := range lasts {
			list = append(list, fmt.Sprint(subject, " ", m.Seq, " ", string(m.Data)))
		}
		slices.Sort(list)
		return list
	}
	for i := range 40 {
		subject := fmt.Sprintf("pbf.home.bus%d.a", i*i%7)
		lasts[subject] = fill(t, s, subject, lasts[subject], fmt.Sprint(i))
		upTo = lasts[subject].Seq
		want[upTo] = state()
	}
	fill(t, s, "pbf.home.other.b", Message{}, "no")
	want[0] = want[upTo]
	for bound, list := range want {
		var got []string
		err := s.LastPerSubject(t.Context(), "pbf.home.*.a", bound, func(m Message) error {
			got = append(got, fmt.Sprint(m.Subject, " ", m.Seq, " ", string(m.Data)))
			return nil
		})
		if err != nil || !slices.Equal(got, list) {
			t.Errorf("up to %d: got %q, %v, want %q", bound, got, err, list)
		}
	}
	enough := errors.New("enough")
	if err := s.LastPerSubject(t.Context(), "pbf.>", 0, func(Message) error { return enough }); err != enough {
		t.Error(err)
	}
	if err := s.LastPerSubject(t.Context(), "nothing.>", 0, func(Message) error { return enough }); err != nil {
		t.Error(err)
	}
}
