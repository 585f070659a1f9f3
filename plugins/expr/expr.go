// Package expr evaluates the expressions and templates of plugin files within fixed bounds.
//
// The language is that of github.com/expr-lang/expr: its parser reads the source. The evaluation is
// this package's own, a tree of closures over the parsed expression, because every operator and
// builtin of the library would have to be replaced to bound it: its equality compares deeply without
// end, its loops and concatenations aren't counted, and only some builtins count memory.
//
// What the package promises, whatever the expression and the event:
//
//   - One evaluation (of a Program, a Template or a whole Value) takes at most MaxSteps steps, where
//     work in proportion to bytes is charged in proportion to them, at most about MaxTime by the
//     clock, and about MaxMemory bytes. A text or a rendered payload has at most MaxResult bytes.
//     Past a bound it ends with an error for which errors.Is(err, ErrLimit) holds.
//   - It reads nothing but its Vars: no clock, no randomness, no files. Equal Vars give equal
//     results, unless the clock's bound is hit.
//   - It never panics, and it never changes the Vars. Results may share memory with them: whoever
//     changes a result must copy it first.
//   - A mistake is an *Error that says where in the source it is, in words for the file's author.
//
// Programs, Templates and Values can't be changed and may be used by several goroutines at once, as
// long as nobody changes the maps in Vars meanwhile.
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
	MaxTime   = 40 * time.Millisecond // looked at every few thousand steps
	MaxMemory = 4 << 20               // bytes allocated in all, kept or not
	MaxResult = 1 << 20               // bytes of one text, and of what is rendered
	maxNested = 1_000                 // levels of lists and maps in what is rendered or compared
)

// The bounds of a source text.
const (
	MaxSource   = 8 << 10  // bytes of an expression
	MaxTemplate = 64 << 10 // bytes of a template's text
	maxHoles    = 256
	maxNodes    = 2_000 // operands and operators
	maxDepth    = 250   // of the syntax tree
	maxBrackets = 100   // one in the other
)

// ErrLimit is what errors.Is finds in an error that says that an evaluation went past a bound.
var ErrLimit = errors.New("limit of an evaluation")

// Vars are the variables of one evaluation. A nil map is an empty one.
type Vars struct {
	Event map[string]any // the source's event
	Last  map[string]any // the last event this rule published
	State map[string]any // per-plugin memory
	Now   time.Time
	Host  string
	Env   map[string]string
}

// Scope is what names an expression may use, for checking.
type Scope struct {
	Fields []string        // known fields of event; empty: any
	Open   bool            // event may have fields besides
	Types  map[string]Type // of fields that are declared with one
	Env    []string        // allowed names of env; others are an error even if Vars has them
}

// Error is a mistake in an expression, found by Compile, ParseTemplate or an evaluation.
type Error struct {
	Offset, Length int    // in bytes, in the source text given to Compile or ParseTemplate
	Message        string // one line
	Hint           string // may be empty
	Path           string // in a Value that was evaluated: which part failed, as a.b[1]
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
