// Package pulse is a client of PulseAudio's native protocol, which PulseAudio and PipeWire (pipewire-pulse) speak: the default
// sink and source, their volume, who records, and what changes. It plays and records nothing.
//
// What it promises: whatever the server sends, nothing panics and nothing grows. A frame has at most 1 MiB, a text 64 KiB, a
// list 4,096 entries; what is longer, or isn't understood, ends the connection with an error that says so, and so does an
// answer that takes more than 3 s, or the rest of a frame more than 2 s. One goroutine reads, from Dial on; Close waits for it.
//
// The format is that of PulseAudio's PROTOCOL document and of what pulseaudio 16.1 and pipewire-pulse 0.3.65 send; testdata
// holds some of it. Version 32 is asked for, without shared memory, and what the server agrees to is spoken; 13 (PulseAudio
// 0.9.11) is the least. Only unix sockets are dialled: a server of the same user lets us in by that, another asks for the cookie.
//
// Linux only; elsewhere there are but the addresses.
package pulse
