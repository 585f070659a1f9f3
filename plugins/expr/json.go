package expr

// json.go: fromJSON, which charges for every value before it is made.

import (
	"encoding/json"

	"github.com/postbus/postbus/plugins/payload"
)

func (r *run) parseJSON(c *call, s string) any {
	r.size(len(s)) // as bytes, for Valid
	r.step(len(s) >> 3)
	if !json.Valid([]byte(s)) {
		r.fail(c.args[0], "", "%s is not JSON: %q", r.label(c.args[0]), cut(s, 40))
	}
	return payload.Value(s, budget{r})
}

// budget charges an evaluation for what package payload allocates.
type budget struct{ r *run }

func (b budget) Nested(depth int) { b.r.nested(depth) }

func (b budget) Charge(steps, bytes int) {
	b.r.step(steps)
	if bytes > 0 {
		b.r.alloc(bytes)
	}
}
