// This file is the active window, as window managers report it (Extended Window Manager Hints 1.5),
// and the time since the last key or mouse input (the MIT-SCREEN-SAVER extension).

package desktop

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/screensaver"
	"github.com/jezek/xgb/xproto"

	"github.com/postbus/postbus/plugins/kind"
)

const (
	anyType  = xproto.GetPropertyTypeAny
	maxTitle = 1024 // words of 4 bytes that are read of a property
)

var errX = errors.New("the X server is gone; waiting for it")

// windows reads the properties of windows.
type windows struct {
	x                 *xgb.Conn
	root              xproto.Window
	watched           xproto.Window // the window whose properties are watched
	active, name, pid xproto.Atom
}

// atom returns the number of a name.
func atom(x *xgb.Conn, name string) (xproto.Atom, error) {
	r, err := xproto.InternAtom(x, false, uint16(len(name)), name).Reply()
	if err != nil {
		return 0, fmt.Errorf("the X server has no atom %s: %w", name, err)
	}
	return r.Atom, nil
}

// window reports the active window and its title, and each change of them.
func (s *Source) window(ctx context.Context, x *xgb.Conn, healthy func()) (err error) {
	w := windows{x: x, root: xproto.Setup(x).DefaultScreen(x).Root}
	for name, a := range map[string]*xproto.Atom{"_NET_ACTIVE_WINDOW": &w.active, "_NET_WM_NAME": &w.name, "_NET_WM_PID": &w.pid} {
		if *a, err = atom(x, name); err != nil {
			return err
		}
	}
	if err := xproto.ChangeWindowAttributesChecked(x, w.root, xproto.CwEventMask, []uint32{xproto.EventMaskPropertyChange}).Check(); err != nil {
		return fmt.Errorf("the X server refuses to report changes of its windows: %w", err)
	}
	first := s.first("window")
	for {
		f, managed, err := w.read()
		if err != nil {
			return err
		}
		if !managed {
			s.setCondition("window", errors.New("no window manager reports the active window (_NET_ACTIVE_WINDOW); waiting for it"))
		} else {
			healthy()
			if err := s.report(ctx, first, f); err != nil {
				return err
			}
			first = false
		}
		for reported := false; !reported; {
			e, xerr := x.WaitForEvent()
			if e == nil && xerr == nil {
				return errX
			}
			reported = w.concerns(e)
		}
		for { // further events that arrived with it
			if e, xerr := x.PollForEvent(); e == nil && xerr == nil {
				break
			}
		}
	}
}

// first reports whether no state of what was reported yet.
func (s *Source) first(what string) bool {
	s.turn.Lock()
	defer s.turn.Unlock()
	_, reported := s.reported[what+" "+fmt.Sprint(nil)]
	return !reported
}

// concerns reports whether an event may be about the active window or its title.
func (w *windows) concerns(e xgb.Event) bool {
	if d, ok := e.(xproto.DestroyNotifyEvent); ok { // some window managers keep the number of the last window that was closed
		return d.Window == w.watched
	}
	p, ok := e.(xproto.PropertyNotifyEvent)
	if !ok {
		return false
	}
	if p.Window == w.root {
		return p.Atom == w.active
	}
	return p.Window == w.watched && (p.Atom == w.name || p.Atom == xproto.AtomWmName || p.Atom == xproto.AtomWmClass)
}

// errGone is the error of a window that was closed.
var errGone = errors.New("the window is gone")

// property returns a property's value; empty when the window has none.
func (w *windows) property(of xproto.Window, a xproto.Atom) (*xproto.GetPropertyReply, error) {
	r, err := xproto.GetProperty(w.x, false, of, a, anyType, 0, maxTitle).Reply()
	var gone xgb.Error
	if errors.As(err, &gone) {
		return nil, errGone
	}
	if err != nil {
		return nil, errX
	}
	return r, nil
}

