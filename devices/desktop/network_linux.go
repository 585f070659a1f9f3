// This file is the network: NetworkManager (org.freedesktop.NetworkManager).

package desktop

import (
	"context"

	"github.com/godbus/dbus/v5"
)

const (
	networks     = "org.freedesktop.NetworkManager"
	networksPath = "/org/freedesktop/NetworkManager"
)

// network is whether the machine is connected, and through what.
type network struct{ s *Source }

func (network) onSignal(sig *dbus.Signal) bool { return sig.Path == networksPath }

func (n network) read(ctx context.Context, l *link, first bool) error {
	if l.owner(networks) == "" {
		return absent{"NetworkManager is not running; waiting for it"}
	}
	p, err := l.properties(ctx, networks, networksPath, networks)
	if err != nil {
		return err
	}
	f := map[string]any{"what": "network", "connection": nil, "type": nil}
	state, _ := get[uint32](p, "State")
	f["state"] = networkState(state)
	connectivity, _ := get[uint32](p, "Connectivity")
	f["connectivity"] = word(connectivity, "unknown", "none", "portal", "limited", "full")
	if path, ok := get[dbus.ObjectPath](p, "PrimaryConnection"); ok && path != "/" {
		if c, err := l.properties(ctx, networks, path, networks+".Connection.Active"); err == nil { // otherwise it ended meanwhile, and a signal follows
			for key, name := range map[string]string{"connection": "Id", "type": "Type"} {
				if text, _ := get[string](c, name); text != "" {
					f[key] = short(text)
				}
			}
		}
	}
	return n.s.report(ctx, first, f)
}

// networkState converts an NMState to a word.
func networkState(n uint32) string {
	return word(n/10, "unknown", "asleep", "disconnected", "disconnecting", "connecting", "local", "site", "connected")
}
