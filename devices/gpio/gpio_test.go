package gpio

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

func TestOptionsSayWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"no line":        {Options{}, "lines: no line is named"},
		"line and lines": {Options{Line: "GPIO1", Lines: []Line{"GPIO2"}}, "lines: line and lines are both set"},
		"twice":          {Options{Lines: []Line{"GPIO2", "GPIO2"}}, "lines: GPIO2 is listed twice"},
		"too many":       {Options{Lines: numbers(65)}, "lines: 65 lines are more than the 64 of one request"},
		"count, initial": {Options{Line: "1", Initial: true, Count: &Count{Every: 1}}, "initial: a count has no initial value"},
		"good":           {Options{Line: "GPIO1"}, ""},
		"good list":      {Options{Lines: numbers(64)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, err := range c.o.Check() {
				e := err.(*kind.OptionError)
				if e.Hint() == "" {
					t.Error("there is no hint")
				}
				got = append(got, e.Key()+": "+e.Error())
			}
			if s := strings.Join(got, "\n"); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
		})
	}
}

func numbers(n int) (list []Line) {
	for i := range n {
		list = append(list, Line(fmt.Sprint(i)))
	}
	return list
}

func TestClaimsAreAsWritten(t *testing.T) {
	o := Options{Lines: []Line{"GPIO17", "4"}}
	if got := fmt.Sprint(o.Claims()); got != "[gpio:*/GPIO17 gpio:*/4]" {
		t.Error(got)
	}
	a := ActionOptions{Line: "GPIO17", Chip: "gpiochip0"}
	if got := fmt.Sprint(a.Claims(), a.Access()); got != "[gpio:gpiochip0/GPIO17] [device:/dev/gpiochip0]" {
		t.Error(got)
	}
}

func TestWordsOfAFile(t *testing.T) {
	chips := map[string]string{"0": "gpiochip0", "/dev/gpiochip4": "gpiochip4", "pinctrl-rp1": "pinctrl-rp1", "": "!", strings.Repeat("x", 40): "!"}
	for in, want := range chips {
		var c Chip
		if err := c.UnmarshalText([]byte(in)); (err != nil) != (want == "!") || err == nil && string(c) != want {
			t.Errorf("chip %q: %q, %v", in, c, err)
		}
	}
	levels := map[string]string{"on": "on", "1": "on", "TRUE": "on", "off": "off", "0": "off", "keep": "keep", "2": "!", "": "!", "yes": "!"}
	for in, want := range levels {
		var l Level
		if err := l.UnmarshalText([]byte(in)); (err != nil) != (want == "!") || err == nil && string(l) != want {
			t.Errorf("level %q: %q, %v", in, l, err)
		}
	}
	for in, want := range map[string]bool{"GPIO17": true, "17": true, " ": false, strings.Repeat("x", 32): false} {
		var l Line
		if err := l.UnmarshalText([]byte(in)); (err == nil) != want {
			t.Errorf("line %q: %v", in, err)
		}
	}
}

func TestLevelOfAnEvent(t *testing.T) {
	for _, c := range []struct {
		args Args
		want string
	}{
		{Args{Value: true}, "1"}, {Args{Value: 0}, "0"}, {Args{Value: int64(1)}, "1"}, {Args{Value: 1.0}, "1"}, {Args{Value: " ON "}, "1"}, {Args{Value: "off"}, "0"},
		{Args{Pulse: 1}, "1"}, {Args{Value: "off", Pulse: 1}, "0"},
		{Args{}, "value is missing: write value: on, or pulse: 500ms"},
		{Args{Value: 2}, `value: "2" is not a level: on, off, 1, 0, true or false`},
		{Args{Value: 0.5}, `value: "0.5" is not a level: on, off, 1, 0, true or false`},
		{Args{Value: []any{1}}, `value: [1] is not a level: on, off, 1, 0, true or false`},
		{Args{Value: strings.Repeat("é", 100)}, `value: "` + strings.Repeat("é", 29) + `… is not a level: on, off, 1, 0, true or false`},
	} {
		l, err := c.args.level()
		got := fmt.Sprint(l)
		if err != nil {
			got = err.Error()
			if !kind.IsPermanent(err) {
				t.Errorf("%v: a retry cannot help, but the error is not permanent", c.args)
			}
		}
		if got != c.want {
			t.Errorf("%v: got %s, want %s", c.args, got, c.want)
		}
	}
}

func TestGaps(t *testing.T) {
	var g gaps
	got := []int64{}
	for _, seq := range []uint32{1, 2, 5, 6, 4294967295, 0, 2} {
		if seq == 4294967295 {
			g.last = 4294967294
		}
		got = append(got, g.before(seq))
	}
	if want := []int64{0, 0, 2, 0, 0, 0, 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTally(t *testing.T) {
	ms := func(n int) time.Duration { return time.Hour + time.Duration(n)*time.Millisecond }
	var y tally
	report := func() string {
		n, hz := y.report()
		return fmt.Sprint(n, " ", y.total, " ", hz)
	}
	steps := []struct {
		edges [][2]int // milliseconds, number
		want  string
	}{
		{nil, "0 0 0"},
		{[][2]int{{0, 1}}, "1 1 <nil>"},               // one edge has no frequency yet
		{[][2]int{{100, 2}, {200, 3}}, "2 3 10"},      // measured from the previous edge
		{nil, "0 3 0"},                                //
		{[][2]int{{1200, 4}}, "1 4 1"},                // a slow signal
		{[][2]int{{1300, 10}}, "6 10 60"},             // five were lost, and count
		{[][2]int{{1300, 11}}, "1 11 <nil>"},          // two at one moment: no division by zero
		{[][2]int{{1400, 12}, {1500, 13}}, "2 13 10"}, //
	}
	for i, s := range steps {
		for _, e := range s.edges {
			y.add(edge{clock: ms(e[0]), lineSeq: uint32(e[1])})
		}
		if got := report(); got != s.want {
			t.Errorf("step %d: got %s, want %s", i, got, s.want)
		}
	}
	y = tally{}
	for i, n := range []int{8, 9, 10} { // the first seven were lost: their time is unknown
		y.add(edge{clock: ms(100 * i), lineSeq: uint32(n)})
	}
	if got := report(); got != "10 10 10" {
		t.Errorf("after a loss at the start: %s", got)
	}
}
