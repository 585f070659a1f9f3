// This file is what `postbus devices` lists.

package notify

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Describe names the program that shows notifications. It takes two seconds at most.
func Describe() []string { return describe("") }

func describe(bus string) []string {
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	conn, err := dial(ctx, bus)
	if err != nil {
		return []string{"# " + err.Error()}
	}
	defer conn.Close()
	var name, vendor, version, spec string
	if err := call(ctx, conn, desktop, desktopPath, desktop+".GetServerInformation").Store(&name, &vendor, &version, &spec); err != nil {
		return []string{"# " + fault(err).Error()}
	}
	var can []string
	_ = call(ctx, conn, desktop, desktopPath, desktop+".GetCapabilities").Store(&can)
	buttons := "without buttons"
	if slices.Contains(can, "actions") {
		buttons = "with buttons"
	}
	return []string{fmt.Sprintf("notify: {}  # %s %s, %s", shown(name, 100), shown(version, 100), buttons)}
}
