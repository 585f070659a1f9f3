package broker_test

// This file tests Node-RED: an mqtt in node that is wired to an mqtt out node, as the editor makes
// them.

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/internal/logtest"
)

func TestNodeRED(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is missing: install the Debian package nodejs")
	}
	const red = "testdata/nodered/node_modules/node-red/red.js"
	if _, err := os.Stat(red); err != nil {
		t.Skip("Node-RED is missing: run `npm ci --omit=optional --ignore-scripts` in bus/broker/testdata/nodered")
	}
	for _, version := range []string{"4", "5"} {
		t.Run("MQTT "+version, func(t *testing.T) {
			t.Parallel()
			addr, b := start(t, t.TempDir(), bus.Options{SegmentSize: 1 << 20}, broker.Options{})
			host, port, _ := net.SplitHostPort(addr)
			flows := []map[string]any{
				{"id": "tab", "type": "tab", "label": "Flow 1"},
				{"id": "broker", "type": "mqtt-broker", "broker": host, "port": port, "clientid": "", "autoConnect": true, "usetls": false, "protocolVersion": version, "keepalive": "60",
					"cleansession": true, "birthTopic": "red/state", "birthQos": "1", "birthRetain": "true", "birthPayload": "online",
					"closeTopic": "", "willTopic": "red/state", "willQos": "1", "willRetain": "true", "willPayload": "offline", "sessionExpiry": ""},
				{"id": "in", "type": "mqtt in", "z": "tab", "topic": "red/in", "qos": "2", "datatype": "auto-detect", "broker": "broker", "nl": false, "rap": true, "rh": 0, "inputs": 0, "wires": [][]string{{"out"}}},
				{"id": "out", "type": "mqtt out", "z": "tab", "topic": "red/out", "qos": "1", "retain": "", "broker": "broker", "wires": [][]string{}},
			}
			dir := t.TempDir()
			text, err := json.Marshal(flows)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "flows.json"), text, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			_, ui, _ := net.SplitHostPort(free.Addr().String())
			free.Close()
			log := new(logtest.Buffer)
			cmd := exec.Command("node", red, "--userDir", dir, "--settings", "testdata/nodered/settings.js")
			cmd.Env = append(os.Environ(), "UI_PORT="+ui, "HOME="+dir)
			cmd.Stdout, cmd.Stderr = log, log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				if t.Failed() {
					t.Log("Node-RED:\n" + log.String())
				}
			}()
			eventually(t, "Node-RED has subscribed", func() bool {
				return slices.ContainsFunc(b.Sessions(), func(s bus.SessionInfo) bool { return slices.Contains(s.Filters, "red/in") })
			})
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			sub, err := b.Subscribe(ctx, "watch", "red/out")
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Close()
			const count = 500
			for i := range count {
				if _, err := b.Send(bus.Event{Topic: "red/in", Payload: fmt.Appendf(nil, `{"n":%d}`, i), QoS: 2}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range count {
				e, err := sub.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if want := fmt.Sprintf(`{"n":%d}`, i); string(e.Payload) != want {
					t.Fatalf("got %s, want %s", e.Payload, want)
				}
				sub.Ack(e)
			}
			state := func(want string) func() bool {
				return func() bool {
					list, err := b.Retained("red/state")
					return err == nil && len(list) == 1 && string(list[0].Payload) == want
				}
			}
			eventually(t, "its birth message is retained", state("online"))
			_ = cmd.Process.Kill()
			eventually(t, "its will is retained", state("offline"))
		})
	}
}
