// This file has what the hub tells about the stream, and what a stream must look like.

package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// minVersion is the oldest nats-server that is supported.
var minVersion = [2]int{2, 12}

// Shape is how a stream keeps messages. In a Shape that is asked for, zero fields mean: any.
type Shape struct {
	Subjects   []string
	MaxAge     time.Duration // older messages are removed; in Info 0 stands for never
	MaxBytes   int64         // in Info -1 stands for no limit
	MaxMessage int           // bytes of a message; in Info -1 stands for no limit. Asked for: at least
	Discard    string        // what a full stream does: "old" drops the oldest message, "new" refuses the newest
	Storage    string        // "file" or "memory"
	Replicas   int
	Window     time.Duration // in which the hub looks for equal message ids; none are used
}

// Info is a stream as its leader tells it.
type Info struct {
	Shape
	First, Last     uint64 // sequences; of an empty stream First is Last+1
	Messages, Bytes uint64
	Created         time.Time
	Now             time.Time // the hub's clock
	Server, Version string    // the server that this bus is connected to
	MaxPayload      int       // of that server, in bytes, headers included
	Cluster, Leader string    // the servers' cluster, the stream's leader; "" for one server
	faults          []string  // why the stream can't be used, whatever shape is asked for
}

type streamConfig struct {
	Name       string        `json:"name"`
	Subjects   []string      `json:"subjects,omitempty"`
	Retention  string        `json:"retention"`
	MaxMsgs    int64         `json:"max_msgs"`
	MaxMsgsPer int64         `json:"max_msgs_per_subject"`
	MaxBytes   int64         `json:"max_bytes"`
	MaxAge     time.Duration `json:"max_age"`
	MaxMsgSize int           `json:"max_msg_size"`
	MaxCons    int           `json:"max_consumers"`
	Discard    string        `json:"discard"`
	Storage    string        `json:"storage"`
	Replicas   int           `json:"num_replicas"`
	Duplicates time.Duration `json:"duplicate_window,omitempty"`

	// What makes a stream something else than a log.
	NoAck       bool   `json:"no_ack,omitempty"`
	Sealed      bool   `json:"sealed,omitempty"`
	Rollup      bool   `json:"allow_rollup_hdrs,omitempty"`
	TTL         bool   `json:"allow_msg_ttl,omitempty"`
	Counter     bool   `json:"allow_msg_counter,omitempty"`
	Schedules   bool   `json:"allow_msg_schedules,omitempty"`
	Mirror      any    `json:"mirror,omitempty"`
	Sources     []any  `json:"sources,omitempty"`
	Transform   any    `json:"subject_transform,omitempty"`
	PersistMode string `json:"persist_mode,omitempty"`
}

type streamInfo struct {
	Config  streamConfig `json:"config"`
	Created time.Time    `json:"created"`
	Now     time.Time    `json:"ts"`
	State   struct {
		Messages uint64            `json:"messages"`
		Bytes    uint64            `json:"bytes"`
		First    uint64            `json:"first_seq"`
		Last     uint64            `json:"last_seq"`
		Subjects map[string]uint64 `json:"subjects"`
	} `json:"state"`
	Cluster *struct {
		Name   string `json:"name"`
		Leader string `json:"leader"`
	} `json:"cluster"`
	Total int `json:"total"` // subjects in all
}

