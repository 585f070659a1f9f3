// Package docs follows docs/raspberry-pi.md and docs/desktop.md to the letter. It is tests only.
//
// Every file and every command of a document is taken out of it, in order. What a file is for is said by its first line,
// what a command is for by the word after sh, which readers don't see:
//
//	```sh        typed by the user, one terminal from the first to the last
//	```sh pc     typed on a PC in this repository
//	```sh other  typed on another machine in the house
//	```sh pi     needs hardware, or a second machine: not run, and listed
//	```html      for the reader only
//	```text      what the commands before it print, among other things; … stands for anything
//	```yaml      a file, whose path is in its first line
//
// TestFiles checks the files and runs the tests in them. TestDocuments runs everything, on a fresh Debian with systemd in
// a virtual machine; it does nothing unless .ci/docs runs it, which makes that machine. There the other machine is the
// same one, by its address in the network.
package docs
