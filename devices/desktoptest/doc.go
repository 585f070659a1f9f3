// Package desktoptest is a desktop for tests: message buses of their own, the services on them that python3-dbusmock plays,
// an X server without a screen, a sound server without a sound card, and the programs that belong to them. Only tests import it.
//
// Each thing ends with its test. What isn't installed skips the test with one sentence; where the environment variable CI is
// set it fails the test.
//
// Linux only; elsewhere the package is empty.
package desktoptest
