package plugins

// This file is consent: a plugin that runs commands waits until somebody approved that very content of
// its file. Approvals are a file in the data folder that only its owner may write.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ReadApprovals returns the approved hash of each plugin. A file that is not there is empty.
func ReadApprovals(file string) (map[string]string, error) {
	m := map[string]string{}
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) || file == "":
		return m, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

// EncodeApprovals is the content of the file. Whoever writes it replaces the file in one step.
func EncodeApprovals(m map[string]string) ([]byte, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	return append(data, '\n'), err
}

// approvals are those in force; without a readable file nothing is approved.
func (s *Supervisor) approvals() map[string]string {
	m, err := ReadApprovals(s.o.Approvals)
	if err != nil {
		s.o.Logger.Error("approvals not readable: nothing counts as approved", "err", err)
		return nil
	}
	return m
}
