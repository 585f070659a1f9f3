// This file is the options, their checks, and the address and settings of the remote in them.

package bridge

import (
	_ "embed"
	"fmt"
	"hash/fnv"
	"net"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var sample string

// about is what the source does, for the documentation.
const about = "Connects this bus with another MQTT broker, in one direction or both. Messages of the remote are acknowledged when they are durable here. The remote keeps " +
	"a session for the bridge, so that none is missed while the bus is offline. Events for the remote wait in the journal until it has acknowledged them, and are sent in order. Messages from " +
	"the remote are not sent back, so that filters may overlap. A file without `publish` publishes the remote's messages as they are. MQTT 5, or 3.1.1 where the remote refuses it, " +
	"over TCP, TLS or WebSocket. With MQTT 5, properties and expiry are forwarded both ways, and events don't circulate in rings of bridges if each bus marks the user of the bridge with `bridge: true` " +
	"in its `users`."

// Options of the source.
type Options struct {
	URL         string        `key:"url" doc:"the remote broker's URL, as mqtt://host:1883; also tcp, mqtts, ssl, tls, ws and wss" need:"yes"`
	ClientID    string        `key:"client_id" doc:"the client identifier, under which the remote keeps the bridge's session; empty: derived from the host name and the url" secret:"within"`
	User        string        `key:"user" doc:"the user name at the remote" secret:"within"`
	Password    string        `key:"password" doc:"the password, best as secret:name" secret:"yes"`
	CA          string        `key:"ca" doc:"a file with the CA certificates (PEM) for the remote's certificate; empty: the system's" path:"yes"`
	Insecure    bool          `key:"insecure" doc:"don't verify the remote's certificate: anyone can then impersonate the remote"`
	KeepAlive   time.Duration `key:"keep_alive" doc:"the keep-alive interval, after which a dead connection is noticed" min:"1s" max:"18h"`
	Clean       bool          `key:"clean" doc:"use a clean session: the remote drops the session, with all messages it holds, when the connection ends"`
	In          []In          `key:"in" doc:"rules for messages from the remote; the first that matches a topic applies"`
	Out         []Out         `key:"out" doc:"rules for events to the remote; the first that matches a topic applies"`
	MaxInflight int           `key:"max_inflight" doc:"the maximum number of events to the remote that are in flight" min:"1" max:"1000"`

	Decode decode.Encoding `key:"decode" doc:"the encoding of the payload, whose value is in event.json; csv: a list of records, each a list of texts; none: it is not decoded" oneof:"json|cbor|msgpack|csv|none"`
}

// In is a rule for messages from the remote.
type In struct {
	Filter string   `key:"filter" doc:"a topic filter at the remote" need:"yes"`
	QoS    kind.QoS `key:"qos" doc:"the quality of service of the subscription, 0 to 2; default 1"`
	Strip  string   `key:"strip" doc:"a prefix that is removed from the remote's topic, if it begins with it"`
	Prefix string   `key:"prefix" doc:"a prefix that is then added, to make the topic on this bus"`
}

// Out is a rule for events to the remote.
type Out struct {
	Filter string   `key:"filter" doc:"a topic filter on this bus" need:"yes"`
	QoS    kind.QoS `key:"qos" doc:"the quality of service, 0 or 1; default 1. With 0 an event counts as delivered when it is sent"`
	Strip  string   `key:"strip" doc:"a prefix that is removed from the topic, if it begins with it"`
	Prefix string   `key:"prefix" doc:"a prefix that is then added, to make the topic at the remote"`
	Retain string   `key:"retain" doc:"whether the remote retains it: as the event (default), always or never" oneof:"keep|always|never"`
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{KeepAlive: 30 * time.Second, MaxInflight: 20, Decode: decode.JSON}
}

// Filters returns the topic filters, as far as topics on this bus can differ.
func (o Options) Filters() []string {
	var list []string
	for _, in := range o.In {
		list = append(list, in.Filter)
	}
	return list
}

// Check checks the options against each other.
func (o Options) Check() []error {
	errs := checkRemote(o.URL, o.ClientID, o.User, o.Password, o.CA, o.Insecure)
	bad := func(key, reason, hint string) { errs = append(errs, kind.Wrong(key, reason, hint)) }
	if len(o.In)+len(o.Out) == 0 {
		bad("in", "the bridge has no rules", "in: [{filter: \"site/#\"}], out: [{filter: \"home/#\"}], or both")
	}
	rule := func(key, filter, strip, prefix string) {
		if err := checkFilter(filter); err != nil {
			bad(key+".filter", err.Error(), "")
		}
		for name, v := range map[string]string{".strip": strip, ".prefix": prefix} {
			if v == "" {
				continue
			}
			if err := checkName(v); err != nil {
				bad(key+name, err.Error(), "the beginning of a topic, for example site/")
			}
		}
	}
	for i, r := range o.In {
		rule(fmt.Sprintf("in[%d]", i), r.Filter, r.Strip, r.Prefix)
	}
	for i, r := range o.Out {
		key := fmt.Sprintf("out[%d]", i)
		rule(key, r.Filter, r.Strip, r.Prefix)
		if r.QoS == "2" {
			bad(key+".qos", "events are sent with 0 or 1", "1: an event is delivered at least once")
		}
	}
	return errs
}

// Warnings names the rules that overlap both ways. This plugin itself sends nothing back, but with
// a remote of MQTT 3.1.1 the next bridge can't tell that an event comes from here. The version that
// the remote speaks is known only once connected.
func (o Options) Warnings() (texts []string) {
	for i, in := range o.In {
		here := in.Prefix + strings.TrimPrefix(in.Filter, in.Strip)
		for j, out := range o.Out {
			if topic.Overlaps(here, out.Filter) {
				texts = append(texts, fmt.Sprintf("bridge: in[%d] (%s here) and out[%d] (%s) overlap: if the remote speaks MQTT 3.1.1 only, and there is another way back to this bus, "+
					"an event goes round for ever. Put what comes under a prefix that out does not match", i, here, j, out.Filter))
			}
		}
	}
	return texts
}

// Claims names our session at the remote, which only one plugin can hold.
func (o Options) Claims() []string {
	l := o.link()
	return []string{"mqtt-client:" + l.addr + "/" + l.clientID}
}

// Access is the remote's address.
func (o Options) Access() []string { return []string{"host:" + o.link().addr} }

// ports are the URL schemes and their default ports.
var ports = map[string]string{"mqtt": "1883", "tcp": "1883", "mqtts": "8883", "ssl": "8883", "tls": "8883", "ws": "80", "wss": "443"}

// checkRemote checks the options that the source and the action share.
func checkRemote(raw, id, user, password, ca string, insecure bool) (errs []error) {
	bad := func(key, reason, hint string) { errs = append(errs, kind.Wrong(key, reason, hint)) }
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		bad("url", "this is not a broker's URL", "mqtt://host:1883")
		return errs
	case ports[u.Scheme] == "":
		bad("url", fmt.Sprintf("%q is not a scheme of a broker's URL", u.Scheme), "mqtt, tcp, mqtts, ssl, tls, ws or wss")
	case u.User != nil:
		bad("url", "the URL contains a user name or password, which would be visible to everyone", "set user, and password: \"secret:name\"")
	case u.Scheme != "ws" && u.Scheme != "wss" && (u.Path != "" && u.Path != "/" || u.RawQuery != ""):
		bad("url", "only ws and wss have a path", "mqtt://host:1883")
	}
	secure := u.Scheme == "wss" || ports[u.Scheme] == "8883"
	if (ca != "" || insecure) && !secure {
		bad("url", "a connection without TLS has no certificates", "mqtts://host:8883, or leave ca and insecure out")
	}
	if ca != "" && insecure {
		bad("insecure", "ca and insecure exclude each other", "leave one of them out")
	}
	if password != "" && user == "" {
		bad("user", "a password without a user name", "")
	}
	for key, v := range map[string]string{"client_id": id, "user": user} {
		if err := checkText(v); err != nil {
			bad(key, err.Error(), "")
		}
	}
	return errs
}

