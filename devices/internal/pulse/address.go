// This file is the address of a sound server, and the cookie that it may ask for.

package pulse

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Socket returns the path of an address of the form unix:/path or /path, the only supported ones.
func Socket(address string) (string, error) {
	path := strings.TrimPrefix(address, "unix:")
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("%.80q is not a unix socket; only unix:/path and /path are supported, and not the sound server of another machine", address)
	}
	if len(path) > 107 { // unix(7)
		return "", fmt.Errorf("%.80q… is longer than the path of a socket can be", path)
	}
	return path, nil
}

// Find returns the socket of this user's sound server: the first unix socket in $PULSE_SERVER, or
// the usual path. It does not read the file client.conf.
func Find() (string, error) {
	if named := strings.Fields(os.Getenv("PULSE_SERVER")); len(named) > 0 {
		var first error
		for _, a := range named {
			path, err := Socket(a)
			if err == nil {
				return path, nil
			}
			if first == nil {
				first = fmt.Errorf("$PULSE_SERVER: %w", err)
			}
		}
		return "", first
	}
	usual := fmt.Sprintf("/run/user/%d/pulse/native", os.Getuid())
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		path := filepath.Join(dir, "pulse", "native")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if _, err := os.Stat(usual); err != nil {
			return path, nil
		}
	}
	return usual, nil
}

// Cookie returns this user's cookie. It is empty when there is none, which a server of the same
// user accepts.
func Cookie() ([]byte, error) {
	home := os.Getenv("HOME")
	places := []string{filepath.Join(home, ".config/pulse/cookie"), filepath.Join(home, ".pulse-cookie")}
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		places = append([]string{filepath.Join(dir, "pulse/cookie")}, places...)
	}
	if p := os.Getenv("PULSE_COOKIE"); p != "" {
		places = []string{p}
	} else if home == "" {
		places = places[:len(places)-2]
	}
	for _, p := range places {
		b, err := read256(p)
		if err == nil {
			return b, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("the cookie of the sound server: %w", err)
		}
	}
	return nil, nil
}

// read256 reads a cookie's 256 bytes.
func read256(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, 256)
	n, err := f.Read(b)
	if n == 0 && err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b[:n], nil
}
