package expr

// run.go: one evaluation: its budget, its memory of slots, and how it reports errors.

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/expr-lang/expr/ast"
)

// fn is a compiled expression. It reports errors by a panic with *Error, which (*run).guard
// recovers.
type fn func(*run) any

// maxTime is MaxTime; tests about something different raise it.
var maxTime = MaxTime

// chunk is how many steps pass between two checks of the clock.
const chunk = 4096

// run is one evaluation. The pool reuses it, so it must not retain anything of an evaluation: see
// end.
type run struct {
	v     *Vars
	fuel  int       // steps left of the chunk taken from left
	left  int       // steps left beside fuel
	mem   int       // bytes left
	clock time.Time // at the last check
	took  time.Duration
	prog  *Program // whose source an error's offset refers to
	slots []any    // let variables and the element, index and accumulator of every loop
	args  []any    // a stack of arguments
	buf   []byte   // for texts being built
}

var runs = sync.Pool{New: func() any { return new(run) }}

func begin(v *Vars) *run {
	r := runs.Get().(*run)
	if v == nil {
		v = &Vars{}
	}
	r.v, r.fuel, r.left, r.mem, r.clock, r.took = v, chunk, MaxSteps-chunk, MaxMemory, time.Time{}, 0
	return r
}

func (r *run) end() {
	clear(r.slots[:cap(r.slots)])
	clear(r.args[:cap(r.args)])
	r.slots, r.args, r.buf, r.v, r.prog = r.slots[:0], r.args[:0], r.buf[:0], nil, nil
	if cap(r.buf) > 64<<10 || cap(r.args) > 1024 || cap(r.slots) > 1024 {
		return // a rare giant is not worth keeping
	}
	runs.Put(r)
}

// guard turns a panic into an error. Every entry point defers it.
func (r *run) guard(err *error) {
	switch x := recover().(type) {
	case nil:
	case *Error:
		*err = x
	case runtime.Error:
		*err = &Error{Message: "can't be evaluated: " + strings.TrimPrefix(x.Error(), "runtime error: ")}
	default:
		*err = &Error{Message: fmt.Sprint("can't be evaluated: ", x)}
	}
	r.end()
}

// eval evaluates one program within the run's budget.
func (r *run) eval(p *Program) any {
	r.prog = p
	r.reserve(p.slots)
	return p.root(r)
}

func (r *run) reserve(slots int) {
	if slots > cap(r.slots) {
		r.slots = make([]any, slots)
	}
	r.slots = r.slots[:max(slots, len(r.slots))]
}

// step charges n steps.
func (r *run) step(n int) {
	r.fuel -= n
	if r.fuel < 0 {
		r.refuel()
	}
}

// refuel takes the next chunks of steps, and checks the clock, because steps may be slow on a small
// machine. A chunk counts for at most 10 ms, so that a process that wasn't scheduled for a while
// doesn't fail for it.
func (r *run) refuel() {
	chunks := 0
	for r.fuel < 0 {
		if r.left <= 0 {
			r.limit("took more than 200,000 steps", "simplify it or split the list")
		}
		n := min(chunk, r.left)
		r.left -= n
		r.fuel += n
		chunks++
	}
	now := time.Now()
	if !r.clock.IsZero() {
		r.took += min(now.Sub(r.clock), time.Duration(chunks)*10*time.Millisecond)
	}
	r.clock = now
	if r.took > maxTime {
		r.limit("took longer than 40 ms", "simplify it or split the list")
	}
}

// touch charges for reading n bytes once.
func (r *run) touch(n int) { r.step(1 + n>>5) }

// alloc charges for n bytes of memory.
func (r *run) alloc(n int) {
	r.mem -= n
	if r.mem < 0 || n < 0 {
		r.limit("needs more than 4MiB of memory", "simplify it or split the list")
	}
	r.step(n >> 6)
}

// size charges for a text of n bytes before it is made.
func (r *run) size(n int) {
	if n > MaxResult || n < 0 {
		r.limit("result is larger than 1MiB", "")
	}
	r.alloc(n)
	r.step(n >> 6)
}

// items charges for a list of n elements before it is made.
func (r *run) items(n int) {
	if n > MaxResult/16 || n < 0 {
		r.limit("result is larger than 1MiB", "")
	}
	r.alloc(n*16 + 24)
	r.step(n >> 3)
}

// entries charges for a map of n keys before it is made. Go's maps begin with room for eight.
func (r *run) entries(n int) {
	if n > MaxResult/16 || n < 0 {
		r.limit("result is larger than 1MiB", "")
	}
	r.alloc(n*80 + 300)
	r.step(n)
}

// entry charges for one more key in a map that grows.
func (r *run) entry() {
	r.alloc(100)
	r.step(1)
}

func (r *run) limit(message, hint string) {
	e := &Error{Message: message, Hint: hint, limit: true, prog: r.prog}
	if r.prog != nil {
		e.Offset, e.Length = r.prog.base, len(r.prog.src)
	}
	panic(e)
}

// fail ends the evaluation with an error at n.
func (r *run) fail(n ast.Node, hint, format string, args ...any) {
	e := &Error{Message: fmt.Sprintf(format, args...), Hint: hint, prog: r.prog}
	if p := r.prog; p != nil && n != nil {
		e.Offset, e.Length = errorSpan(p.src, n)
		e.Offset += p.base
	}
	panic(e)
}
