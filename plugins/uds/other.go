//go:build !unix

package uds

// This file is for platforms that lack unix sockets with permissions.

import (
	"errors"
	"net"

	"github.com/postbus/postbus/plugins/internal/lines"
)

var errPlatform = errors.New("uds exists on Unix systems only")

func credentials(net.Conn) (pid int, uid uint32, ok bool) { return 0, 0, false }

func bind(string, Mode, string) (lines.Listener, func(), error) { return nil, nil, errPlatform }

func permit(string, Mode, string) error { return errPlatform }
