package bus

// This file brings in what another bus has: its events, its retained values, and how far its lanes are
// passed over. The records are appended like any other; whether they count is decided when they are
// folded, so that of an event that arrives twice one counts, however the two race.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

// FleetSource is how the sources of events of other buses begin: @fleet/<bus>/<source>. No client
// identifier begins so.
const FleetSource = "@fleet/"

// MaxBusName is the maximum length of another bus's name in bytes.
const MaxBusName = 64

// Bounds on a lane's name in bytes: the epoch of a journal, and a name in it.
const (
	epochSize = 16
	minLane   = epochSize + 1
)

// latestStamp is the highest stamp that is accepted. A stamp behind it is a fault.
const latestStamp = journal.LatestStamp

// ImportKind is what an Imported is.
type ImportKind uint8

// The kinds of imports.
const (
	// ImportEvent is an event. It counts if its number is higher than the last one of its lane, which
	// it then is.
	ImportEvent ImportKind = iota + 1
	// ImportValue is a retained value that the other bus offers, an empty payload for one that was
	// cleared. It counts if it is newer, by its stamp, than what this bus has for the topic, and if the
	// event of its lane and number is not to come: that number is not higher than the last one of the
	// lane. It does not change that. Its lane may be empty, or have no name behind the epoch: then its
	// stamp alone decides.
	ImportValue
	// ImportPassed says that the lane's events up to the number do not come any more.
	ImportPassed
)

// Imported is something that this bus learned from another one.
type Imported struct {
	What ImportKind
	Bus  string // the other bus's name; up to MaxBusName bytes, without a slash
	// Record is as the other bus had it: Source, Topic, Flags, Props, Payload and Stamp. Expiry is what
	// is left of it in seconds. Lane, Number and At are those of the event. Of ImportPassed only Lane and
	// Number count. Nothing else of it is used.
	Record journal.Record
	// Lost is how many events before Number, at most, are lost for this bus: of ImportPassed. They are
	// reported on $bus/lost.
	Lost uint64
}

// ImportError says which element of a list can't be imported. Nothing of the list was.
type ImportError struct {
	Index int
	Err   error
}

func (e *ImportError) Error() string { return fmt.Sprintf("import %d: %v", e.Index, e.Err) }

func (e *ImportError) Unwrap() error { return e.Err }

// Import appends a list in its order, with no other record between. It may be acknowledged to the other
// bus when the Pending, that of the last record, is done without an error. What this bus has seen
// before is left out; if that is all, the Pending is done. Errors: *ImportError, whose cause may be a
// *LimitError; *Unavailable and ErrClosed.
func (b *Bus) Import(list ...Imported) (Pending, error) {
	if b.stopping() {
		return Pending{}, ErrClosed
	}
	now := time.Now().UnixNano()
	records := make([]*journal.Record, 0, len(list))
	for i := range list {
		m := &list[i]
		if err := m.checkOrigin(); err != nil {
			return Pending{}, &ImportError{i, err}
		}
		if b.known(m) {
			continue
		}
		if err := b.checkImport(m); err != nil {
			return Pending{}, &ImportError{i, err}
		}
		r, err := m.record(now)
		if err != nil {
			return Pending{}, &ImportError{i, err}
		}
		records = append(records, r)
	}
	if len(records) == 0 {
		return Pending{}, nil
	}
	return b.journal.AppendAll(records...)
}

// SeenUpTo returns the number of the last event of a lane that the bus has, and whether the lane is
// known. Records that are not folded yet don't count.
func (b *Bus) SeenUpTo(lane []byte) (number uint64, known bool) { return b.lanes.seen(lane) }

// known reports whether the fold would refuse an import by what it has seen already. That is durable, so
// the import needs no record, which would be void.
func (b *Bus) known(m *Imported) bool {
	if m.What != ImportValue {
		seen, known := b.lanes.seen(m.Record.Lane)
		return known && m.Record.Number <= seen
	}
	st, _ := b.retained.stampOf(m.Record.Topic)
	return st.at != 0 && stampIn(&m.Record).compare(st) <= 0
}

// checkImport returns what is wrong with the event or the value.
func (b *Bus) checkImport(m *Imported) error {
	r := &m.Record
	if m.What == ImportPassed {
		return nil
	}
	if r.Stamp < 0 || r.Stamp > latestStamp {
		return fmt.Errorf("stamp %d: must be 0, or Unix nanoseconds before the year 2200", r.Stamp)
	}
	if bytes.HasPrefix(r.Topic, []byte{'$'}) {
		return fmt.Errorf("topic %.80q: topics that begin with $ belong to one bus", r.Topic)
	}
	if n := len(importSource(m.Bus, r.Source)); n > journal.MaxName {
		return fmt.Errorf("source of %d bytes: at most %d are accepted", n, journal.MaxName)
	}
	e := Event{QoS: r.Flags & flagQoS, Topic: string(r.Topic), Payload: r.Payload, Properties: r.Props}
	if err := e.check(b.limits.Load().MaxPayload); err != nil {
		return err
	}
	return b.admit(&journal.Record{Flags: r.Flags | m.retain(), Topic: r.Topic, Payload: r.Payload})
}