// Info asks the stream's leader.
func (s *Stream) Info(ctx context.Context) (Info, error) {
	l, err := s.current()
	if err != nil {
		return Info{}, err
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	i, err := s.o.info(ctx, l)
	return i, s.closedOr(err)
}

func (o *Options) info(ctx context.Context, l *link) (Info, error) {
	var a streamInfo
	if err := o.api(ctx, l, "STREAM.INFO."+o.Stream, struct{}{}, &a); err != nil {
		return Info{}, err
	}
	c := a.Config
	i := Info{
		Shape: Shape{
			Subjects: c.Subjects, MaxAge: c.MaxAge, MaxBytes: c.MaxBytes, MaxMessage: c.MaxMsgSize,
			Discard: c.Discard, Storage: c.Storage, Replicas: c.Replicas, Window: c.Duplicates,
		},
		First: a.State.First, Last: a.State.Last, Messages: a.State.Messages, Bytes: a.State.Bytes,
		Created: a.Created, Now: a.Now, faults: c.faults(),
		Server: l.nc.ConnectedServerName(), Version: l.nc.ConnectedServerVersion(), MaxPayload: int(l.nc.MaxPayload()),
	}
	if a.Cluster != nil {
		i.Cluster, i.Leader = a.Cluster.Name, a.Cluster.Leader
	}
	return i, nil
}

// faults lists what makes a stream unfit as a log, whatever its shape.
func (c *streamConfig) faults() []string {
	var list []string
	for _, f := range []struct {
		is   bool
		text string
	}{
		{c.Retention != "limits", "retention is " + c.Retention + ", not limits: messages vanish when they are read"},
		{c.MaxMsgsPer > 0, fmt.Sprintf("max_msgs_per_subject is %d: older messages of a subject vanish", c.MaxMsgsPer)},
		{c.Mirror != nil, "it is a mirror of another stream"},
		{len(c.Sources) > 0, "it has sources: messages of other streams are mixed in"},
		{c.Transform != nil, "it has a subject_transform: messages change their subjects"},
		{c.NoAck, "no_ack is set: messages are not acknowledged"},
		{c.Sealed, "it is sealed"},
		{c.Rollup, "allow_rollup_hdrs is set: any bus could remove the others' messages"},
		{c.TTL, "allow_msg_ttl is set: any bus could store messages that vanish"},
		{c.Counter, "allow_msg_counter is set: it stores numbers only"},
		{c.Schedules, "allow_msg_schedules is set: any bus could forge messages of others"},
		{c.PersistMode == "async", "persist_mode is async: messages are acknowledged before they are written"},
	} {
		if f.is {
			list = append(list, f.text)
		}
	}
	return list
}

// Differences lists how the stream differs from the shape that is wanted, a line each, with names
// as in the hub's own tools. Empty: it is fit.
func (i Info) Differences(want Shape) []string {
	list := slices.Clone(i.faults)
	for _, s := range want.Subjects {
		if !slices.ContainsFunc(i.Subjects, func(has string) bool { return covers(has, s) }) {
			list = append(list, fmt.Sprintf("subjects are %s, which lack %s", strings.Join(i.Subjects, ", "), s))
		}
	}
	differ := func(name string, has, want any) {
		list = append(list, fmt.Sprintf("%s is %v, not %v", name, has, want))
	}
	if want.MaxAge != 0 && i.MaxAge != want.MaxAge {
		differ("max_age", i.MaxAge, want.MaxAge)
	}
	if want.MaxBytes != 0 && i.MaxBytes != want.MaxBytes {
		differ("max_bytes", i.MaxBytes, want.MaxBytes)
	}
	if want.MaxMessage > 0 && i.MaxMessage > 0 && i.MaxMessage < want.MaxMessage {
		list = append(list, fmt.Sprintf("max_msg_size is %d, less than %d", i.MaxMessage, want.MaxMessage))
	}
	if want.Discard != "" && i.Discard != want.Discard {
		differ("discard", i.Discard, want.Discard)
	}
	if want.Storage != "" && i.Storage != want.Storage {
		differ("storage", i.Storage, want.Storage)
	}
	if want.Replicas != 0 && i.Replicas != want.Replicas {
		differ("num_replicas", i.Replicas, want.Replicas)
	}
	if want.Window != 0 && i.Window != want.Window {
		differ("duplicate_window", i.Window, want.Window)
	}
	return list
}

// covers reports whether filter a matches all that filter b matches.
func covers(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i, t := range as {
		switch {
		case t == ">":
			return len(bs) > i
		case i >= len(bs), bs[i] == ">", t != "*" && t != bs[i]:
			return false
		}
	}
	return len(as) == len(bs)
}

// check reports whether a hub is fit for use.
func (o *Options) check(ctx context.Context, l *link) error {
	if err := o.checkServer(l); err != nil {
		return err
	}
	i, err := o.info(ctx, l)
	if errors.Is(err, nats.ErrNoResponders) {
		return noJetStream(err)
	}
	if err != nil {
		return err
	}
	var want Shape
	if o.Shape != nil {
		want = *o.Shape
	}
	want.MaxMessage = max(want.MaxMessage, o.MaxMessage+headerRoom)
	return o.fit(i, want)
}

func (o *Options) fit(i Info, want Shape) error {
	if list := i.Differences(want); len(list) > 0 {
		return fault(fmt.Sprintf("the stream %s has another shape: %s", o.Stream, strings.Join(list, "; ")),
			"change it with `nats stream edit`, or remove it and make it with `postbus fleet init`", nil)
	}
	return nil
}

// headerRoom is for the headers of a message of Append.
const headerRoom = 512

// checkServer reports whether the server itself is fit.
func (o *Options) checkServer(l *link) error {
	version := l.nc.ConnectedServerVersion()
	if !atLeast(version, minVersion) {
		return fault(fmt.Sprintf("the hub runs nats-server %s, which is too old", version),
			fmt.Sprintf("install nats-server %d.%d or newer on the hub", minVersion[0], minVersion[1]), nil)
	}
	if most := l.nc.MaxPayload(); most < int64(o.MaxMessage+headerRoom) {
		return fault(fmt.Sprintf("the hub's max_payload is %d bytes, too small for messages of %d", most, o.MaxMessage),
			fmt.Sprintf("set max_payload to %d or more in the hub's configuration (nats-server's default is 1 MiB)",
				o.MaxMessage+headerRoom), nil)
	}
	return nil
}

// atLeast reports whether a version such as 2.12.3-beta.1 is at least major.minor. A text that is
// not a version is not.
func atLeast(version string, least [2]int) bool {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	minor, err := strconv.Atoi(parts[1])
	if err != nil {
		return false
	}
	return major > least[0] || major == least[0] && minor >= least[1]
}

// Largest is the size of the largest message that Append takes, in bytes.
func (i Info) Largest() int {
	n := i.MaxPayload - headerRoom
	if i.MaxMessage > 0 {
		n = min(n, i.MaxMessage-headerRoom)
	}
	return n
}
