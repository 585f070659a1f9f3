// This file is "devices": this machine's devices that a plugin can use, as plugin file text.

package main

import (
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (m *Main) devicesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "devices [KIND...]",
		Short: "List the devices of this machine that plugins can use, as they are written in a plugin file",
		ValidArgsFunction: func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			more := slices.DeleteFunc(deviceKinds(), func(k string) bool { return slices.Contains(args, k) })
			return begin(more, begun), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			kinds := deviceKinds()
			for _, a := range args {
				if !slices.Contains(kinds, a) {
					return withHint(usagef("devices: no kind of device is called %q", a),
						"the kinds: %s", strings.Join(kinds, ", "))
				}
			}
			for _, d := range described {
				if len(args) > 0 && !slices.Contains(args, d.kind) {
					continue
				}
				m.printf("%s:\n", d.kind)
				if d.linuxOnly && runtime.GOOS != "linux" {
					m.printf("  # on Linux only\n")
					continue
				}
				lines := d.describe()
				if len(lines) == 0 {
					m.printf("  # none on this machine\n")
				}
				for _, l := range lines {
					m.printf("  %s\n", l)
				}
			}
			return nil
		},
	}
}
