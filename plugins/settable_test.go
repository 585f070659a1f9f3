package plugins

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

type oddOptions[T any] struct {
	Name string `key:"name" doc:"a name"`
	Odd  T      `key:"odd" doc:"what no file can set"`
}

type oddSource struct{}

func (oddSource) Stream(context.Context, kind.Post) error {
	return nil
}

func oddKind[O any](o O) *kind.Kind {
	return kind.StreamOf("odd", "Odd.", "", o, probeEvent{}, func(O, kind.Env) oddSource { return oddSource{} })
}

type selfish struct {
	Inner []selfish `key:"inner" doc:"itself"`
}

// TestOptionsThatNoFileCanSet: the catalog refuses them when it is made, not when a user's file
// sets them.
func TestOptionsThatNoFileCanSet(t *testing.T) {
	for want, k := range map[string]*kind.Kind{
		"the kind odd: odd is a chan int, which no file can set: there are string": oddKind(oddOptions[chan int]{}),
		"the kind odd: odd is a uint16, which no file can set":                     oddKind(oddOptions[uint16]{}),
		"the kind odd: odd is a float32, which no file can set":                    oddKind(oddOptions[float32]{}),
		"the kind odd: odd is a func(), which no file can set":                     oddKind(oddOptions[func()]{}),
		"the kind odd: odd is a time.Time, which no file can set":                  oddKind(oddOptions[time.Time]{}),
		"the kind odd: odd is a *int, which no file can set":                       oddKind(oddOptions[*int]{}),
		"the kind odd: odd is a map[int]string, which no file can set":             oddKind(oddOptions[map[int]string]{}),
		"the kind odd: odd[] is a complex128, which no file can set":               oddKind(oddOptions[[]complex128]{}),
		"the kind odd: odd.inner is a uint8, which no file can set": oddKind(oddOptions[struct {
			A uint8 `key:"inner" doc:"a"`
		}]{}),
		"the kind odd: odd is a fmt.Stringer, which no file can set": oddKind(oddOptions[fmt.Stringer]{}),
		"the kind odd: hidden: the field hidden is not exported": oddKind(struct {
			hidden string `key:"hidden" doc:"a"`
		}{}),
		"the kind odd: size has the unit size and is a string: want int or int64": oddKind(struct {
			S string `key:"size" doc:"a" unit:"size"`
		}{}),
		"the kind odd: odd.inner[]. holds itself": oddKind(oddOptions[selfish]{}),
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, want) {
					t.Errorf("%s; want %s", got, want)
				}
			}()
			NewCatalog(k)
		}()
	}
	NewCatalog(oddKind(oddOptions[map[string][]*probeBlock]{}), oddKindAction())
}

func oddKindAction() *kind.Kind {
	return kind.ActionOf("note", "Notes.", "", actOptions{}, func(actOptions, kind.Env) *probeAction { return nil })
}

// panicking panics when a file is checked.
type panicking struct {
	Name string `key:"name" doc:"a name"`
}

func (panicking) Check() []error { panic("in a check") }

// TestAPanicOfOneFile is logged, and affects that file only.
func TestAPanicOfOneFile(t *testing.T) {
	log := &lockedBuffer{}
	w := newWorld(t, Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	w.stop()
	w.cat.sources["panicking"] = kind.StreamOf("panicking", "Panics.", "", panicking{}, probeEvent{}, func(panicking, kind.Env) oddSource { return oddSource{} })
	w.start()
	w.write("a.yaml", "source: {panicking: {name: x}}\npublish: [{topic: x}]\n")
	w.write("b.yaml", "source: {probe: {name: b}}\npublish: [{topic: x}]\n")
	w.is("a", StateRejected, func(s Status) bool {
		return strings.Contains(s.Reason, "an internal error occurred while checking this file: panic: in a check")
	})
	w.is("b", StateRunning)
	if !strings.Contains(log.String(), "panicking.Check") {
		t.Errorf("it is not printed: %s", log)
	}
}
