package udp

// What is wrong with an address.

import (
	"fmt"
	"net"
	"strconv"
)

// optionError is a mistake in the options, with the key it is about and what to write.
type optionError struct{ key, reason, hint string }

func (e *optionError) Error() string { return e.reason }
func (e *optionError) Key() string   { return e.key }
func (e *optionError) Hint() string  { return e.hint }

// checkAddress checks host:port; to listen, the host may be left out.
func checkAddress(key, address string, listen bool) []error {
	host, port, err := net.SplitHostPort(address)
	hint := "write host:port, as 127.0.0.1:9000"
	if listen {
		hint += ", or :9000 for all interfaces"
	}
	if err != nil || host == "" && !listen {
		return []error{&optionError{key, fmt.Sprintf("%q is not host:port", address), hint}}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return []error{&optionError{key, fmt.Sprintf("the port %q is not a number from 1 to 65535", port), hint}}
	}
	return nil
}
