// This file is what `postbus devices` lists.

package desktop

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Describe lists this machine's desktop services, as they are written in a file. It takes two
// seconds at most.
func Describe() []string { return describe(Options{}, defaultPaths) }

func describe(o Options, at paths) []string {
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	var out []string
	if conn, err := dial(ctx, system, o.SystemBus); err != nil {
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
	if conn, err := dial(ctx, session, o.SessionBus); err != nil {
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
	out = append(out, describeSound(ctx, o.SoundServer)...)
	for _, name := range at.videos() {
		text := "watch: [camera]  # " + filepath.Join(at.dev, name)
		if name, err := os.ReadFile(filepath.Join(at.sys, name, "name")); err == nil {
			text += ", " + short(strings.TrimSpace(string(name)))
		}
		out = append(out, text)
	}
	return out
}

func describeSound(ctx context.Context, address string) (out []string) {
	c, err := dialSound(ctx, address, nil)
	if err != nil {
		return []string{"# " + strings.ReplaceAll(err.Error(), "\n", "; ")}
	}
	defer c.Close()
	muted := func(on bool) string {
		if on {
			return ", muted"
		}
		return ""
	}
	if d, err := sink(ctx, c); err == nil {
		out = append(out, fmt.Sprintf("watch: [volume]  # %s, %d %%%s", short(d.Description), level(d.Volumes), muted(d.Muted)))
	}
	if d, err := source(ctx, c); err == nil {
		out = append(out, fmt.Sprintf("watch: [microphone]  # %s%s", short(d.Description), muted(d.Muted)))
	}
	return out
}
