// This file is a connection to the X server, which is made again when it ends.

package desktop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"time"

	"github.com/jezek/xgb"
)

// quiet keeps the library from writing to standard error, because errors are returned as well. Its
// logger is a global variable, so it is set once.
var quiet = sync.OnceFunc(func() { xgb.Logger = log.New(io.Discard, "", 0) })

// errWayland says why nothing can be watched.
var errWayland = errors.New("this is a Wayland session, which hides the active window and the time since the last input; " +
	"watch idle without idle_after, as the desktop reports it; to watch the X11 programs in the session, set display")

// endTimeout is how long an X server may take to answer at the end. A stopped server, as under a
// debugger, never answers.
const endTimeout = time.Second

// watchDisplay runs f with a connection to the X server until ctx ends. f calls healthy when it
// works, and returns when the connection ended.
func (s *Source) watchDisplay(ctx context.Context, what string, f func(ctx context.Context, x *xgb.Conn, healthy func()) error) {
	reconnect(ctx, func() error {
		ended := make(chan error, 1)
		go func() {
			ended <- s.display(ctx, func(ctx context.Context, x *xgb.Conn) error {
				return f(ctx, x, func() {
					if ctx.Err() == nil {
						s.setCondition(what, nil)
					}
				})
			})
		}()
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
		}
		late := time.NewTimer(endTimeout)
		defer late.Stop()
		select {
		case <-ended:
		case <-late.C: // the library's goroutines wait for the server's answer, and end when it continues or ends
		}
		return ctx.Err()
	}, func(err error) { s.setCondition(what, err) })
}

// display connects and runs f. It discards the events that f leaves afterwards, so that the library
// can end.
func (s *Source) display(ctx context.Context, f func(ctx context.Context, x *xgb.Conn) error) error {
	name := s.o.Display
	switch {
	case name == "" && (os.Getenv("WAYLAND_DISPLAY") != "" || os.Getenv("XDG_SESSION_TYPE") == "wayland"):
		return errWayland
	case name == "":
		name = os.Getenv("DISPLAY")
	}
	if name == "" {
		return errors.New("there is no X display: $DISPLAY is not set; set display, or run postbus in the desktop's session")
	}
	quiet()
	x, err := xgb.NewConnDisplay(name)
	if err != nil {
		return fmt.Errorf("the X server %s can't be reached: %w; waiting for it", name, err)
	}
	inner, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(inner, x.Close)
	defer func() {
		cancel()
		if !stop() {
			x.Close() // closing twice is harmless
		}
		for {
			if e, err := x.WaitForEvent(); e == nil && err == nil {
				return
			}
		}
	}()
	return f(inner, x)
}