// retain is the flag that a value has, whatever its record says.
func (m *Imported) retain() uint8 {
	if m.What == ImportValue {
		return flagRetain
	}
	return 0
}

// checkOrigin returns what is wrong with where an import comes from.
func (m *Imported) checkOrigin() error {
	if err := checkBusName(m.Bus); err != nil {
		return err
	}
	n, number := len(m.Record.Lane), m.Record.Number
	switch {
	case m.What < ImportEvent || m.What > ImportPassed:
		return fmt.Errorf("kind %d: not known", m.What)
	case n > journal.MaxLane:
		return fmt.Errorf("lane of %d bytes: at most %d are accepted", n, journal.MaxLane)
	case m.What == ImportValue && m.Record.Stamp == 0:
		return errors.New("a value that is offered needs a stamp")
	case m.What == ImportValue && (n == 0 || n == epochSize):
		if number != 0 {
			return fmt.Errorf("number %d without a lane", number)
		}
		return nil
	case n < minLane:
		return fmt.Errorf("lane of %d bytes: it is an epoch of %d bytes and a name", n, epochSize)
	case number == 0:
		return errors.New("number 0: numbers begin at 1")
	}
	return nil
}

func checkBusName(name string) error {
	switch {
	case name == "" || len(name) > MaxBusName:
		return fmt.Errorf("name of a bus of %d bytes: it has 1 to %d", len(name), MaxBusName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("/+#", r) }):
		return fmt.Errorf("name of a bus %q: it has no space, control character, / + or #", name)
	}
	return topic.CheckName(name)
}

// passedRecord is the payload of kindPassed.
type passedRecord struct {
	Lost uint64 `json:"l,omitempty"`
}

// record returns the record of an import. It shares memory with it.
func (m *Imported) record(now int64) (*journal.Record, error) {
	o := &m.Record
	r := &journal.Record{Time: now, Expiry: journal.NoExpiry, Lane: o.Lane, Number: o.Number, At: o.At}
	if m.What == ImportPassed {
		r.Kind, r.Source, r.At = kindPassed, []byte(importSource(m.Bus, nil)), 0
		var err error
		if m.Lost > 0 {
			r.Payload, err = json.Marshal(passedRecord{m.Lost})
		}
		return r, err
	}
	r.Kind = journal.KindImported
	if m.What == ImportValue {
		r.Kind = journal.KindOffered
	}
	r.Source = []byte(importSource(m.Bus, o.Source))
	r.Flags, r.Expiry, r.Stamp = o.Flags|m.retain(), o.Expiry, o.Stamp
	r.Topic, r.Props, r.Payload = o.Topic, o.Props, o.Payload
	return r, nil
}

// importSource is the source of what another bus has.
func importSource(bus string, source []byte) string { return FleetSource + bus + "/" + string(source) }

// busOf returns the name of the bus that a record comes from; "" for one of this bus.
func busOf(source []byte) string {
	rest, ok := bytes.CutPrefix(source, []byte(FleetSource))
	if !ok {
		return ""
	}
	name, _, _ := bytes.Cut(rest, []byte{'/'})
	return string(name)
}

// passLane folds that events of a lane do not come any more.
func (b *Bus) passLane(r *journal.Record, replaying bool) error {
	var p passedRecord
	if len(r.Payload) > 0 {
		if err := json.Unmarshal(r.Payload, &p); err != nil {
			return err
		}
	}
	name := busOf(r.Source)
	before, moved := b.lanes.pass(r.Lane, name, r.Number, r.Seq)
	if lost := min(p.Lost, r.Number-before); moved && lost > 0 && !replaying {
		b.ReportLoss(FleetSource+name, "not kept by the hub", lost)
	}
	return nil
}

// acceptImport decides whether an event of another bus counts. Records before it in the journal alone
// decide, so that every replay decides alike.
func (b *Bus) acceptImport(r *journal.Record) bool {
	if r.Kind == journal.KindImported {
		_, moved := b.lanes.pass(r.Lane, busOf(r.Source), r.Number, r.Seq)
		return moved
	}
	seen, _ := b.lanes.seen(r.Lane)
	return r.Number <= seen && b.offerWins(r)
}
