// Package expr evaluates the expressions and templates of plugin files within fixed bounds.
//
// The language is that of github.com/expr-lang/expr, whose parser reads the source. The evaluation
// is this package's own, a tree of closures over the parsed expression. To bound the library's
// evaluation every operator and builtin would have to be replaced: its equality compares deeply
// without end, its loops and concatenations aren't counted, and only some builtins count memory.
//
// What the package promises, whatever the expression and the event:
//
//   - One evaluation (of a Program, a Template or a whole Value) takes at most MaxSteps steps, at
//     most about MaxTime by the clock, and about MaxMemory bytes. Work in proportion to bytes is
//     charged in proportion to them. A text or a rendered payload has at most MaxResult bytes. Past
//     a bound the evaluation ends with an error for which errors.Is(err, ErrLimit) holds.
//   - It reads nothing but its Vars: no clock, no randomness, no files. Equal Vars give equal
//     results, unless the clock's bound is hit. sun and time are functions of Now, for the place
//     and in the zone of the Scope.
//   - It never panics, and it never changes the Vars. Results may share memory with them, so a
//     caller must copy a result before changing it.
//   - An error is an *Error with its position in the source and a text for the file's author.
//
// Programs, Templates and Values are immutable. Several goroutines may use them at once, as long as
// the maps in Vars don't change meanwhile.
//
// The package doesn't know what an event means, and it doesn't own the YAML positions: offsets are
// relative to the text it was given.
package expr

import (
	"errors"
	"time"
)

// The bounds of one evaluation.
const (
	MaxSteps  = 200_000               // a step is one operation or some dozens of bytes
	MaxTime   = 40 * time.Millisecond // checked every few thousand steps
	MaxMemory = 4 << 20               // bytes allocated in total, kept or not
	MaxResult = 1 << 20               // bytes of one text, and of rendered output
	maxNested = 1_000                 // levels of lists and maps that are rendered or compared
)

// The bounds of a source text.
const (
	MaxSource   = 8 << 10  // bytes of an expression
	MaxTemplate = 64 << 10 // bytes of a template's text
	maxHoles    = 256
	maxNodes    = 2_000 // operands and operators
	maxDepth    = 250   // of the syntax tree
	maxBrackets = 100   // nesting depth
)

// ErrLimit matches, with errors.Is, the error of an evaluation that exceeded a bound.
var ErrLimit = errors.New("evaluation limit exceeded")

// Vars are the variables of one evaluation. A nil map counts as empty.
type Vars struct {
	Event  map[string]any // the source's event
	Last   map[string]any // the last event this rule published
	State  map[string]any // the plugin's memory
	Own    map[string]any // the entry's memory for Key
	Key    string         // what the entry distinguishes events by
	Named  map[string]any // further variables, of Scope.Named
	Shared map[string]any // those of them that Named does not have
	Now    time.Time
	Host   string
	Env    map[string]string
}

// Lookup is a value whose members are found by name, as event.name["a"]. It is no value by itself.
type Lookup interface{ Lookup(name string) any }

// Scope is the set of names that an expression may use, for checking.
type Scope struct {
	Fields []string        // known fields of event; empty: any
	Open   bool            // event may have further fields
	Types  map[string]Type // of fields that declare one
	Named  map[string]Type // further variables that there are
	// Members are the names below a further variable, or below one of them, as "uses" or "uses.mode"; without an
	// entry there may be any.
	Members map[string][]string
	Absent  map[string]string // what to write to have a variable that there is not
	Env     []string          // allowed names of env; others are an error even if Vars has them

	Answer  []string // the fields of answer, which is a field of event; nil: there is no answer
	Secrets bool     // a template may contain ${secret.name}, whose value is Sealed

	At   []float64      // latitude and longitude of sun, in degrees; nil: an expression that uses sun is an error
	Zone *time.Location // of time; nil: this machine's
}

// Error is an error in an expression, found by Compile, ParseTemplate or an evaluation.
type Error struct {
	Offset, Length int    // in bytes, in the source text given to Compile or ParseTemplate
	Message        string // one line
	Hint           string // may be empty
	Path           string // in a Value that was evaluated: the part that failed, as a.b[1]
	limit          bool
	prog           *Program
}

// Error returns the message and the hint on one line.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}

// Is makes errors.Is(err, ErrLimit) work.
func (e *Error) Is(target error) bool { return target == ErrLimit && e.limit }
