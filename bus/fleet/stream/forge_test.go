package stream

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// permit makes a user of the hub.
func permit(name string, g Grant) *server.User {
	return &server.User{Username: name, Password: "secret", Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: g.Publish},
		Subscribe: &server.SubjectPermission{Allow: g.Subscribe},
	}}
}

// as is the options of a user of the hub.
func (h *hub) as(user string) Options {
	o := h.options()
	o.URLs = []string{"nats://" + user + ":secret@" + h.Addr().String()}
	if user != "admin" {
		o.Inbox = InboxOf("home", user)
	}
	return o
}

// startRestrictedHub has an admin, and the buses attic and desk with the least permissions.
func startRestrictedHub(t *testing.T) *hub {
	h := startHub(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "secret"}}
		for _, bus := range []string{"attic", "desk"} {
			o.Users = append(o.Users, permit(bus,
				GrantOf("PBF_home", InboxOf("home", bus), []string{"pbf.home." + bus + ".>"}, nil)))
		}
	})
	createHome(t, h.as("admin"))
	return h
}

func TestPermissionsAreEnough(t *testing.T) {
	h := startRestrictedHub(t)
	s := open(t, h.as("attic"))
	ctx := t.Context()
	if err := s.SelfTest(ctx, "pbf.home.attic.test"); err != nil {
		t.Error(err)
	}
	m, err := Commit(ctx, s, "pbf.home.attic.a", Message{}, []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Last(ctx, "pbf.home.attic.a"); !ok || err != nil {
		t.Error(ok, err)
	}
	if _, ok, err := s.At(ctx, m.Seq); !ok || err != nil {
		t.Error(ok, err)
	}
	if err := s.LastPerSubject(ctx, "pbf.home.*.a", 0, func(Message) error { return nil }); err != nil {
		t.Error(err)
	}
	r, err := s.Read(ctx, 1, "pbf.home.*.a")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := r.Next(ctx); err != nil || string(got.Data) != "one" {
		t.Error(got, err)
	}
}

// TestPermissionsAreNeeded takes one permission away, and sees who misses it.
func TestPermissionsAreNeeded(t *testing.T) {
	g := GrantOf("PBF_home", InboxOf("home", "attic"), []string{"pbf.home.attic.>"}, nil)
	without := func(list []string, i int) []string {
		return append(slices.Clone(list[:i]), slices.Concat(list[i+1:], []string{"nothing"})...)
	}
	var grants []Grant
	for i := range g.Publish {
		grants = append(grants, Grant{without(g.Publish, i), g.Subscribe})
	}
	for i := range g.Subscribe {
		grants = append(grants, Grant{g.Publish, without(g.Subscribe, i)})
	}
	for _, g := range grants {
		h := startHub(t, func(o *server.Options) {
			o.Users = []*server.User{{Username: "admin", Password: "secret"}, permit("attic", g)}
		})
		createHome(t, h.as("admin"))
		s, err := Open(t.Context(), h.as("attic"))
		if err == nil {
			defer s.Close()
			_, err = s.Append(t.Context(), "pbf.home.attic.a", 0, nil)
		}
		if err == nil {
			_, _, err = s.Last(t.Context(), "pbf.home.attic.a")
		}
		if err == nil {
			_, err = s.Read(t.Context(), 1)
		}
		if !isFault(err) || !strings.Contains(err.Error(), "the hub forbids this") {
			t.Errorf("with %v: %v", g, err)
		}
	}
}

func TestPermissionsAndForgery(t *testing.T) {
	h := startRestrictedHub(t)
	admin, attic, desk := open(t, h.as("admin")), open(t, h.as("attic")), open(t, h.as("desk"))
	ctx := t.Context()
	const victim = "pbf.home.desk.main"
	genuine, err := Commit(ctx, desk, victim, Message{}, []byte("genuine"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := attic.Append(ctx, "pbf.home.attic.a", 0, []byte("forged"))
	if err != nil {
		t.Fatal(err)
	}

	var f *Fault
	start := time.Now()
	if _, err := attic.Append(ctx, victim, genuine.Seq, []byte("forged")); !errors.As(err, &f) || f.Hint() == "" {
		t.Errorf("an append on another's subject: %v", err)
	} else if time.Since(start) > 4*time.Second {
		t.Error("the missing permission was noticed by a timeout only")
	}

	// What only the hub can publish there, for a user that names the subject for answers.
	nc := attic.link.nc
	quoted, _ := json.Marshal(victim)
	consumer := `{"stream_name":"PBF_home","action":"create","config":{"name":"x","ack_policy":"none","deliver_policy":"all"`
	for _, m := range []*nats.Msg{
		{Subject: victim, Data: []byte("forged")},
		{Subject: "pbf.home.attic.a", Reply: victim, Data: []byte("forged")},
		{Subject: "pbf.home.attic.b", Reply: victim, Data: []byte("forged"),
			Header: nats.Header{headerStream: {"PBF_home"}, headerFollows: {"0"}}},
		{Subject: "pbf.home.attic.a", Data: []byte("forged"), Header: nats.Header{"Nats-Trace-Dest": {victim}}},
		{Subject: "pbf.home.attic.a", Data: []byte("forged"), Header: nats.Header{"Nats-Rollup": {"all"}}},
		{Subject: "pbf.home.attic.a", Data: []byte("forged"),
			Header: nats.Header{"Nats-Schedule": {"@at 1970-01-01T00:00:00Z"}, "Nats-Schedule-Target": {victim}}},
		{Subject: "$JS.API.STREAM.INFO.PBF_home", Reply: victim},
		{Subject: "$JS.API.STREAM.MSG.GET.PBF_home", Reply: victim, Data: []byte(`{"seq":2}`)},
		{Subject: "$JS.API.DIRECT.GET.PBF_home", Reply: victim, Data: []byte(`{"seq":2}`)},
		{Subject: "$JS.API.CONSUMER.CREATE.PBF_home.x", Data: []byte(consumer + `,"deliver_subject":` + string(quoted) + `}}`)},
		{Subject: "$JS.API.CONSUMER.CREATE.PBF_home.x", Data: []byte(consumer + `,"deliver_subject":"pbf.*.desk.main"}}`)},
		{Subject: "$JS.API.CONSUMER.CREATE.PBF_home.x", Reply: victim, Data: []byte(consumer + `}}`)},
		{Subject: "$JS.API.CONSUMER.MSG.NEXT.PBF_home.x", Reply: victim, Data: []byte(`5`)},
		{Subject: "$JS.ACK.PBF_home.x.1.1.1.1.0", Reply: victim, Data: []byte(`+NXT`)},
		{Subject: "$JS.API.STREAM.PURGE.PBF_home"},
		{Subject: "$JS.API.STREAM.DELETE.PBF_home"},
		{Subject: "$JS.API.STREAM.MSG.DELETE.PBF_home", Data: []byte(`{"seq":1}`)},
		{Subject: "$JS.API.STREAM.UPDATE.PBF_home", Data: []byte(`{"name":"PBF_home","subjects":["x"]}`)},
	} {
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	// The hub's own answers come later: wait for those that it gives.
	until(t, "the answers arrive on the victim's subject", func() bool {
		i, err := admin.Info(ctx)
		return err == nil && i.Last >= own+7
	})

	for _, s := range []*Stream{admin, desk, attic} {
		if m, ok, err := s.Last(ctx, victim); err != nil || !ok || m.Seq != genuine.Seq || string(m.Data) != "genuine" {
			t.Errorf("the last message is %+v, %v, %v", m, ok, err)
		}
	}
	// The victim goes on behind what the hub stored.
	if err := admin.LastPerSubject(ctx, victim, 0, func(m Message) error {
		if m.Seq != genuine.Seq {
			t.Errorf("the last message by subject is %+v", m)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if m, err := Commit(ctx, desk, victim, genuine, []byte("next")); err != nil || m.Seq < own+7 {
		t.Errorf("the victim's next message: %+v, %v", m, err)
	}
	r, err := desk.Read(ctx, 1, victim)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for len(got) < 2 {
		m, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(m.Data))
	}
	if s := strings.Join(got, ","); s != "genuine,next" {
		t.Errorf("a reader got %s", s)
	}
}

func TestNobodyHearsTheAnswersOfOthers(t *testing.T) {
	h := startRestrictedHub(t)
	attic := open(t, h.as("attic"))
	admin := open(t, h.as("admin"))
	var subs []*nats.Subscription
	for _, subject := range []string{"_INBOX.>", "_INBOX.home.desk.>", "pbf.home.desk.main", ">"} {
		sub, err := attic.link.nc.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, sub)
	}
	own, err := attic.link.nc.SubscribeSync("_INBOX.home.attic.test")
	if err != nil {
		t.Fatal(err)
	}
	if err := attic.link.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"_INBOX.home.desk.abc", "pbf.home.desk.main", "_INBOX.home.attic.test"} {
		if err := admin.Signal(subject, []byte("secret")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := own.NextMsg(10 * time.Second); err != nil { // the last one arrived
		t.Fatal(err)
	}
	for _, sub := range subs {
		if n, _, err := sub.Pending(); err == nil && n > 0 {
			t.Errorf("subscribed to %s, and got %d messages of others", sub.Subject, n)
		}
	}
}
