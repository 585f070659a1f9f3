// This file makes the stream on a new hub.

package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Create makes the stream on the first hub of Options that answers. It changes nothing that is
// there: a stream that has the shape is fine, one of another shape is a *Fault that names each
// difference. It tries once. Zero fields of shape are nats-server's defaults; Subjects must be given.
func Create(ctx context.Context, o Options, shape Shape) error {
	o, err := o.complete()
	if err != nil {
		return err
	}
	for _, s := range shape.Subjects {
		if !validSubject(s, true) {
			return fault(fmt.Sprintf("%q is not a filter of subjects", s), "", nil)
		}
	}
	if len(shape.Subjects) == 0 {
		return fault("a stream needs subjects", "", nil)
	}
	var list []error
	for _, u := range o.URLs {
		l, err := o.dial(ctx, u)
		if err != nil {
			list = append(list, atAddress(u, err))
			continue
		}
		defer l.close()
		if err := o.create(ctx, l, shape); err != nil {
			return atAddress(u, err)
		}
		return nil
	}
	return errors.Join(list...)
}

func (o *Options) create(ctx context.Context, l *link, shape Shape) error {
	if err := o.checkServer(l); err != nil {
		return err
	}
	i, err := o.info(ctx, l)
	if err == nil {
		return o.fit(i, shape)
	}
	var f *Fault
	var api *apiError
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return noJetStream(err)
	case errors.As(err, &f) && errors.As(f.err, &api) && api.ErrCode == codeNoStream:
	default:
		return err
	}
	c := streamConfig{
		Name: o.Stream, Subjects: shape.Subjects, Retention: "limits",
		MaxMsgs: -1, MaxMsgsPer: -1, MaxCons: -1,
		MaxBytes: cmp.Or(shape.MaxBytes, -1), MaxAge: shape.MaxAge,
		MaxMsgSize: cmp.Or(shape.MaxMessage, -1),
		Discard:    cmp.Or(shape.Discard, "old"), Storage: cmp.Or(shape.Storage, "file"),
		Replicas: cmp.Or(shape.Replicas, 1), Duplicates: shape.Window,
	}
	if c.Duplicates == 0 && c.MaxAge > 0 { // it must not be longer than the age
		c.Duplicates = min(c.MaxAge, 2*time.Minute)
	}
	var made streamInfo
	if err := o.api(ctx, l, "STREAM.CREATE."+o.Stream, c, &made); err != nil {
		return explainCreate(o, err)
	}
	if i, err = o.info(ctx, l); err != nil {
		return err
	}
	return o.fit(i, shape)
}

func explainCreate(o *Options, err error) error {
	var api *apiError
	if !errors.As(err, &api) {
		return err
	}
	switch {
	case api.ErrCode == codeSubjectsOverlap:
		return fault("another stream on the hub takes these subjects",
			"find it with `nats stream ls`; two fleets on a hub need different names", api)
	case api.ErrCode == codeReplicas,
		strings.Contains(api.Description, "no suitable peers"):
		return fault("the hub has too few servers for the replicas",
			"ask for fewer replicas, or add servers to the hub's cluster", api)
	case strings.Contains(api.Description, "insufficient"),
		strings.Contains(api.Description, "resources exceeded"):
		return fault("the hub has too little room for the stream",
			"raise max_file_store in the hub's jetstream block, or ask for less", api)
	}
	return fmt.Errorf("making the stream %s: %w", o.Stream, err)
}

// Purge removes the messages whose subjects match a filter, and returns how many there were. It needs the
// permission to publish on $JS.API.STREAM.PURGE.STREAM, which no bus has.
func (s *Stream) Purge(ctx context.Context, filter string) (removed uint64, err error) {
	if !validSubject(filter, true) {
		return 0, fault(fmt.Sprintf("%q is not a filter of subjects", filter), "", nil)
	}
	var a struct {
		Purged uint64 `json:"purged"`
	}
	err = s.ask(ctx, "STREAM.PURGE."+s.o.Stream, map[string]any{"filter": filter}, &a)
	return a.Purged, err
}
