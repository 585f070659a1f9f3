// This file keeps the last warnings of the log, for users who look at the bus and not at its log.

package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const keptWarnings = 20

// warning is one line of the log.
type warning struct {
	Time  time.Time `json:"time"`
	Level string    `json:"level"`
	Text  string    `json:"text"`
}

// warnings is a slog.Handler that forwards every record and remembers warnings and errors.
type warnings struct {
	slog.Handler
	attrs string
	kept  *keptWarningList
}

type keptWarningList struct {
	mu   sync.Mutex
	list []warning
}

func keepWarnings(h slog.Handler) *warnings { return &warnings{Handler: h, kept: &keptWarningList{}} }

// Handle implements slog.Handler.
func (w *warnings) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		var b strings.Builder
		b.WriteString(r.Message)
		r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%s", a.Key, a.Value); return true })
		b.WriteString(w.attrs)
		w.kept.add(warning{r.Time, r.Level.String(), b.String()})
	}
	if !w.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return w.Handler.Handle(ctx, r)
}

// Enabled implements slog.Handler. Warnings are kept at any level of the log.
func (w *warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn || w.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (w *warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	text := w.attrs
	for _, a := range attrs {
		text += fmt.Sprintf(" %s=%s", a.Key, a.Value)
	}
	return &warnings{w.Handler.WithAttrs(attrs), text, w.kept}
}

// WithGroup implements slog.Handler.
func (w *warnings) WithGroup(name string) slog.Handler {
	return &warnings{w.Handler.WithGroup(name), w.attrs, w.kept}
}

func (k *keptWarningList) add(w warning) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.list) == keptWarnings {
		k.list = slices.Delete(k.list, 0, 1)
	}
	k.list = append(k.list, w)
}

// newest returns them, the newest first.
func (k *keptWarningList) newest() []warning {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := slices.Clone(k.list)
	slices.Reverse(list)
	if list == nil {
		list = []warning{}
	}
	return list
}
