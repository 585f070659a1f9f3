// This file finds ports on Linux: sysfs lists them and the devices behind them.

package tty

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/postbus/postbus/devices/internal/node"
)

// roots are the folders of the machine's devices; tests change them.
type roots struct{ dev, sys string }

func machine() roots { return roots{"/dev", "/sys"} }

// List returns the existing ports.
func List() []Device { return list(machine()) }

func list(r roots) []Device {
	byID := map[string]string{}
	links, _ := filepath.Glob(r.dev + "/serial/by-id/*")
	for _, l := range links {
		if real, err := filepath.EvalSymlinks(l); err == nil {
			byID[real] = filepath.Base(l)
		}
	}
	entries, _ := filepath.Glob(r.sys + "/class/tty/*/device") // a console has none
	slices.SortFunc(entries, func(a, b string) int {
		if d := len(a) - len(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	var out []Device
	for _, e := range entries {
		dir := filepath.Dir(e)
		if read(dir, "type") == "0" { // ttyS0 to ttyS31 without a chip
			continue
		}
		d := Device{Path: filepath.Join(r.dev, filepath.Base(dir))}
		if _, err := os.Stat(d.Path); err != nil {
			continue // not created yet, or removed
		}
		d.ByID = byID[d.Path]
		if up, err := filepath.EvalSymlinks(e); err == nil {
			for ; strings.HasPrefix(up, r.sys+"/"); up = filepath.Dir(up) {
				if d.Vendor = read(up, "idVendor"); d.Vendor != "" {
					d.Product, d.Serial, d.Name = read(up, "idProduct"), read(up, "serial"), read(up, "product")
					break
				}
			}
		}
		out = append(out, d)
	}
	return out
}

// read reads an attribute of a device, at most 256 bytes, because a device may return anything.
func read(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	s := strings.TrimSpace(string(b))
	return strings.ToValidUTF8(s[:min(len(s), 256)], "\ufffd")
}

// find returns the path of a port, or Absent when there is none.
func find(n Name, r roots) (string, error) {
	u, isUSB := n.usb()
	if isUSB {
		return findUSB(u, r)
	}
	path := string(n)
	if !n.isPath() {
		path = filepath.Join(r.dev, "serial/by-id", string(n))
	}
	real, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", Absent{fmt.Errorf("there is no %s; available: %s", path, names(list(r)))}
	case err != nil:
		return "", fmt.Errorf("looking for %s: %w", path, err)
	}
	return real, nil
}

func findUSB(u usbID, r roots) (string, error) {
	all := list(r)
	var found []Device
	for _, d := range all {
		if d.Vendor == u.vendor && d.Product == u.product && (u.serial == "" || u.serial == d.Serial) {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 0:
		return "", Absent{fmt.Errorf("there is no port of usb:%s; available: %s", u, names(all))}
	case 1:
		return found[0].Path, nil
	}
	var which []string
	for _, d := range found {
		name := d.ByID
		if name == "" {
			name = d.Path
		}
		which = append(which, name)
	}
	return "", fmt.Errorf("usb:%s has %d ports: write port: and one of %s", u, len(found), strings.Join(which, ", "))
}

// Watch notifies about ports that appear, or become readable, until it is closed. Where the kernel
// doesn't notify, changes is nil.
func Watch(n Name) (changes <-chan struct{}, closeIt func()) {
	r := machine()
	dirs := []string{r.dev, r.dev + "/serial", r.dev + "/serial/by-id"}
	if n.isPath() {
		dirs = append(dirs, filepath.Dir(string(n)))
	}
	return node.Watch(dirs...)
}
