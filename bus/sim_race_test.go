//go:build race

package bus

// raceBuild: the race detector makes Go choose at random which of two ready goroutines runs first.
const raceBuild = true
