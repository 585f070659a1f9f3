package gpio

import "testing"

const procInterrupts = `           CPU0       CPU1
 24:          0          0  9030000.pl061   3 Edge      GPIO Key Poweroff
 47:       1203         17  pinctrl-bcm2835  17 Edge      postbus GPIO17
 48:          4          0  pinctrl-bcm2835  27 Edge      postbus GPIO17
 49:          9          9  pinctrl-bcm2835   5 Edge      not postbus GPIO17
IPI0:       100        200       Rescheduling interrupts
Err:          0
`

func TestInterruptsOfALabel(t *testing.T) {
	for name, c := range map[string]struct {
		label string
		lines int
		n     int64
		off   bool
	}{
		"two lines":     {"postbus GPIO17", 2, 1224, false},
		"one too many":  {"postbus GPIO17", 1, 1224, true},
		"none":          {"postbus GPIO4", 1, 0, true},
		"half a word":   {"GPIO17", 2, 0, true},
		"no processors": {"GPIO Key Poweroff", 1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if n, off := interrupts([]byte(procInterrupts), c.label, c.lines); n != c.n || off != c.off {
				t.Errorf("got %d %v, want %d %v", n, off, c.n, c.off)
			}
		})
	}
}

func FuzzInterrupts(f *testing.F) {
	f.Add([]byte(procInterrupts))
	f.Fuzz(func(t *testing.T, text []byte) { interrupts(text, "postbus GPIO17", 1) })
}
