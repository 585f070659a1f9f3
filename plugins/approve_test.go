package plugins

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"plain", []string{"touch", "./a-b", "--x={y}"}, "touch ./a-b --x={y}"},
		{"blanks and quotes", []string{"sh", "-c", `echo "a b" | sh`, ""}, `sh -c "echo \"a b\" | sh" ""`},
		{"one line", []string{"a", "b\nc\x1b[2K"}, `a "b\nc\x1b[2K"`},
		{"what turns text around", []string{"a", "\u202egnp"}, `a "\u202egnp"`},
		{"a long one", []string{"a", strings.Repeat("x", 300)}, "a " + strings.Repeat("x", 198) + "… (102 more characters)"},
	} {
		if got := commandLine(c.args); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// approveAs gives the plugin a an approval, and replaces all others.
func approveAs(t *testing.T, file, hash string) {
	t.Helper()
	data, err := EncodeApprovals(map[string]string{"a": hash})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func TestCommandsWaitForApproval(t *testing.T) {
	approvals := filepath.Join(t.TempDir(), "approvals.json")
	w := newWorld(t, Options{Approvals: approvals})
	text := "source: {probe: {name: a, run: true}}\npublish: [{topic: x}]\n"
	w.write("a.yaml", text)
	if st := w.is("a", StateApproval); len(st.Approve) != 1 || st.Approve[0] != "exec:./probe" || st.Generation != 0 {
		t.Errorf("%+v", st)
	}
	approve := func(text string) { approveAs(t, approvals, Hash([]byte(text))) }
	approve(text)
	w.is("a", StateRunning, generation(1))
	// An edit loses the approval; the approved version keeps running until its approval is
	// withdrawn.
	edited := text + "# edited\n"
	w.write("a.yaml", edited)
	if st := w.is("a", StateApproval); st.Generation != 1 {
		t.Errorf("%+v", st)
	}
	w.probes.post(t, "a", map[string]any{"value": 1})
	approve(edited)
	w.is("a", StateRunning, generation(2))
	// A version whose approval is withdrawn stops, even if the file has another content by then.
	stopped := func(n int) {
		t.Helper()
		until(t, "the source is closed", func() bool {
			w.probes.mu.Lock()
			defer w.probes.mu.Unlock()
			return w.probes.closed["a"] == n
		})
	}
	approve("something else")
	if st := w.is("a", StateApproval, func(st Status) bool { return len(st.Sources) == 0 }); st.Reason != "it waits for: postbus plugin approve a" {
		t.Errorf("%+v", st)
	}
	stopped(1) // the edit above left it running
	approve(edited)
	w.is("a", StateRunning, generation(3))
	w.write("a.yaml", edited+"mistake: [\n")
	w.is("a", StateStale)
	approve("something else")
	w.is("a", StateRejected)
	stopped(2)
}

// TestAnApprovalCoversScripts: who may write a script but not approve can't have another one run.
func TestAnApprovalCoversScripts(t *testing.T) {
	approvals := filepath.Join(t.TempDir(), "approvals.json")
	w := newWorld(t, Options{Approvals: approvals})
	script := filepath.Join(w.dir, "door.sh")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(script, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	checked := func() *Spec {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(w.dir, "a.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		spec, errs := (&Checker{Catalog: w.cat, Dir: w.dir}).Check("a", "a.yaml", data)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		return spec
	}
	approve := func() {
		t.Helper()
		hash, err := checked().ApprovalHash(w.dir)
		if err != nil {
			t.Fatal(err)
		}
		approveAs(t, approvals, hash)
	}
	opened := func(n int) {
		t.Helper()
		until(t, fmt.Sprintf("the source was opened %d times", n), func() bool {
			w.probes.mu.Lock()
			defer w.probes.mu.Unlock()
			return w.probes.opened["a"] == n
		})
	}
	write("echo open")
	w.write("a.yaml", "source: {probe: {name: a, run: true, file: door.sh}}\npublish: [{topic: x}]\n")
	w.is("a", StateApproval)
	if list := checked().Scripts(w.dir); len(list) != 1 || !strings.HasPrefix(list[0], "the content of ./door.sh (") {
		t.Errorf("%q", list)
	}
	approve()
	w.is("a", StateRunning, generation(1))
	opened(1)
	w.probes.mu.Lock()
	surroundings := w.probes.envs["a"]
	w.probes.mu.Unlock()
	if err := surroundings.MayRun(); err != nil {
		t.Errorf("approved: %v", err)
	}
	write("echo hacked")
	if err := surroundings.MayRun(); err == nil || !strings.Contains(err.Error(), "the content of ./door.sh is not the approved one: postbus plugin approve a") {
		t.Errorf("changed: %v", err)
	}
	w.is("a", StateApproval, func(st Status) bool { return len(st.Sources) == 0 })
	approve() // also the source runs the new content
	w.is("a", StateRunning, generation(2))
	opened(2)
	if err := os.Remove(script); err != nil {
		t.Fatal(err)
	}
	w.is("a", StateApproval)
	write("echo hacked") // back to what was approved
	w.is("a", StateRunning, generation(3))
}
