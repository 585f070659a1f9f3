package bench

// This file reads /proc: see proc(5).

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

func readMemory(pid int) (m Memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	for line := range bytes.Lines(text) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		var into *int64
		switch string(key) {
		case "VmRSS":
			into = &m.RSS
		case "RssAnon":
			into = &m.Anon
		case "VmHWM":
			into = &m.Peak
		default:
			continue
		}
		number, _, _ := bytes.Cut(bytes.TrimSpace(value), []byte(" "))
		if *into, err = strconv.ParseInt(string(number), 10, 64); err != nil {
			return m, fmt.Errorf("read the memory of process %d: %s: %w", pid, key, err)
		}
	}
	if m.RSS == 0 {
		return m, fmt.Errorf("read the memory of process %d: it has ended", pid)
	}
	return m, nil
}

// readCPU returns user and system time in seconds. The clock tick is 1/100 s on every Linux that Go
// runs on.
func readCPU(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	// The second field is the name in parentheses and may contain spaces.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("read the CPU time of process %d: unexpected /proc format", pid)
	}
	var ticks float64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseFloat(string(f), 64)
		if err != nil {
			return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
		}
		ticks += n
	}
	return ticks / 100, nil
}
