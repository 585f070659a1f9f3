// This file explains why a node can't be opened: who owns it, and what to do.

package node

import (
	"fmt"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"
)

// Rule is a rule of udev that assigns nodes to a group, as many machines have it.
type Rule struct {
	Nodes string // which nodes, in udev's syntax, as SUBSYSTEM=="i2c-dev"
	Group string // the group that may open them
	File  string // in /etc/udev/rules.d
	Then  string // what makes it take effect, as "restart the machine"
	Needs uint32 // the permissions that a group needs to open one: 0o060 to read and write, 0o040 to read
}

// Denied adds to err, the permission error of opening path, who may open it: a group that may
// already, or the one of the rule, and how to write the rule. It wraps err.
func (r Rule) Denied(path string, err error) error {
	var st unix.Stat_t
	if unix.Stat(path, &st) == nil && st.Gid != 0 && st.Mode&r.Needs == r.Needs {
		group := strconv.Itoa(int(st.Gid))
		if g, err := user.LookupGroupId(group); err == nil {
			group = g.Name
		}
		return fmt.Errorf("no permission for %s: it belongs to the group %s; add the user that runs postbus (sudo usermod -aG %s USER) and restart postbus: %w", path, group, group, err)
	}
	return fmt.Errorf(`no permission for %s: only root has access; write %s, GROUP="%s", MODE="0660" into /etc/udev/rules.d/%s, add the user that runs postbus to the group %s, and %s: %w`,
		path, r.Nodes, r.Group, r.File, r.Group, r.Then, err)
}
