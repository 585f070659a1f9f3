package ping

// This file asks an address once: by an ICMP echo, or by a TCP connection.

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/postbus/postbus/plugins/kind"
)

// hostName is a name of letters, digits, hyphens and underscores.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*\.?$`)

func validHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return len(s) < 254 && hostName.MatchString(s)
}

// errSilent is the error for a host that doesn't answer in time.
var errSilent = errors.New("no answer in time")

// notAllowed is the error of a system that lets this process send no ICMP echoes.
type notAllowed struct{ error }

func (e notAllowed) Unwrap() error { return e.error }

func isNotAllowed(err error) bool {
	var n notAllowed
	return errors.As(err, &n)
}

// mayEcho reports why this process can't send ICMP echoes; nil if it can.
func mayEcho() error {
	c, err := listen(netip.IPv4Unspecified())
	if err != nil {
		return err
	}
	return c.Close()
}

// listen opens a socket for ICMP echoes of the family of an address, which needs no privileges
// where the system allows it.
func listen(to netip.Addr) (*icmp.PacketConn, error) {
	network, address := "udp4", "0.0.0.0"
	if to.Is6() {
		network, address = "udp6", "::"
	}
	syscall.ForkLock.RLock() // a program that starts meanwhile must not inherit the socket
	c, err := icmp.ListenPacket(network, address)
	syscall.ForkLock.RUnlock()
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
		return nil, err
	}
	return nil, notAllowed{err}
}

// echo sends an ICMP echo request and waits for its reply, until ctx ends.
func echo(ctx context.Context, to netip.Addr) (time.Duration, error) {
	c, err := listen(to)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	defer kind.InterruptReads(ctx, c)()

	// Other processes may send echoes with the same numbers: the token tells ours.
	token := make([]byte, 16)
	rand.Read(token)
	request, reply, protocol := icmp.Type(ipv4.ICMPTypeEcho), icmp.Type(ipv4.ICMPTypeEchoReply), 1
	if to.Is6() {
		request, reply, protocol = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, 58
	}
	packet, err := (&icmp.Message{Type: request, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: 1, Data: token}}).Marshal(nil)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := c.WriteTo(packet, &net.UDPAddr{IP: to.AsSlice(), Zone: to.Zone()}); err != nil {
		return 0, fmt.Errorf("sending an echo: %w", cause(err))
	}
	for buffer := make([]byte, 1500); ; {
		n, _, err := c.ReadFrom(buffer)
		took := time.Since(began)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, errSilent
		}
		if err != nil {
			return 0, fmt.Errorf("waiting for the reply: %w", cause(err))
		}
		m, err := icmp.ParseMessage(protocol, buffer[:n])
		if err != nil || m.Type != reply {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && bytes.Equal(e.Data, token) {
			return took, nil
		}
	}
}

// connect connects by TCP. A refusal is an answer.
func connect(ctx context.Context, to netip.Addr, port int) (time.Duration, error) {
	began := time.Now()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(to.String(), strconv.Itoa(port)))
	took := time.Since(began)
	const refusedOnWindows = syscall.Errno(10061) // WSAECONNREFUSED
	switch {
	case err == nil:
		c.Close()
		return took, nil
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, refusedOnWindows):
		return took, nil
	case ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
		return 0, errSilent
	}
	return 0, fmt.Errorf("connecting to port %d: %w", port, cause(err))
}

// cause is the system's error without the addresses around it, which are not the same each time.
func cause(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no
	}
	return err
}
