// This file changes a machine's device tree: lines get names as on a real board.

package vmtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// plant writes the machine's device tree, changed by Tree.
func (m Machine) plant(k kernel, path string) error {
	args, err := k.args("")
	if err != nil {
		return err
	}
	c := exec.Command(k.qemu, append([]string{"-M", k.machine + ",dumpdtb=" + path, "-m", "512", "-display", "none", "-nic", "none"}, args...)...)
	if text, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("dumping the device tree: %w\n%s", err, text)
	}
	dtb, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if dtb, err = m.Tree(dtb); err != nil {
		return err
	}
	return os.WriteFile(path, dtb, 0o600)
}

// SetProperty adds a property to a node of a flattened device tree. It finds the node by its own
// name (as "pl061@9030000"). value is stored unchanged: texts end in a zero byte. Devicetree
// Specification 0.4, chapter 5.
func SetProperty(dtb []byte, node, name string, value []byte) ([]byte, error) {
	be := binary.BigEndian
	if len(dtb) < 40 || be.Uint32(dtb) != 0xd00dfeed {
		return nil, errors.New("this is not a device tree")
	}
	field := func(i int) int { return int(be.Uint32(dtb[4*i:])) }
	nodes := dtb[field(2) : field(2)+field(9)]
	texts := dtb[field(3) : field(3)+field(8)]
	reserved := dtb[field(4):field(2)] // QEMU writes it before the nodes
	begin := append([]byte{0, 0, 0, 1}, node...)
	at := bytes.Index(nodes, append(begin, 0))
	if at < 0 {
		return nil, fmt.Errorf("the device tree has no %s", node)
	}
	at += (len(begin) + 1 + 3) &^ 3
	prop := be.AppendUint32(nil, 3)
	prop = be.AppendUint32(prop, uint32(len(value)))
	prop = be.AppendUint32(prop, uint32(len(texts)))
	prop = append(prop, value...)
	for len(prop)%4 != 0 {
		prop = append(prop, 0)
	}
	out := bytes.Clone(dtb[:40])
	set := func(i, v int) { be.PutUint32(out[4*i:], uint32(v)) }
	set(4, len(out))
	out = append(out, reserved...)
	set(2, len(out))
	out = append(append(append(out, nodes[:at]...), prop...), nodes[at:]...)
	set(9, len(nodes)+len(prop))
	set(3, len(out))
	out = append(append(append(out, texts...), name...), 0)
	set(8, len(texts)+len(name)+1)
	set(1, len(out))
	return out, nil
}
