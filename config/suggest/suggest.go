// Package suggest finds the name that was probably meant when an unknown one was written, for hints
// like "did you mean". It imports the standard library only, so that every package can use it.
package suggest

import "strings"

// maxLength is the length in bytes above which words are not compared: the time grows with the
// product of two lengths.
const maxLength = 64

// Nearest returns the candidate nearest to word by Distance, or "" if none is near enough. A third
// of the letters may differ, and at least one, but not all. Case, "-" and "_" do not count.
func Nearest(word string, candidates []string) string {
	if len(word) > maxLength {
		return ""
	}
	w := fold(word)
	best, bestDistance := "", 1<<30
	for _, c := range candidates {
		if len(c) > maxLength {
			continue
		}
		f := fold(c)
		limit := min(max(1, max(len(w), len(f))/3), len(f)-1)
		if d := distance(w, f); d <= limit && d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

func fold(s string) []rune {
	return []rune(strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s)))
}

// Distance counts the letters that must be inserted, deleted or changed, or swapped with their
// neighbour, to make b of a (the optimal string alignment distance). For words of more than 64
// bytes it is the length of the longer one.
func Distance(a, b string) int {
	if len(a) > maxLength || len(b) > maxLength {
		return max(len(a), len(b))
	}
	return distance([]rune(a), []rune(b))
}

func distance(a, b []rune) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
