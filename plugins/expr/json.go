package expr

// json.go: fromJSON, which charges for every value it makes before it makes it.

import (
	"encoding/json"
	"strconv"
	"strings"
)

// decoder reads text that is known to be valid JSON.
type decoder struct {
	r *run
	s string
	i int
}

func (r *run) parseJSON(c *call, s string) any {
	r.size(len(s)) // as bytes, for Valid
	r.step(len(s) >> 3)
	if !json.Valid([]byte(s)) {
		r.fail(c.args[0], "", "%s is not JSON: %q", r.label(c.args[0]), cut(s, 40))
	}
	d := decoder{r: r, s: s}
	return d.value(0)
}

func (d *decoder) space() byte {
	for d.s[d.i] == ' ' || d.s[d.i] == '\t' || d.s[d.i] == '\n' || d.s[d.i] == '\r' {
		d.i++
	}
	return d.s[d.i]
}

func (d *decoder) value(depth int) any {
	d.r.nested(depth)
	d.r.step(1)
	switch d.space() {
	case '{':
		return d.object(depth)
	case '[':
		d.i++
		list := []any{}
		for d.space() != ']' {
			list = d.r.push(list, d.value(depth+1))
			if d.space() == ',' {
				d.i++
			}
		}
		d.i++
		return list
	case '"':
		return d.text()
	case 't':
		d.i += len("true")
		return true
	case 'f':
		d.i += len("false")
		return false
	case 'n':
		d.i += len("null")
		return nil
	}
	from := d.i
	for d.i < len(d.s) && strings.IndexByte("+-.0123456789eE", d.s[d.i]) >= 0 {
		d.i++
	}
	number := d.s[from:d.i]
	d.r.step(len(number) >> 4)
	d.r.alloc(8)
	if i, err := strconv.ParseInt(number, 10, 64); err == nil {
		return i
	}
	f, _ := strconv.ParseFloat(number, 64)
	return f
}

func (d *decoder) object(depth int) any {
	d.i++
	m := map[string]any{}
	d.r.alloc(64)
	for d.space() != '}' {
		key := d.text()
		d.space()
		d.i++ // the colon
		if len(m) == 0 {
			d.r.alloc(250)
		}
		d.r.entry()
		m[key] = d.value(depth + 1)
		if d.space() == ',' {
			d.i++
		}
	}
	d.i++
	return m
}

func (d *decoder) text() string {
	d.space()
	from, plain := d.i, true
	for d.i++; d.s[d.i] != '"'; d.i++ {
		if d.s[d.i] == '\\' {
			d.i++
			plain = false
		}
		if d.s[d.i] >= 0x80 {
			plain = false // perhaps not UTF-8
		}
	}
	d.i++
	d.r.alloc(16 + d.i - from)
	if plain {
		return d.s[from+1 : d.i-1]
	}
	d.r.alloc(256 + d.i - from)
	d.r.step(8 + (d.i-from)>>3)
	var s string
	if json.Unmarshal([]byte(d.s[from:d.i]), &s) != nil {
		return d.s[from+1 : d.i-1]
	}
	return s
}
