// This file lets the host act on a running machine: QMP for plugs and keys, qtest for wires.

package vmtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"
)

// VM is a running machine. Only the goroutine of Machine.Answer may call its methods.
type VM struct {
	dir        string
	qmp, qtest *channel
}

type channel struct {
	net.Conn
	r *bufio.Reader
}

func (vm *VM) close() {
	for _, c := range []*channel{vm.qmp, vm.qtest} {
		if c != nil {
			c.Close()
		}
	}
}

func (vm *VM) dial(name string) (*channel, error) {
	c, err := net.DialTimeout("unix", vm.dir+"/"+name, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &channel{c, bufio.NewReader(c)}, nil
}

// QMP executes a command of the QEMU Machine Protocol; args may be nil. An error of QEMU is
// returned.
func (vm *VM) QMP(command string, args map[string]any) (json.RawMessage, error) {
	if vm.qmp == nil {
		c, err := vm.dial("q")
		if err != nil {
			return nil, err
		}
		vm.qmp = c
		if _, err := c.r.ReadBytes('\n'); err != nil { // the greeting
			return nil, err
		}
		if _, err := vm.QMP("qmp_capabilities", nil); err != nil {
			return nil, err
		}
	}
	m := map[string]any{"execute": command}
	if args != nil {
		m["arguments"] = args
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if err := vm.qmp.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := vm.qmp.Write(append(text, '\n')); err != nil {
		return nil, err
	}
	for {
		line, err := vm.qmp.r.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("QMP %s: %w", command, err)
		}
		var reply struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := json.Unmarshal(line, &reply); err != nil {
			return nil, fmt.Errorf("QMP %s: %w", command, err)
		}
		switch {
		case reply.Error != nil:
			return nil, fmt.Errorf("QMP %s: %s", command, reply.Error.Desc)
		case reply.Return != nil: // otherwise it is an event
			return reply.Return, nil
		}
	}
}

// Wire sets an input wire of a device, by its path of Find, to a level: 0 or 1.
func (vm *VM) Wire(device string, line, level int) error {
	_, err := vm.Qtest(fmt.Sprintf("set_irq_in %s unnamed-gpio-in %d %d", device, line, level))
	return err
}

// Qtest sends a line of QEMU's test protocol and returns the answer after its OK.
func (vm *VM) Qtest(line string) (string, error) {
	if vm.qtest == nil {
		c, err := vm.dial("t")
		if err != nil {
			return "", err
		}
		vm.qtest = c
	}
	if err := vm.qtest.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return "", err
	}
	if _, err := vm.qtest.Write([]byte(line + "\n")); err != nil {
		return "", err
	}
	for {
		reply, err := vm.qtest.r.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("qtest %s: %w", line, err)
		}
		if value, ok := strings.CutPrefix(strings.TrimSpace(reply), "OK"); ok {
			return strings.TrimSpace(value), nil
		}
		if !strings.HasPrefix(reply, "IRQ") { // an interrupt message about a wire
			return "", fmt.Errorf("qtest %s: %s", line, strings.TrimSpace(reply))
		}
	}
}

// Find returns the path of the machine's first device of a type.
func (vm *VM) Find(device string) (string, error) {
	const at = "/machine/unattached"
	out, err := vm.QMP("qom-list", map[string]any{"path": at})
	if err != nil {
		return "", err
	}
	var list []struct{ Name, Type string }
	if err := json.Unmarshal(out, &list); err != nil {
		return "", err
	}
	for _, d := range list {
		if d.Type == "child<"+device+">" {
			return at + "/" + d.Name, nil
		}
	}
	return "", fmt.Errorf("the machine has no %s", device)
}
