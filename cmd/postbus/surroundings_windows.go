package main

// outlive has nothing to do: nothing here ends a program whose log isn't read.
func outlive() (stop func()) { return func() {} }
