// This file reports the service's state to systemd (sd_notify(3)).

package main

import "net"

// notifySystemd sends a state such as "READY=1" to the socket, if there is one. Nothing depends on
// it, so errors are ignored.
func notifySystemd(socket, state string) {
	if socket == "" {
		return
	}
	if socket[0] == '@' {
		socket = "\x00" + socket[1:]
	}
	c, err := net.Dial("unixgram", socket)
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(state))
}
