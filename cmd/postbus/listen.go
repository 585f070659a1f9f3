// This file opens listeners. Errors name the cause, and what to do about it.

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/postbus/postbus/bus/admission"
	"github.com/postbus/postbus/config"
)

// bound is an open listener that accepts no connections yet.
type bound struct {
	socket          net.Listener
	config.Listener // with the port that the system chose
}

// bind opens one MQTT listener. Only tls:// needs keys.
func bind(l config.Listener, keys *keyPair, files *openFiles, budget *admission.Budget) (*bound, error) {
	if l.Network == "unix" {
		b, err := bindUnix(l)
		if err == nil {
			b.socket = files.guard(b.socket)
		}
		return b, err
	}
	raw, err := net.Listen(l.Network, l.Address)
	if err != nil {
		return nil, listenError("MQTT listener "+l.String(), "--mqtt "+config.Listener{Network: "tcp", Address: other(l.Address)}.String(), l.Address, err)
	}
	l.Address = realAddress(l.Address, raw.Addr())
	raw = files.guard(raw)
	if l.TLS {
		return &bound{admission.Listen(raw, budget, admission.Options{TLS: keys.mqtt(), Log: keys.log}), l}, nil
	}
	return &bound{raw, l}, nil
}

// bindUnix removes a socket that a crash left behind, but never one that a process listens on.
func bindUnix(l config.Listener) (*bound, error) {
	if st, err := os.Lstat(l.Address); err == nil {
		name := "MQTT listener " + l.String()
		if st.Mode()&os.ModeSocket == 0 {
			return nil, withHint(fmt.Errorf("%s: %s exists and is not a socket", name, l.Address),
				"remove the file, or choose another path")
		}
		c, err := net.DialTimeout("unix", l.Address, time.Second)
		if err == nil {
			c.Close()
			return nil, withHint(fmt.Errorf("%s: another program listens on it", name),
				"stop the other one, or choose another path: --mqtt unix:///PATH")
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, withHint(fmt.Errorf("%s: %w", name, err),
				"whether a program listens on the socket is unknown; remove it if none does")
		}
		if err := os.Remove(l.Address); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s: remove the stale socket: %w", name, err)
		}
	}
	raw, err := net.Listen("unix", l.Address)
	if err != nil {
		return nil, listenError("MQTT listener "+l.String(), "", "", err)
	}
	// For its owner and group, whatever the umask is: a umask of 0 would open it to everybody.
	if err := os.Chmod(l.Address, 0o660); err != nil {
		raw.Close()
		return nil, fmt.Errorf("MQTT listener %s: %w", l, err)
	}
	return &bound{raw, l}, nil
}

// bindHTTP opens the HTTP listener. Only https:// needs keys. The address is the real one, for
// net.Dial.
func bindHTTP(c config.Listen, keys *keyPair, files *openFiles, budget *admission.Budget) (l net.Listener, address string, err error) {
	raw, err := net.Listen("tcp", c.HTTP)
	if err != nil {
		free := c
		free.HTTP = other(c.HTTP)
		flag := free.HTTP
		if c.HTTPS {
			flag = free.HTTPURL()
		}
		return nil, "", listenError("HTTP listener "+c.HTTP, "--http "+flag, c.HTTP, err)
	}
	address = realAddress(c.HTTP, raw.Addr())
	raw = files.guard(raw)
	var o admission.Options
	if c.HTTPS {
		o = admission.Options{TLS: keys.http(), Log: keys.log}
	}
	return admission.Listen(raw, budget, o), address, nil
}

// realAddress returns the configured address with the real port, so that a host name stays
// readable.
func realAddress(configured string, a net.Addr) string {
	t, ok := a.(*net.TCPAddr)
	host, port, err := net.SplitHostPort(configured)
	if !ok || err != nil || port != "0" {
		return configured
	}
	return net.JoinHostPort(host, strconv.Itoa(t.Port))
}

// other suggests the next port.
func other(address string) string {
	host, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	if n == 0 || n == 65535 {
		return net.JoinHostPort(host, "0")
	}
	if n < 1024 {
		n += 8000
	}
	return net.JoinHostPort(host, strconv.Itoa(n+1))
}

// listenError says what is wrong with an address. flag is the flag that chooses another address.
func listenError(name, flag, address string, err error) error {
	var sys *os.SyscallError
	cause := err
	if errors.As(err, &sys) {
		cause = sys.Err
	}
	failed := fmt.Errorf("%s: %w", name, cause)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		by := "find the program with: ss -ltnp"
		if who := holder(address); who != "" {
			by = who + " uses it"
		}
		return withHint(failed, "%s; or choose another: %s", by, flag)
	case errors.Is(err, syscall.EACCES) && flag != "":
		return withHint(failed, "ports below 1024 need a privilege; choose another: %s", flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return withHint(failed, "this machine does not have that address; `ip address` lists its addresses")
	case errors.Is(err, syscall.ENOENT):
		return withHint(failed, "create the folder of the socket")
	}
	return failed
}
