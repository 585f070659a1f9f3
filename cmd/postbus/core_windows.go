package main

// withoutCoreDumps does nothing: Windows asks the user.
func withoutCoreDumps() {}
