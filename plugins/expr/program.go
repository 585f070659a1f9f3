package expr

// program.go: an expression from source to result.

import (
	"slices"
	"sync"

	"github.com/expr-lang/expr/ast"
)

// Program is a compiled expression.
type Program struct {
	src   string
	base  int // where src begins in the template that holds it
	root  fn
	slots int
	uses  Uses
	big   map[string]number // see parse
	tree  ast.Node
	scope Scope

	once     sync.Once // for Explain
	why      *cause
	whySlots int
}

// Uses is what an expression reads.
type Uses struct {
	Event, Last, State, Own, Key, Now, Host bool

	Clock      bool     // the time of the day: sun or time
	Fields     []string // of event, by constant name, sorted
	Whole      bool     // event as a whole too, or by names only known at run time
	LastFields []string // of last, likewise
	LastWhole  bool
	Env        []string // names, sorted
	Named      []string // of Scope.Named, sorted; "window.mean" if it is used for that member of Scope.Members only
	Secrets    []string // names, sorted
}

// Compile checks and compiles an expression. The error is an *Error.
func Compile(src string, s Scope) (*Program, error) { return compile(src, 0, s) }

// Eval evaluates the expression. A result is nil, bool, int64, float64, string, time.Time,
// time.Duration, []any or map[string]any, or a value of the event unchanged.
func (p *Program) Eval(v *Vars) (result any, err error) {
	r := begin(v)
	defer r.guard(&err)
	x := r.eval(p)
	r.checkResult(x)
	return x, nil
}

// Bool evaluates a condition. A result that is neither true nor false is an error.
func (p *Program) Bool(v *Vars) (ok bool, err error) {
	r := begin(v)
	defer r.guard(&err)
	x := r.eval(p)
	ok, is := x.(bool)
	if !is {
		e := &Error{Offset: p.base, Length: len(p.src), Message: "is " + r.describe(x), Hint: "want true or false", prog: p}
		if x == nil {
			e.Message = "is missing (nil)"
		}
		panic(e)
	}
	return ok, nil
}

// Uses returns what the expression reads.
func (p *Program) Uses() Uses { return p.uses }

// String returns the source.
func (p *Program) String() string { return p.src }

// Merge adds what another expression reads.
func (u *Uses) Merge(o Uses) {
	u.Event, u.Last, u.State = u.Event || o.Event, u.Last || o.Last, u.State || o.State
	u.Own, u.Key = u.Own || o.Own, u.Key || o.Key
	u.Now, u.Host, u.Whole, u.LastWhole = u.Now || o.Now, u.Host || o.Host, u.Whole || o.Whole, u.LastWhole || o.LastWhole
	u.Fields, u.LastFields = union(u.Fields, o.Fields), union(u.LastFields, o.LastFields)
	u.Env, u.Named = union(u.Env, o.Env), union(u.Named, o.Named)
	u.Clock, u.Secrets = u.Clock || o.Clock, union(u.Secrets, o.Secrets)
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
