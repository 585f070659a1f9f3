// This file: memory is bounded on Linux only.

//go:build !linux

package process

const canWeigh = false

type scale struct{}

func (*scale) weigh(int) int64 { return 0 }
