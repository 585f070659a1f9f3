// This file reports the service's state to systemd (sd_notify(3)), and that it is alive
// (sd_watchdog_enabled(3)).

package main

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"
)

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

// watchdogInterval is how long the program may be silent before systemd restarts it; 0: for ever.
func watchdogInterval(getenv func(string) string) time.Duration {
	if pid := getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	n, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || n <= 0 {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

// reportAlive calls tell three times in each interval until ctx ends, each time after touch, which returns
// once the program's locks could be had. A program in which they can't any more is silent.
func reportAlive(ctx context.Context, interval time.Duration, touch, tell func()) {
	if interval == 0 {
		return
	}
	tick := time.NewTicker(max(interval/3, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			touch()
			tell()
		case <-ctx.Done():
			return
		}
	}
}
