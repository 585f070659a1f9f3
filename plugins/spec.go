package plugins

// This file is a checked plugin file, ready to run. check.go makes it.

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/kind"
)

// Spec is a plugin file without mistakes.
type Spec struct {
	ID          string
	File        string // its name for people
	Hash        string // of the content, hex
	About       string // "description" of the file
	sources     []*sourceSpec
	types       map[string]reflect.Type // of the fields that they declare
	rules       []*rule
	tests       []inlineTest
	permissions permissions
	access      []string   // the resources that it accesses, besides topics
	warnings    []string   // each with its position
	runs        [][]string // the commands of the exec entries in access
	approved    string     // the approval that allows it to run; "" if it needs none
	reads       []string   // the filters that it subscribes to

	uses   []useSpec
	tables map[string]any // what expressions see; nil: none

	perLimit   int           // keys
	perIdle    time.Duration // a key without events is forgotten after this time
	stateLimit int           // bytes of all keys' states
}

// Warnings are allowed settings that may be a mistake, each with its position.
func (s *Spec) Warnings() []string { return s.warnings }

// sourceSpec is one configured source.
type sourceSpec struct {
	kind    *kind.Kind
	options any // a struct of the kind's type
	urls    map[string]urlSpec
	hash    string // of kind and options: equal sources may stay open
	scripts string // the approved contents of its scripts, see contents
	claims  []string
	uses    []string // filters of "uses", which it hears as well
	record  bool     // its events are mapped from the journal
	line    int
}

// rule is one entry of "publish" or "actions".
type rule struct {
	label  string // "publish[0]"
	line   int
	when   *expr.Program // nil: always
	rate   *rateSpec
	set    []setting
	topic  *topicSpec // nil for an action, and for an entry that only sets state
	qos    byte
	retain bool
	expiry time.Duration // of the message; 0: never
	body   *expr.Value   // nil: the whole event
	tree   bool          // the body is a mapping or a list in the file
	action *actionSpec
	// answerTo is the key of the action whose answers are its events; "": those of the sources are.
	answerTo string
	ha       *homeAssistant

	perKind   perKind
	per       *expr.Template // of perText
	perSource string         // and its text
	perSaid   bool           // the file says what the key is
	changed   *changedSpec   // nil: any event passes
	wait      waitSpec
	keepLast  bool          // of the rate: its last event is kept, not the first
	each      *expr.Program // nil: the event is one
	setOwn    []setting

	content string // identifies the entry's text
	ident   string // identifies the entry in all versions of the file
	keyed   bool   // it keeps something for each key
	durable bool   // which is stored

	uses expr.Uses // of all its expressions

	usesLast, usesOwn, usesKey, usesClock, lastWhole, laterWhole bool
	lastFields, laterFields                                      []string // of events that are kept
}

// setting writes one name of the plugin's state.
type setting struct {
	name  string
	value expr.Value
}

// topicSpec is the topic that a rule publishes to.
type topicSpec struct {
	text     string // as in the file
	template *expr.Template
	constant string // the topic itself if nothing is filled in
	sample   string // a topic of this form
	slashes  int    // in the literal text
	empty    int    // empty levels in the file's text
	remote   bool   // it is another broker's
	match    *regexp.Regexp
}

// actionSpec is one configured action. Its queue and cursor are named by key, which remains the
// same when the file is edited.
type actionSpec struct {
	key     string
	kind    *kind.Kind
	options any
	args    expr.Value
	dynamic []dynamicArg          // the arguments that depend on the event
	topics  map[string]*topicSpec // the arguments that are topics
	urls    map[string]urlSpec    // the options and arguments that are URLs
	hash    string                // of kind, options, retry
	scripts string                // the approved contents of its scripts, see contents
	claims  []string
	expires time.Duration
	retry   retrySpec

	answers     bool     // there are entries for its answers
	eventFields []string // that those read of the job's event
	eventWhole  bool
}

type retrySpec struct {
	attempts int
	min, max time.Duration // the wait doubles from min to max
}

// attempt names an attempt: "attempt 2 of 10", or "attempt 2" of an action that is retried without end.
func (r retrySpec) attempt(n int) string {
	if r.attempts == endless {
		return fmt.Sprintf("attempt %d", n)
	}
	return fmt.Sprintf("attempt %d of %d", n, r.attempts)
}

// rateSpec is "n/duration": at most n events in that time.
type rateSpec struct {
	n   int
	per time.Duration
}

type permissions struct {
	by      map[string][]string // category -> patterns; an absent category has the derived rights
	publish []string            // nil: the file does not limit it
}

// Approval lists the accesses that need a user's consent.
func (s *Spec) Approval() []string { return accessOf(s.access, "exec", "input", "power") }

// claims lists the plugin's resources that allow one owner.
func (s *Spec) claims() []string {
	var all []string
	for _, src := range s.sources {
		all = append(all, src.claims...)
	}
	for _, r := range s.rules {
		if r.action != nil {
			all = append(all, r.action.claims...)
		}
	}
	return all
}

// owns reports whether a retained topic can belong to this file.
func (s *Spec) owns(topic string) bool {
	for _, r := range s.rules {
		if r.ha != nil && r.ha.owns(s.ID, r, topic) {
			return true
		}
		if r.topic != nil && r.retain && r.topic.match.MatchString(topic) {
			return true
		}
	}
	for _, src := range s.sources { // unchanged events can have any topic, see passes
		if src.kind.Passthrough && s.passes() {
			return true
		}
	}
	return false
}

// passes reports whether events are published unchanged.
func (s *Spec) passes() bool {
	for _, r := range s.rules {
		if r.topic != nil && r.answerTo == "" {
			return false
		}
	}
	return true
}

// Tests is the number of tests in the file, which all passed.
func (s *Spec) Tests() int { return len(s.tests) }

// Flow is the origin and the destinations of events, on one line.
func (s *Spec) Flow() string {
	var from, to []string
	for _, src := range s.sources {
		if src.kind != usesKind && src.kind != recordedKind {
			from = append(from, src.kind.Name)
		}
	}
	for _, r := range s.rules {
		switch {
		case r.topic != nil:
			to = append(to, r.topic.text)
		case r.action != nil:
			to = append(to, r.action.key)
		}
	}
	if s.passes() && len(to) == 0 {
		to = []string{"as they come"}
	}
	if len(to) > 3 {
		to = append(to[:3], "…")
	}
	return strings.Join(from, ", ") + " → " + strings.Join(to, ", ")
}

// Claim adds the plugin's resources that allow one owner to taken. An error names both files.
func (s *Spec) Claim(taken map[string]string, file string) error {
	return claim(taken, file, s.claims())
}
