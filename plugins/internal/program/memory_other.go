// This file is platforms without a memory bound, which is every platform but Linux.

//go:build !linux

package program

const canWeigh = false

type scale struct{}

func (*scale) weigh(int) int64 { return 0 }
