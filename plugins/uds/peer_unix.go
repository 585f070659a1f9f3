//go:build unix && !linux

package uds

// This file is for platforms that lack Linux's peer credentials and abstract sockets.

import (
	"errors"
	"fmt"
	"net"

	"github.com/postbus/postbus/plugins/internal/lines"
)

func credentials(net.Conn) (pid int, uid uint32, ok bool) { return 0, 0, false }

func bindAbstract(string) (lines.Listener, error) {
	return nil, errors.New("abstract sockets exist on Linux only: write a path")
}

func process(pid int, _ string) string { return fmt.Sprintf("process %d", pid) }
