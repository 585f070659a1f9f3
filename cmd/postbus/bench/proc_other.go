//go:build !linux

package bench

import "fmt"

func readMemory(int) (Memory, error) {
	return Memory{}, fmt.Errorf("--pid: memory of another process: %w", errNotHere)
}

func readCPU(int) (float64, error) {
	return 0, fmt.Errorf("--pid: CPU time of another process: %w", errNotHere)
}
