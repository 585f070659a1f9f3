// This file is what `postbus devices` lists.

package desktop

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// Describe lists what this machine has of a desktop, as it is written in a file. It takes two seconds at most.
func Describe() []string { return describe("", "") }

func describe(systemBus, sessionBus string) []string {
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	var out []string
	if conn, err := dial(ctx, system, systemBus); err != nil {
		out = append(out, "# "+err.Error())
	} else {
		defer conn.Close()
		if list, err := logins(ctx, conn); err == nil {
			for _, s := range list {
				out = append(out, fmt.Sprintf("session: %q  # %s, %s", s.id, s.user, s.kind))
			}
		}
		l := &link{conn: conn}
		if p, err := l.properties(ctx, upower, upowerPath, upower); err == nil {
			b, _ := l.properties(ctx, upower, batteryPath, upower+".Device")
			f := powerFields(p, b)
			text := "watch: [power]  # UPower, no battery"
			if f["percentage"] != nil {
				text = fmt.Sprintf("watch: [power]  # UPower, battery %v %%, %s", f["percentage"], f["state"])
			}
			out = append(out, text)
		}
		if p, err := l.properties(ctx, networks, networksPath, networks); err == nil {
			state, _ := get[uint32](p, "State")
			out = append(out, "watch: [network]  # NetworkManager, "+networkState(state))
		}
	}
	if conn, err := dial(ctx, session, sessionBus); err != nil {
		out = append(out, "# "+err.Error())
	} else {
		defer conn.Close()
		all, _ := playing(ctx, conn)
		for _, n := range slices.Sorted(maps.Keys(all)) {
			out = append(out, fmt.Sprintf("player: %q  # %s", n[len(players):], mediaStatus(all[n])))
		}
	}
	if d := os.Getenv("DISPLAY"); d != "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		out = append(out, fmt.Sprintf("display: %q  # X11: window and idle_after", d))
	}
	return out
}
