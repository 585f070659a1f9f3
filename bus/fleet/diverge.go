package fleet

// This file finds out whether the journal is the one whose events the hub has. It is not if a power cut took
// events that were not synced yet (durability: 1s), or if the data is an older copy: the numbers of these events
// are then given to others. Those travel in lanes of their own, because the buses that have the first ones would
// drop them.

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/postbus/postbus/bus/fleet/stream"
	"github.com/postbus/postbus/bus/journal"
)

// divergence is the error that the hub has other events than the journal.
type divergence struct {
	filter string
	from   uint64 // the first number
	to     uint64 // the last one that the hub has
}

func (d *divergence) Error() string {
	return fmt.Sprintf("the hub has events of %s with the numbers %d to %d that the journal does not have", d.filter, d.from, d.to)
}

// maxBack bounds how many messages are compared.
const maxBack = 5000

// compare returns a *divergence if the events of the newest message, and of those before it, are not those of
// the journal.
func (s *shareExport) compare(ctx context.Context, newest stream.Message) error {
	var d *divergence
	for m, n := newest, 0; n < maxBack; n++ {
		same, first, last, err := s.same(ctx, m)
		if err != nil {
			return err
		}
		if same {
			break
		}
		if first > 0 {
			if d == nil {
				d = &divergence{filter: s.layout.Share[s.index].Filter, to: last}
			}
			d.from = first
		}
		before, ok, err := s.hub.At(ctx, m.Seq-1)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		m = before
	}
	if d == nil {
		return nil
	}
	return d
}

// same reports whether a message of this share has the events of the journal. If it does not, first is the first
// number that differs; 0 for a message that is not of this share.
func (s *shareExport) same(ctx context.Context, m stream.Message) (same bool, first, last uint64, err error) {
	name, lane, ok := splitSubject(s.o.Fleet, m.Subject)
	share, _, _ := strings.Cut(lane, ".")
	g, err := decodeHeader(m.Data)
	if !ok || err != nil || name != s.layout.Bus || share != s.name || g.Epoch != s.bus.Epoch() {
		return false, 0, 0, nil
	}
	records, err := g.records()
	if err != nil {
		return false, 0, 0, fmt.Errorf("message %d on %s: %w", m.Seq, m.Subject, err)
	}
	own, lost, err := s.ownBetween(ctx, g.First, g.Last)
	if err != nil {
		return false, 0, 0, err
	}
	for _, r := range records {
		mine := own[r.Seq]
		if mine == nil && r.Seq <= lost {
			continue // it is not kept any more
		}
		if mine == nil || !bytes.Equal(mine.Topic, r.Topic) || !bytes.Equal(mine.Payload, r.Payload) || !bytes.Equal(mine.Source, r.Source) {
			return false, r.Seq, g.Last, nil
		}
	}
	return true, 0, 0, nil
}

// ownBetween reads the events of the share with the numbers from to to. Those up to lost are not kept.
func (s *shareExport) ownBetween(ctx context.Context, from, to uint64) (own map[uint64]*journal.Record, lost uint64, err error) {
	own = map[uint64]*journal.Record{}
	for from <= to {
		read, err := s.bus.ReadOwn(ctx, from, []string{s.layout.Share[s.index].Filter}, groupEvents, groupBytes)
		if err != nil {
			return nil, 0, err
		}
		for _, r := range read.Records {
			own[r.Seq] = r
		}
		for _, l := range read.Lost {
			lost = max(lost, l.To)
		}
		if read.Next == from {
			break
		}
		from = read.Next
	}
	return own, lost, nil
}

// beginAgain begins a new layout at the first number that differs.
func (e *Entry) beginAgain(ctx context.Context, d *divergence) error {
	e.log.Warn("the hub has events that this bus lost, in a power cut or because its data is an older copy; the numbers are given again",
		"share", d.filter, "from_seq", d.from, "to_seq", d.to)
	layoutMu.Lock()
	defer layoutMu.Unlock()
	have, err := e.loadLayouts()
	if err != nil {
		return err
	}
	if len(have) == 0 {
		return d
	}
	if err := e.store(ctx, e.layoutsTopic(), have.again(d.from, e.bus.Stats().Journal.First)); err != nil {
		return err
	}
	return stream.ErrRestarted // so that the entry reconnects with the new layout
}
