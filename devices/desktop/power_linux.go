// This file is the power: UPower (org.freedesktop.UPower).

package desktop

import (
	"context"
	"math"

	"github.com/godbus/dbus/v5"
)

const upower = "org.freedesktop.UPower"

const (
	upowerPath  = dbus.ObjectPath("/org/freedesktop/UPower")
	batteryPath = upowerPath + "/devices/DisplayDevice" // all batteries as one
)

// power is the power source, mains or battery, and the battery's charge.
type power struct{ s *Source }

func (power) onSignal(sig *dbus.Signal) bool {
	return sig.Path == upowerPath || sig.Path == batteryPath
}

func (p power) read(ctx context.Context, l *link, first bool) error {
	if l.owner(upower) == "" {
		return absent{"UPower is not running; waiting for it"}
	}
	u, err := l.properties(ctx, upower, upowerPath, upower)
	if err != nil {
		return err
	}
	b, err := l.properties(ctx, upower, batteryPath, upower+".Device")
	if err != nil {
		return err
	}
	return p.s.report(ctx, first, powerFields(u, b), "time_to_empty", "time_to_full")
}

// powerFields returns an event's fields from the properties of UPower and its battery. The numbers
// are those of UPower's documentation.
func powerFields(u, b map[string]dbus.Variant) map[string]any {
	f := map[string]any{"what": "power", "on_battery": false, "percentage": nil, "state": nil, "lid_closed": nil, "time_to_empty": nil, "time_to_full": nil}
	if on, ok := get[bool](u, "OnBattery"); ok {
		f["on_battery"] = on
	}
	if there, _ := get[bool](u, "LidIsPresent"); there {
		closed, _ := get[bool](u, "LidIsClosed")
		f["lid_closed"] = closed
	}
	if there, _ := get[bool](b, "IsPresent"); !there {
		return f
	}
	percentage, _ := get[float64](b, "Percentage")
	if !math.IsNaN(percentage) && !math.IsInf(percentage, 0) {
		f["percentage"] = math.Round(percentage)
	}
	state, _ := get[uint32](b, "State")
	f["state"] = word(state, "unknown", "charging", "discharging", "empty", "full", "pending", "pending")
	for key, name := range map[string]string{"time_to_empty": "TimeToEmpty", "time_to_full": "TimeToFull"} {
		if seconds, _ := get[int64](b, name); seconds > 0 {
			f[key] = float64(seconds)
		}
	}
	return f
}

// word returns the n-th word, or the first.
func word(n uint32, words ...string) string {
	if int64(n) < int64(len(words)) {
		return words[n]
	}
	return words[0]
}
