// Package docs tests docs/raspberry-pi.md and docs/desktop.md literally. It is tests only.
//
// The tests extract every file and every command of a document, in order. A file's first line says
// what it is for. The word after sh, which readers don't see, says what a command is for:
//
//	```sh        typed by the user, one terminal from the first to the last
//	```sh pc     typed on a PC in this repository
//	```sh other  typed on another machine in the house
//	```sh pi     needs hardware, or a second machine: not run, and listed
//	```html      for the reader only
//	```text      output of the commands before it, among other lines; … stands for anything
//	```yaml      a file, whose path is in its first line
//
// TestFiles checks the files and runs the tests in them. TestDocuments runs everything, on a fresh
// Debian with systemd in a virtual machine; it does nothing unless .ci/docs runs it, which makes
// that machine. There the other machine is the same one, by its address in the network.
package docs
