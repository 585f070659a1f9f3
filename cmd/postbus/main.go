// Command postbus is the event bus: it runs a bus, and talks to a running one.
//
// This package is the only wiring: it opens the parts from other packages in order and closes them
// in reverse. Main is a struct, so that tests run the real program.
package main

import (
	"context"
	"os"
)

func main() {
	m := Main{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Environ()}
	os.Exit(m.Run(context.Background(), os.Args[1:]))
}
