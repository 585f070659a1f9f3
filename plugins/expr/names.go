package expr

// names.go: suggestions for misspelt names.

import (
	"fmt"

	"github.com/postbus/postbus/config/suggest"
)

// didYouMean returns a hint with the name nearest to s, or "".
func didYouMean(s string, names []string, quoted bool) string {
	nearest := suggest.Nearest(s, names)
	switch {
	case nearest == "":
		return ""
	case quoted:
		return fmt.Sprintf("did you mean %q?", nearest)
	}
	return "did you mean " + nearest + "?"
}
