package topic

// This file relates two filters: whether some name matches both, and whether one covers the other.

import "strings"

// rooted replaces "/#" with "/+/#", so that it does not match its parent: that would be the
// empty topic, which does not exist.
func rooted(filter string) string {
	if filter == "/#" {
		return "/+/#"
	}
	return filter
}

// Overlaps reports whether some name matches both filters.
func Overlaps(a, b string) bool {
	if a == "" || b == "" || wildFirst(a) && b[0] == '$' || wildFirst(b) && a[0] == '$' {
		return false
	}
	a, b = rooted(a), rooted(b)
	for {
		if a == "#" || b == "#" {
			return true
		}
		al, arest, amore := strings.Cut(a, "/")
		bl, brest, bmore := strings.Cut(b, "/")
		if al != bl && al != "+" && bl != "+" {
			return false
		}
		switch {
		case !amore && !bmore:
			return true
		case !amore:
			return brest == "#"
		case !bmore:
			return arest == "#"
		}
		a, b = arest, brest
	}
}

// Covers reports whether a matches every name that b matches.
func Covers(a, b string) bool {
	if a == "" || b == "" || wildFirst(a) && b[0] == '$' {
		return false
	}
	if b == "#" {
		return a == "#" || a == "+/#" // every topic has a first level
	}
	a, b = rooted(a), rooted(b)
	for {
		if a == "#" {
			return true
		}
		if b == "#" {
			return false // from this level on b matches everything, and its parent too
		}
		al, arest, amore := strings.Cut(a, "/")
		bl, brest, bmore := strings.Cut(b, "/")
		if al != "+" && al != bl {
			return false
		}
		switch {
		case !bmore:
			return !amore || arest == "#"
		case !amore:
			return false
		}
		a, b = arest, brest
	}
}
