// Package desktoptest is a desktop for tests: private message buses, services that python3-dbusmock
// simulates on them, an X server without a screen, a sound server without a sound card, and the
// programs that belong to them. Only tests import it.
//
// Everything ends with its test. A missing program skips the test with one sentence, or fails it
// where the environment variable CI is set.
//
// Linux only; elsewhere the package is empty.
package desktoptest