// read returns the active window as an event, and watches its properties. managed reports whether a
// window manager reports it.
func (w *windows) read() (f map[string]any, managed bool, err error) {
	r, err := w.property(w.root, w.active)
	if err != nil || r.Type == 0 {
		return nil, false, err
	}
	id := xproto.Window(number(r))
	if id != w.watched {
		if w.watched != 0 {
			xproto.ChangeWindowAttributes(w.x, w.watched, xproto.CwEventMask, []uint32{0})
		}
		if w.watched = id; id != 0 {
			xproto.ChangeWindowAttributes(w.x, id, xproto.CwEventMask, []uint32{xproto.EventMaskPropertyChange | xproto.EventMaskStructureNotify})
		}
	}
	f, err = w.describe(id)
	if errors.Is(err, errGone) {
		f, err = w.describe(0)
	}
	return f, true, err
}

// describe returns a window as an event; 0 is none.
func (w *windows) describe(id xproto.Window) (map[string]any, error) {
	f := map[string]any{"what": "window", "title": nil, "class": nil, "instance": nil, "pid": nil}
	if id == 0 {
		return f, nil
	}
	var r *xproto.GetPropertyReply
	var err error
	title := ""
	for _, a := range []xproto.Atom{w.name, xproto.AtomWmName} { // the first often exists and is empty
		if r, err = w.property(id, a); err != nil {
			return nil, err
		}
		if title = w.text(r); title != "" {
			break
		}
	}
	if title != "" {
		f["title"] = title
	}
	if r, err = w.property(id, xproto.AtomWmClass); err != nil {
		return nil, err
	}
	if instance, class, _ := strings.Cut(string(r.Value), "\x00"); instance != "" || class != "" {
		f["instance"], f["class"] = short(instance), short(strings.TrimRight(class, "\x00"))
	}
	if r, err = w.property(id, w.pid); err != nil {
		return nil, err
	}
	if n := number(r); n > 0 {
		f["pid"] = int(n)
	}
	return f, nil
}

// number returns a property's first number of 32 bits.
func number(r *xproto.GetPropertyReply) uint32 {
	if r.Format != 32 || len(r.Value) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(r.Value) // the byte order that the library requested
}

// text decodes a property as text: STRING is Latin-1 (ICCCM 2.7.1), UTF8_STRING is UTF-8.
func (w *windows) text(r *xproto.GetPropertyReply) string {
	if r.Format != 8 {
		return ""
	}
	value := strings.TrimRight(string(r.Value), "\x00")
	if r.Type != xproto.AtomString {
		return short(value)
	}
	runes := make([]rune, len(value))
	for i := range len(value) {
		runes[i] = rune(value[i])
	}
	return short(string(runes))
}

const idlePoll = time.Second // how often to ask X, while the user is idle, whether the user is active again

// watchIdle reports when there was no key or mouse input for idle_after, and when there is input
// again.
func (s *Source) watchIdle(ctx context.Context, x *xgb.Conn, healthy func()) error {
	if err := saver(x); err != nil {
		return err
	}
	root := xproto.Drawable(xproto.Setup(x).DefaultScreen(x).Root)
	first := s.first("idle")
	for {
		r, err := screensaver.QueryInfo(x, root).Reply()
		if err != nil {
			return errX
		}
		healthy()
		since := time.Duration(r.MsSinceUserInput) * time.Millisecond
		if err := s.report(ctx, first, map[string]any{"what": "idle", "idle": since >= s.o.IdleAfter}); err != nil {
			return err
		}
		first = false
		if kind.Sleep(ctx, max(s.o.IdleAfter-since, min(idlePoll, s.o.IdleAfter))) != nil {
			return nil
		}
	}
}

// saver queries the extension that knows the time since the last input. screensaver.Init would do
// the same, but it writes to a map of the library that the readers of all connections read, for the
// extension's events, which aren't used here.
func saver(x *xgb.Conn) error {
	const name = "MIT-SCREEN-SAVER"
	r, err := xproto.QueryExtension(x, uint16(len(name)), name).Reply()
	if err != nil {
		return errX
	}
	if !r.Present {
		return fmt.Errorf("the X server doesn't report the time since the last input: it has no %s", name)
	}
	x.ExtLock.Lock()
	defer x.ExtLock.Unlock()
	x.Extensions[name] = r.MajorOpcode
	return nil
}
