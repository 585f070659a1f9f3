//go:build !unix

package bench

// ownCPU returns 0: it is unknown on this platform, and the result omits it.
func ownCPU() float64 { return 0 }
