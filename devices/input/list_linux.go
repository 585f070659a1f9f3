// This file reads the devices for `postbus devices`.

package input

import (
	"path/filepath"
	"slices"
)

// list returns every input device. Those that may not be opened have an Error.
func list(dev string) []deviceInfo {
	byID := map[string]string{}
	links, _ := filepath.Glob(dev + "/by-id/*")
	for _, l := range links {
		if real, err := filepath.EvalSymlinks(l); err == nil {
			byID[real] = filepath.Base(l)
		}
	}
	var out []deviceInfo
	for _, path := range nodes(dev) {
		d, err := openDevice(path)
		if err != nil {
			out = append(out, deviceInfo{Path: path, ByID: byID[path], Error: err})
			continue
		}
		kinds, _ := d.bits(0x20, 32) // EVIOCGBIT(0)
		x := deviceInfo{Path: path, ByID: byID[path], Name: d.name}
		for _, t := range []uint16{1, 2, 3, 5} {
			if slices.Contains(kinds, t) {
				x.Keys = append(x.Keys, types[t])
			}
		}
		d.f.Close()
		out = append(out, x)
	}
	return out
}
