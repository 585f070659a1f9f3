//go:build !unix

package bench

import "fmt"

// process is a broker that can be killed with its whole group; see crash_unix.go.
type process struct{ gone chan struct{} }

func startProcess([]string) (*process, error) {
	return nil, fmt.Errorf("bench crash: process groups: %w", errNotHere)
}

func (b *process) pid() int         { return 0 }
func (b *process) exited() bool     { return true }
func (b *process) exitError() error { return errNotHere }
func (b *process) output() string   { return "" }
func (b *process) kill()            {}
func (b *process) stop()            {}
