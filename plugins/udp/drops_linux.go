package udp

// This file reads the kernel's count of datagrams that it dropped because the socket's buffer was
// full: socket(7), SO_RXQ_OVFL.

import (
	"encoding/binary"
	"net"
	"syscall"
)

// countDrops asks for the count with each datagram. Where the kernel refuses, drops are not
// counted.
func countDrops(c *net.UDPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RXQ_OVFL, 1)
	})
}

// drops finds the count in the control messages of a datagram. There is no count before the first
// drop.
func drops(control []byte) (uint32, bool) {
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return 0, false
	}
	for _, m := range messages {
		if m.Header.Level == syscall.SOL_SOCKET && m.Header.Type == syscall.SO_RXQ_OVFL && len(m.Data) >= 4 {
			return binary.NativeEndian.Uint32(m.Data), true
		}
	}
	return 0, false
}
