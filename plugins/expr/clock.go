package expr

// clock.go: sun and time, which are functions of now: of the place and in the zone of the scope.

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/postbus/postbus/plugins/internal/sun"
)

// clockNames are the names below sun and time. A let variable may hide both: files of before may
// have such names.
var clockNames = map[string][]string{
	"sun":  {"up", "elevation"},
	"time": {"hour", "minute", "weekday"},
}

var clockTypes = map[string]Type{
	"sun.up": TypeBool, "sun.elevation": TypeNumber, "time.hour": TypeNumber, "time.minute": TypeNumber, "time.weekday": TypeText,
}

// weekdays are the values of time.weekday, as in cron.
var weekdays = [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// sunSteps is the cost of a position of the sun: some hundred sines.
const sunSteps = 64

// clock compiles sun.NAME and time.NAME.
func (c *compiler) clock(root *ast.IdentifierNode, name *ast.StringNode) fn {
	c.nodes++
	known := clockNames[root.Value]
	if !slices.Contains(known, name.Value) {
		hint := didYouMean(name.Value, known, true)
		if hint == "" {
			hint = "write " + belowClock(root.Value)
		}
		c.fail(name, hint, "%s has no %q", root.Value, cut(name.Value, 40))
	}
	c.uses.Now, c.uses.Clock = true, true
	if root.Value == "sun" {
		return c.sun(root, name.Value)
	}
	zone := c.scope.Zone
	if zone == nil {
		zone = time.Local
	}
	return func(r *run) any {
		r.step(4)
		switch t := r.v.Now.In(zone); name.Value {
		case "hour":
			return int64(t.Hour())
		case "minute":
			return int64(t.Minute())
		default:
			return weekdays[t.Weekday()]
		}
	}
}

func (c *compiler) sun(root ast.Node, name string) fn {
	if len(c.scope.At) != 2 {
		c.fail(root, "write location: [latitude, longitude] in postbus.yaml", "sun needs a location")
	}
	place := sun.Place{Latitude: c.scope.At[0], Longitude: c.scope.At[1]}
	return func(r *run) any {
		r.step(sunSteps)
		elevation := place.Elevation(r.v.Now)
		switch {
		case math.IsNaN(elevation):
			return nil
		case name == "up":
			return elevation > sun.Horizon
		}
		return math.Round(elevation*1000) / 1000
	}
}

// clockAlone fails because sun or time is used without a name below it.
func (c *compiler) clockAlone(n *ast.IdentifierNode) {
	hint := "write " + belowClock(n.Value)
	if slices.Contains(c.scope.Fields, n.Value) {
		hint = "did you mean event." + n.Value + "?"
	}
	c.fail(n, hint, "%s is not a value", n.Value)
}

// belowClock lists the names of a root as texts: "sun.up or sun.elevation".
func belowClock(root string) string {
	var all []string
	for _, name := range clockNames[root] {
		all = append(all, root+"."+name)
	}
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " or " + all[last]
}

// clockMember returns the name of n, as "sun.up", if it is one of sun or time.
func (c *compiler) clockMember(n ast.Node) string {
	m, ok := n.(*ast.MemberNode)
	if !ok {
		return ""
	}
	id, isID := m.Node.(*ast.IdentifierNode)
	name, byName := m.Property.(*ast.StringNode)
	if !isID || !byName || clockNames[id.Value] == nil || c.isLet(id.Value) {
		return ""
	}
	return id.Value + "." + name.Value
}

// weekday fails when time.weekday is compared with what no day is called: "Saturday", 6.
func (c *compiler) weekday(day, other ast.Node) {
	if c.clockMember(day) != "time.weekday" {
		return
	}
	const are = "the days are mon, tue, wed, thu, fri, sat and sun"
	switch o := other.(type) {
	case *ast.ArrayNode:
		for _, x := range o.Nodes {
			c.weekday(day, x)
		}
	case *ast.StringNode:
		if slices.Contains(weekdays[:], o.Value) {
			return
		}
		hint := are
		for _, d := range weekdays {
			if strings.HasPrefix(strings.ToLower(o.Value), d) {
				hint = fmt.Sprintf("write %q; %s", d, are)
			}
		}
		c.fail(o, hint, "no day of the week is called %q", cut(o.Value, 40))
	case *ast.IntegerNode, *ast.FloatNode:
		c.fail(other, are, "time.weekday is a text, not a number")
	case *ast.BinaryNode:
		if o.Operator == ".." {
			c.fail(other, are, "time.weekday is a text, not a number")
		}
	}
}