// checkText reports why s cannot be a string in MQTT's CONNECT.
func checkText(s string) error {
	switch {
	case len(s) > 65535:
		return fmt.Errorf("it has %d bytes, more than 65535", len(s))
	case strings.ContainsRune(s, 0) || !utf8.ValidString(s):
		return fmt.Errorf("%q contains a NUL character or is not UTF-8", s)
	}
	return nil
}

func (o Options) link() link {
	return newLink(o.URL, o.ClientID, o.User, o.Password, o.CA, o.Insecure, o.KeepAlive)
}

// newLink makes a link of checked options.
func newLink(raw, id, user, password, ca string, insecure bool, keep time.Duration) link {
	u, err := url.Parse(raw)
	if err != nil {
		u = &url.URL{}
	}
	port := u.Port()
	if port == "" {
		port = ports[u.Scheme]
	}
	if id == "" {
		id = clientID(raw)
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	return link{url: u, addr: addr, name: addr, clientID: id, user: user, password: password, ca: ca, insecure: insecure, keepAlive: keep}
}

// clientID returns the default client identifier: the same after a restart, and a different one for
// each remote.
func clientID(url string) string {
	host, _ := os.Hostname() // without a host name the other parts must suffice
	host = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, host)
	h := fnv.New32a()
	h.Write([]byte(url))
	return fmt.Sprintf("postbus-%.40s-%08x", host, h.Sum32())
}
