package node

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDenied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refusal := &fs.PathError{Op: "open", Path: path, Err: unix.EACCES}
	root := "no permission for " + path + `: only root has access; write SUBSYSTEM=="x", GROUP="g", MODE="0660" into /etc/udev/rules.d/60-x.rules, ` +
		"add the user that runs postbus to the group g, and plug it in again: " + refusal.Error()
	theirs := func(group string) string {
		return "no permission for " + path + ": it belongs to the group " + group + "; add the user that runs postbus (sudo usermod -aG " + group + " USER) and restart postbus: " + refusal.Error()
	}
	own, name := os.Getgid(), "54321"
	if own == 0 { // root's group counts as none, and root may use any other
		own = 54321
	} else if g, err := user.LookupGroupId(strconv.Itoa(own)); err == nil {
		name = g.Name
	} else {
		name = strconv.Itoa(own)
	}
	for _, c := range []struct {
		gid   int
		mode  os.FileMode
		needs uint32
		want  string
	}{
		{own, 0o660, 0o060, theirs(name)},
		{own, 0o640, 0o060, root},
		{own, 0o620, 0o060, root},
		{own, 0o640, 0o040, theirs(name)},
		{own, 0o620, 0o040, root},
		{20, 0o660, 0o060, theirs("dialout")},
		{0, 0o660, 0o060, root},
	} {
		if g, err := user.LookupGroupId("20"); c.gid == 20 && (err != nil || g.Name != "dialout") || os.Chown(path, -1, c.gid) != nil {
			t.Logf("a file can't be given to the group %d here", c.gid)
			continue
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		err := Rule{Nodes: `SUBSYSTEM=="x"`, Group: "g", File: "60-x.rules", Then: "plug it in again", Needs: c.needs}.Denied(path, refusal)
		if err.Error() != c.want || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("group %d, mode %o, needs %o:\ngot  %v\nwant %s", c.gid, c.mode, c.needs, err, c.want)
		}
	}
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	here, there, later := dir+"/here", dir+"/there", dir+"/later"
	for _, d := range []string{here, there, dir + "/x"} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if changes, closeIt := Watch(later); changes != nil {
		t.Error("a folder that isn't there is watched")
	} else {
		closeIt()
	}
	changes, closeIt := Watch(here, later, there)
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"a file came", func() error { return os.Symlink("x", here+"/node") }},
		{"a file was moved in", func() error { return os.Rename(dir+"/x", there+"/x") }},
		{"rights changed", func() error { return os.Chmod(there+"/x", 0o750) }},
		{"a folder went", func() error { return os.RemoveAll(there) }},
		{"a file came after that", func() error { return os.Symlink("x", here+"/node2") }},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changes:
		case <-time.After(time.Minute):
			t.Errorf("no notification: %s", c.what)
		}
		for quiet := false; !quiet; { // further notifications of the same change
			select {
			case <-changes:
			case <-time.After(50 * time.Millisecond):
				quiet = true
			}
		}
	}
	closeIt()
	if err := os.Symlink("x", here+"/node3"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changes:
		t.Error("a notification after the end")
	case <-time.After(50 * time.Millisecond):
	}
}
