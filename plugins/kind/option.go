package kind

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

// OptionError is an error in an option. The checker of plugin files adds the option's position.
type OptionError struct{ key, reason, hint string }

// Wrong makes an OptionError of what is wrong with an option and of what to write; the hint may be empty.
// The key is dotted, as in "in[0].filter".
func Wrong(key, reason, hint string) error { return &OptionError{key, reason, hint} }

func (e *OptionError) Error() string { return e.reason }

// Key is the option's key.
func (e *OptionError) Key() string { return e.key }

// Hint says what to write.
func (e *OptionError) Hint() string { return e.hint }

// CheckAddress checks host:port. For listening, the host may be omitted.
func CheckAddress(key, address string, listen bool) []error {
	host, port, err := net.SplitHostPort(address)
	hint := "write host:port, as 127.0.0.1:9000"
	if listen {
		hint += ", or :9000 for all interfaces"
	}
	if err != nil || host == "" && !listen {
		return []error{Wrong(key, fmt.Sprintf("%q is not host:port", address), hint)}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return []error{Wrong(key, fmt.Sprintf("the port %q is not a number from 1 to 65535", port), hint)}
	}
	return nil
}

// Keys are the keys of a mapping, in the order of the file. An option of this type has the key of an
// argument that is a mapping, because an argument loses the order.
type Keys []string

// QoS is 0, 1 or 2 as text; empty is 1.
type QoS string

// UnmarshalText reads 0, 1 or 2.
func (q *QoS) UnmarshalText(b []byte) error {
	switch s := string(b); s {
	case "0", "1", "2":
		*q = QoS(s)
		return nil
	}
	return errors.New("it is 0, 1 or 2")
}

// Level returns the number.
func (q QoS) Level() byte {
	switch q {
	case "0":
		return 0
	case "2":
		return 2
	}
	return 1
}
