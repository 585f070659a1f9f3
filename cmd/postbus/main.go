// Command postbus is the event bus: it runs one, and talks to one that runs.
//
// This package is the only wiring: it opens what other packages offer in order and closes it in
// reverse. Main is a struct, so that tests run the real program.
package main

import (
	"context"
	"os"
)

func main() {
	m := Main{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Environ()}
	os.Exit(m.Run(context.Background(), os.Args[1:]))
}
