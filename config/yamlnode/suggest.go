// This file suggests similar words: "did you mean".

package yamlnode

import "strings"

// Suggest returns the candidate nearest to word by edit distance (a swap of neighbours counts as
// one edit), or "" if none is near enough. Case, "-" and "_" do not count.
func Suggest(word string, candidates []string) string {
	if len(word) > 64 {
		return ""
	}
	w := []rune(fold(word))
	best, bestDist := "", 1<<30
	for _, c := range candidates {
		// A third of the letters may differ, but at least one: short words are all near to each
		// other.
		f := []rune(fold(c))
		limit := max(1, max(len(w), len(f))/3)
		if d := distance(w, f); d <= limit && d < bestDist {
			best, bestDist = c, d
		}
	}
	return best
}

func fold(s string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s))
}

// distance is the optimal string alignment distance.
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
