// Package pulse is a client of PulseAudio's native protocol, which PulseAudio and PipeWire
// (pipewire-pulse) speak: the default sink and source, their volume, the programs that record, and
// changes of these. It plays and records nothing.
//
// What it promises: whatever the server sends, no input causes a panic or unbounded memory. A frame
// has at most 1 MiB, a text 64 KiB, a list 4,096 entries. Input that is longer, or can't be
// decoded, ends the connection with an error that says so. So does an answer that takes more than 3
// s, or the remainder of a frame that takes more than 2 s. One goroutine reads, from Dial on; Close
// waits for it.
//
// The format is that of PulseAudio's PROTOCOL document and of what pulseaudio 16.1 and
// pipewire-pulse 0.3.65 send; testdata holds some of it. The client requests version 32, without
// shared memory, and speaks the version that the server agrees to; 13 (PulseAudio 0.9.11) is the
// minimum. Only unix sockets are dialled. A server of the same user accepts us by our credentials,
// another asks for the cookie.
//
// Linux only; elsewhere the package has only the addresses.
package pulse
