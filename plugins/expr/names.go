package expr

// names.go: suggestions for misspelt names.

import "fmt"

// didYouMean returns a hint with the name nearest to s, or "".
func didYouMean(s string, names []string, quoted bool) string {
	best, least := "", 1+max(1, len(s)/3)
	if len(s) > 64 {
		return ""
	}
	for _, name := range names {
		if len(name) > 64 {
			continue
		}
		if d := distance(s, name); d < least && d < len(name) {
			best, least = name, d
		}
	}
	switch {
	case best == "":
		return ""
	case quoted:
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "did you mean " + best + "?"
}

// distance counts edits: insertions, deletions, changes and swaps of neighbours. A change of case
// is an edit, and no more than one.
func distance(a, b string) int {
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
