// This file tells systemd how the service does (sd_notify(3)).

package main

import "net"

// notifySystemd sends a state such as "READY=1" to the socket, if there is one. Nobody waits for
// it, and nothing depends on it: errors are ignored.
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
