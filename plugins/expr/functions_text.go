package expr

// functions_text.go: functions on texts. Each charges for the bytes that it reads and writes.

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

var textFunctions = map[string]*function{
	"upper":       {1, 1, "text", cased(unicode.ToUpper)},
	"lower":       {1, 1, "text", cased(unicode.ToLower)},
	"trim":        {1, 2, "text, characters", trim},
	"trimPrefix":  {1, 2, "text, prefix", affix(strings.TrimPrefix)},
	"trimSuffix":  {1, 2, "text, suffix", affix(strings.TrimSuffix)},
	"hasPrefix":   {2, 2, "text, prefix", test(strings.HasPrefix)},
	"hasSuffix":   {2, 2, "text, suffix", test(strings.HasSuffix)},
	"indexOf":     {2, 2, "text, part", find(strings.Index)},
	"lastIndexOf": {2, 2, "text, part", find(strings.LastIndex)},
	"split":       {2, 3, "text, separator, count", split(false)},
	"splitAfter":  {2, 3, "text, separator, count", split(true)},
	"replace":     {3, 4, "text, old, new, count", replace},
	"format":      {1, 17, "text, x, …", nil},
	"repeat":      {2, 2, "text, count", repeat},
	"join":        {1, 2, "list, separator", join},
	"toJSON":      {1, 1, "x", toJSON},
	"fromJSON":    {1, 1, "text", fromJSON},
	"toBase64":    {1, 1, "bytes", toBase64},
	"fromBase64":  {1, 1, "text", fromBase64},
}

// cased maps letters one by one, so that the result has at most three times the bytes.
func cased(to func(rune) rune) func(*run, *call, []any) any {
	return func(r *run, c *call, a []any) any {
		s := r.text(c.args[0], a[0])
		r.size(len(s))
		r.step(len(s) >> 3)
		grown := strings.Map(to, s)
		if len(grown) > len(s) {
			r.size(len(grown))
		}
		return grown
	}
}

func trim(r *run, c *call, a []any) any {
	s := r.text(c.args[0], a[0])
	if len(a) == 1 {
		r.step(len(s) >> 4)
		return strings.TrimSpace(s)
	}
	set := r.text(c.args[1], a[1])
	if len(set) > 64 {
		r.fail(c.args[1], "", "more than 64 bytes of characters to trim")
	}
	r.step(len(s)>>4*(1+len(set)>>3) + 1)
	return strings.Trim(s, set)
}

func affix(f func(s, part string) string) func(*run, *call, []any) any {
	return func(r *run, c *call, a []any) any {
		s, part := r.text(c.args[0], a[0]), " "
		if len(a) == 2 {
			part = r.text(c.args[1], a[1])
		}
		r.touch(min(len(s), len(part)))
		return f(s, part)
	}
}

func test(f func(s, part string) bool) func(*run, *call, []any) any {
	return func(r *run, c *call, a []any) any {
		s, part := r.text(c.args[0], a[0]), r.text(c.args[1], a[1])
		r.touch(min(len(s), len(part)))
		return f(s, part)
	}
}

// find returns a position in characters, as len, [i] and [a:b] count them.
func find(f func(s, part string) int) func(*run, *call, []any) any {
	return func(r *run, c *call, a []any) any {
		s, part := r.text(c.args[0], a[0]), r.text(c.args[1], a[1])
		r.touch(len(s) + len(part))
		r.step(len(s) >> 4) // LastIndex hashes every byte
		i := f(s, part)
		if i > 0 {
			i = utf8.RuneCountInString(s[:i])
		}
		return int64(i)
	}
}

func split(after bool) func(*run, *call, []any) any {
	return func(r *run, c *call, a []any) any {
		s, sep, n := r.text(c.args[0], a[0]), r.text(c.args[1], a[1]), -1
		if len(a) == 3 {
			n = int(min(max(r.integer(c.args[2], a[2]), -1), MaxResult))
		}
		if n == 0 {
			return []any{}
		}
		r.touch(len(s) + len(sep))
		parts := strings.Count(s, sep) + 1
		if n > 0 {
			parts = min(parts, n)
		}
		r.items(3 * parts) // the library's list, ours, and its strings as interfaces
		r.step(parts >> 1)
		var all []string
		if after {
			all = strings.SplitAfterN(s, sep, n)
		} else {
			all = strings.SplitN(s, sep, n)
		}
		list := make([]any, len(all))
		for i, part := range all {
			list[i] = part
		}
		return list
	}
}

func replace(r *run, c *call, a []any) any {
	s, old, with, n := r.text(c.args[0], a[0]), r.text(c.args[1], a[1]), r.text(c.args[2], a[2]), -1
	if len(a) == 4 {
		n = int(min(max(r.integer(c.args[3], a[3]), -1), MaxResult))
	}
	r.touch(2*len(s) + len(old))
	count := strings.Count(s, old)
	if n >= 0 {
		count = min(count, n)
	}
	if count == 0 {
		return s
	}
	r.step(count)
	if int64(len(s))+int64(count)*int64(len(with)-len(old)) > MaxResult {
		r.limit("result is larger than 1MiB", "")
	}
	r.size(len(s) + count*(len(with)-len(old)))
	return strings.Replace(s, old, with, n)
}

func repeat(r *run, c *call, a []any) any {
	s, n := r.text(c.args[0], a[0]), r.integer(c.args[1], a[1])
	if n < 0 {
		r.fail(c.args[1], "", "repeat %d times", n)
	}
	if len(s) == 0 {
		return ""
	}
	if n > MaxResult || n*int64(len(s)) > MaxResult {
		r.limit("result is larger than 1MiB", "")
	}
	r.size(int(n) * len(s))
	return strings.Repeat(s, int(n))
}

func join(r *run, c *call, a []any) any {
	list, sep := r.list(c.args[0], a[0]), ""
	if len(a) == 2 {
		sep = r.text(c.args[1], a[1])
	}
	r.step(len(list))
	r.items(len(list))
	parts := make([]string, len(list))
	size := 0
	for i, v := range list {
		if s, ok := v.(string); ok {
			parts[i] = s
		} else {
			if v == nil {
				r.fail(c.args[0], "filter(…, # != nil) leaves it out",
					"element %d of %s is missing (nil)", i, r.label(c.args[0]))
			}
			parts[i] = r.format(c.args[0], v)
		}
		if size += len(parts[i]) + len(sep); size > MaxResult+len(sep) {
			r.limit("result is larger than 1MiB", "")
		}
	}
	r.size(max(0, size-len(sep)))
	return strings.Join(parts, sep)
}

func toJSON(r *run, c *call, a []any) any {
	w := r.writer(r.buf[:0])
	w.json(a[0], 0)
	r.buf = w.b
	r.size(len(w.b))
	return string(w.b)
}

func fromJSON(r *run, c *call, a []any) any {
	return r.parseJSON(c, r.text(c.args[0], a[0]))
}

func toBase64(r *run, c *call, a []any) any {
	s := r.text(c.args[0], a[0])
	r.size(base64.StdEncoding.EncodedLen(len(s)))
	r.alloc(len(s))
	return base64.StdEncoding.EncodeToString([]byte(s))
}

// fromBase64 returns a text if the bytes are one, otherwise bytes.
func fromBase64(r *run, c *call, a []any) any {
	s := r.text(c.args[0], a[0])
	r.size(len(s))
	r.step(len(s) >> 3)
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		r.fail(c.args[0], "", "%s is not base64", r.label(c.args[0]))
	}
	if !utf8.Valid(b) {
		return b
	}
	return string(b)
}
