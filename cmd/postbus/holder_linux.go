// This file finds out which process listens on a TCP port, from /proc. Processes that it may not
// see stay unnamed.

package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// holder returns the name of the process that listens on the port of address, or "".
func holder(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return ""
	}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if inode := listening(table, fmt.Sprintf(":%04X", n)); inode != "" {
			return processWith("socket:[" + inode + "]")
		}
	}
	return ""
}

// listening returns the inode of the socket that listens on the port.
func listening(table, port string) string {
	f, err := os.Open(table)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		// sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode
		c := strings.Fields(s.Text())
		if len(c) > 9 && strings.HasSuffix(c[1], port) && c[3] == "0A" {
			return c[9]
		}
	}
	return ""
}

// processWith returns the name of the process that has the socket open.
func processWith(socket string) string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err != nil || target != socket {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		name, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			return "process " + pid
		}
		return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), pid)
	}
	return ""
}
