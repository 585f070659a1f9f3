package bridge

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

func TestCheck(t *testing.T) {
	fine := func() Options {
		o := defaults()
		o.URL, o.In = "mqtt://h:1883", []In{{Filter: "a/#"}}
		return o
	}
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   string // key: reason
	}{
		{"fine", func(*Options) {}, ""},
		{"all of it", func(o *Options) {
			o.URL, o.CA, o.User, o.Password, o.ClientID = "wss://[::1]/mqtt", "x.pem", "u", "p", "me"
			o.Out = []Out{{Filter: "+/b", Prefix: "x/", Strip: "y", QoS: "0", Retain: "never"}}
		}, ""},
		{"no port", func(o *Options) { o.URL = "tls://h" }, ""},
		{"nothing", func(o *Options) { o.In = nil }, "in: the bridge has no rules"},
		{"no url", func(o *Options) { o.URL = "" }, "url: this is not a broker's URL"},
		{"no scheme", func(o *Options) { o.URL = "h:1883" }, "url: this is not a broker's URL"},
		{"http", func(o *Options) { o.URL = "http://h" }, `url: "http" is not a scheme`},
		{"a password in the url", func(o *Options) { o.URL = "mqtt://u:p@h" }, "url: the URL contains a user name or password"},
		{"a path", func(o *Options) { o.URL = "mqtt://h/x" }, "url: only ws"},
		{"a ca without TLS", func(o *Options) { o.CA = "x" }, "url: a connection without TLS"},
		{"ca and insecure", func(o *Options) { o.URL, o.CA, o.Insecure = "mqtts://h", "x", true }, "insecure: ca and insecure"},
		{"a password alone", func(o *Options) { o.Password = "p" }, "user: a password"},
		{"client_id", func(o *Options) { o.ClientID = "\x00" }, "client_id: "},
		{"a filter", func(o *Options) { o.In[0].Filter = "a#" }, "in[0].filter: "},
		{"no filter", func(o *Options) { o.Out = []Out{{}} }, "out[0].filter: it is empty"},
		{"a shared one", func(o *Options) { o.In[0].Filter = "$share/g/a" }, "in[0].filter: "},
		{"a prefix with a wildcard", func(o *Options) { o.In[0].Prefix = "a/+/" }, "in[0].prefix: "},
		{"strip with a wildcard", func(o *Options) { o.Out = []Out{{Filter: "a", Strip: "#"}} }, "out[0].strip: "},
		{"QoS 2 out", func(o *Options) { o.Out = []Out{{Filter: "a", QoS: "2"}} }, "out[0].qos: events are sent"},
	} {
		o := fine()
		c.change(&o)
		var got []string
		for _, e := range o.Check() {
			got = append(got, e.(*kind.OptionError).Key()+": "+e.Error())
		}
		if c.want == "" && got != nil || c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	o := fine()
	o.URL, o.ClientID = "mqtts://[::1]", "me"
	if got := fmt.Sprint(o.Claims(), o.Access()); got != "[mqtt-client:[::1]:8883/me] [host:[::1]:8883]" {
		t.Error(got)
	}
	if a, b, c := clientID("mqtt://a"), clientID("mqtt://a"), clientID("mqtt://b"); a != b || a == c || !strings.HasPrefix(a, "postbus-") || len(a) > 57 {
		t.Error(a, b, c)
	}
}

func TestWarnings(t *testing.T) {
	o := Options{In: []In{{Filter: "site/#", Strip: "site/", Prefix: "remote/"}, {Filter: "home/lamp"}}, Out: []Out{{Filter: "home/#"}, {Filter: "remotes"}}}
	got := o.Warnings()
	if len(got) != 1 || !strings.HasPrefix(got[0], "bridge: in[1] (home/lamp here) and out[0] (home/#) overlap") {
		t.Errorf("%q", got)
	}
	o.Out[0].Filter = "+/lamp"
	if got := o.Warnings(); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

func TestRename(t *testing.T) {
	for _, c := range []struct{ topic, strip, prefix, want, err string }{
		{"a/b", "", "", "a/b", ""}, {"a/b", "a/", "", "b", ""}, {"a/b", "x/", "y/", "y/a/b", ""}, {"a/b", "a/b", "", "", "empty"}, {"a/b", "a/b", "c", "c", ""},
		{strings.Repeat("x", 65535), "", "y", "", "more than 65535"},
	} {
		got, err := rename(c.topic, c.strip, c.prefix)
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%.20s: %.20s, %v", c.topic, got, err)
		}
	}
}

func TestEcho(t *testing.T) {
	now := time.Unix(0, 0)
	var e echo
	if e.isEcho("a", nil, now) {
		t.Error("nothing was sent")
	}
	e.sent("a", []byte("1"), now)
	e.sent("a", []byte("1"), now)
	e.sent("ab", nil, now)
	for i, c := range []struct {
		topic, payload string
		want           bool
	}{{"a", "2", false}, {"b", "1", false}, {"a", "b", false}, {"a", "1", true}, {"a", "1", true}, {"a", "1", false}, {"ab", "", true}} {
		if got := e.isEcho(c.topic, []byte(c.payload), now); got != c.want {
			t.Errorf("%d: %v", i, got)
		}
	}
	e.sent("a", []byte("1"), now)
	if e.isEcho("a", []byte("1"), now.Add(echoAge+1)) {
		t.Error("remembered too long")
	}
	for i := range 3 * echoes {
		e.sent("a", fmt.Append(nil, i), now)
	}
	if len(e.ring) != echoes || len(e.count) != echoes || e.isEcho("a", []byte("0"), now) || !e.isEcho("a", fmt.Append(nil, 3*echoes-1), now) {
		t.Error(len(e.ring), len(e.count))
	}
}

// same is a remote that accepts every message unchanged.
func same(m *message) *message {
	c := *m
	return &c
}

func TestWindow(t *testing.T) {
	w := newWindow(3)
	var done []int
	add := func(i int, qos byte) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		return w.add(ctx, &message{topic: fmt.Sprint(i), qos: qos}, func(err error) { done = append(done, i) })
	}
	sent := func(c *conn) (s []string) {
		for _, i := range c.queue {
			s = append(s, fmt.Sprintf("%s:%d:%v", i.p.msg.topic, i.p.id, i.p.msg.dup))
		}
		c.queue = nil
		return s
	}
	one := newConn(nil, three{})
	if add(1, 1) != nil {
		t.Fatal("no room")
	}
	w.attach(one, 100, same)
	if add(2, 1) != nil || add(3, 0) != nil {
		t.Fatal("no room")
	}
	if add(4, 1) != context.DeadlineExceeded {
		t.Error("more than three")
	}
	if got := sent(one); !reflect.DeepEqual(got, []string{"1:1:false", "2:2:false", "3:3:false"}) {
		t.Error(got)
	}
	w.acked(2) // out of order: nothing is done before 1
	w.acked(77)
	if done != nil {
		t.Error(done)
	}
	w.detach()
	two := newConn(nil, three{})
	w.attach(two, 100, same)
	if got := sent(two); !reflect.DeepEqual(got, []string{"1:1:true", "3:3:false"}) {
		t.Error(got)
	}
	w.acked(1)
	w.acked(1)
	if !reflect.DeepEqual(done, []int{1, 2}) {
		t.Error(done)
	}
	w.acked(3)
	w.next = subscribeID - 1
	if add(5, 1) != nil || w.list[0].id != 1 || !reflect.DeepEqual(done, []int{1, 2, 3}) {
		t.Error(w.list[0].id, done)
	}
}
