package suggest

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	known := []string{"pin", "listen", "session_expiry", "http", "a"}
	for word, want := range map[string]string{
		"pni": "pin", "lisen": "listen", "LISTEN": "listen", "sessionExpiry": "session_expiry", "session-expiry": "session_expiry",
		"htpp": "http", "xyz": "", "x": "", "": "", "retention": "", strings.Repeat("x", 1000): "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%.20q suggests %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	long := strings.Repeat("x", 65)
	for pair, want := range map[[2]string]int{
		{"", ""}: 0, {"a", ""}: 1, {"ab", "ba"}: 1, {"kitten", "sitting"}: 3, {"Ä", "ä"}: 1, {long, long}: 65,
	} {
		if got := Distance(pair[0], pair[1]); got != want {
			t.Errorf("%.10q: %d, want %d", pair, got, want)
		}
	}
}
