// This file finds the last message of each subject, as of a sequence.

package stream

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// LastPerSubject calls each with the last message of every subject that matches filter, as of
// sequence upTo: messages above it count as not stored yet. upTo 0 stands for no bound. The order is
// that of the subjects. An error of each ends it and is returned.
//
// Only the stream's leader is asked, a request per subject, and a few more for subjects that went
// on above upTo.
func (s *Stream) LastPerSubject(ctx context.Context, filter string, upTo uint64, each func(Message) error) error {
	if !validSubject(filter, true) {
		return fault(fmt.Sprintf("%q is not a filter of subjects", filter), "", nil)
	}
	subjects, err := s.subjects(ctx, filter)
	if err != nil {
		return err
	}
	for _, subject := range subjects {
		m, ok, _, err := s.lastGenuine(ctx, subject, upTo)
		if err != nil {
			return err
		}
		if !ok { // removed meanwhile, or none is genuine
			continue
		}
		if err := each(m); err != nil {
			return err
		}
	}
	return nil
}

// subjects lists the subjects of the stream that match a filter.
func (s *Stream) subjects(ctx context.Context, filter string) ([]string, error) {
	found := map[string]uint64{}
	for {
		var a streamInfo
		question := map[string]any{"subjects_filter": filter, "offset": len(found)}
		if err := s.ask(ctx, "STREAM.INFO."+s.o.Stream, question, &a); err != nil {
			return nil, err
		}
		before := len(found)
		maps.Copy(found, a.State.Subjects)
		if len(found) >= a.Total || len(found) == before {
			return slices.Sorted(maps.Keys(found)), nil
		}
	}
}
