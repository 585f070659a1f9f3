// This file is the action. It shows notifications over one persistent connection, because desktops
// remove the notifications of a connection that ends.

package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/plugins/kind"
)

// maxRemembered bounds the notifications that are remembered for their buttons and for replacement.
const maxRemembered = 256

// Action shows notifications.
type Action struct {
	o     ActionOptions
	env   kind.Env
	end   context.CancelFunc
	alive context.Context // ends with the action
	tasks sync.WaitGroup

	mu     sync.Mutex
	conn   *dbus.Conn // nil while disconnected
	owner  string     // the daemon's name on the bus
	server *server    // its capabilities; nil: not known yet
	shown  []note     // the notifications shown, the oldest first
}

// note is a notification that was shown.
type note struct {
	id           uint32
	tag, replace string
	closed       bool
}

// server is the capabilities of a notification daemon.
type server struct{ markup, buttons bool }

// NewAction makes an action of checked options.
func NewAction(o ActionOptions, env kind.Env) *Action {
	a := &Action{o: o, env: env}
	a.alive, a.end = context.WithCancel(context.Background())
	return a
}

// Close closes the connection. Notifications stay, except on desktops that remove them.
func (a *Action) Close() error {
	a.end()
	a.tasks.Wait()
	return nil
}

// Do shows or removes a notification. It returns nil when the desktop has accepted it.
func (a *Action) Do(ctx context.Context, args Args) error {
	args, err := checked(args)
	if err != nil {
		return err
	}
	a.mu.Lock() // signals wait until the notification's number is known
	defer a.mu.Unlock()
	if err := a.connect(ctx); err != nil {
		return err
	}
	id := a.replaced(args.Replace)
	if args.Close {
		return a.remove(ctx, id)
	}
	body := args.Body
	if a.server.markup {
		body = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(body)
	}
	actions := []string{}
	if a.server.buttons {
		for _, b := range a.o.Buttons {
			actions = append(actions, b.Key, b.Label)
		}
	}
	hints := map[string]dbus.Variant{"urgency": dbus.MakeVariant(byte(map[string]int{"low": 0, "": 1, "normal": 1, "critical": 2}[args.Urgency]))}
	timeout := int32(-1)
	if a.o.Timeout > 0 {
		timeout = int32(max(a.o.Timeout.Milliseconds(), 1))
	}
	var got uint32
	if err := call(ctx, a.conn, desktop, desktopPath, desktop+".Notify", a.o.App, id, args.Icon, args.Title, body, actions, hints, timeout).Store(&got); err != nil {
		return fault(err)
	}
	a.refreshOwnerLocked(ctx) // the call may have started the daemon
	a.shown = slices.DeleteFunc(a.shown, func(n note) bool { return n.id == got })
	if len(a.shown) >= maxRemembered {
		a.shown = slices.Delete(a.shown, 0, 1)
	}
	a.shown = append(a.shown, note{id: got, tag: args.Tag, replace: args.Replace})
	return nil
}

// fault returns an error of the daemon; a missing daemon gets a plain message.
func fault(err error) error {
	var e dbus.Error
	if errors.As(err, &e) && (e.Name == "org.freedesktop.DBus.Error.ServiceUnknown" || e.Name == "org.freedesktop.DBus.Error.NameHasNoOwner") {
		return errors.New("no desktop shows notifications: no program owns the name " + desktop + " on the session bus; run a notification daemon, as dunst")
	}
	return fmt.Errorf("the desktop's notifications: %w", err)
}

// replaced returns the notification to replace; 0 for none.
func (a *Action) replaced(key string) uint32 {
	if key == "" {
		return 0
	}
	for _, n := range slices.Backward(a.shown) {
		if n.replace == key && !n.closed {
			return n.id
		}
	}
	return 0
}

// remove removes a notification. One that was removed already is no error.
func (a *Action) remove(ctx context.Context, id uint32) error {
	if id == 0 {
		return nil
	}
	err := call(ctx, a.conn, desktop, desktopPath, desktop+".CloseNotification", id).Err
	var e dbus.Error
	if errors.As(err, &e) && e.Name != "org.freedesktop.DBus.Error.ServiceUnknown" && e.Name != "org.freedesktop.DBus.Error.NoReply" {
		return nil // daemons word that error differently
	}
	return err
}

// connect connects and queries the daemon's capabilities. The caller holds mu.
func (a *Action) connect(ctx context.Context) error {
	if a.alive.Err() != nil {
		return errors.New("the action was closed")
	}
	if a.conn == nil || !a.conn.Connected() {
		if err := a.dial(ctx); err != nil {
			return err
		}
	}
	a.refreshOwnerLocked(ctx)
	if a.server != nil {
		return nil
	}
	var list []string
	if err := call(ctx, a.conn, desktop, desktopPath, desktop+".GetCapabilities").Store(&list); err != nil {
		return fault(err)
	}
	a.refreshOwnerLocked(ctx)
	a.server = &server{markup: slices.Contains(list, "body-markup"), buttons: slices.Contains(list, "actions")}
	if len(a.o.Buttons) > 0 && !a.server.buttons {
		a.env.Degraded(errors.New("this desktop shows notifications without buttons"))
	} else {
		a.env.Degraded(nil)
	}
	return nil
}

// refreshOwnerLocked queries the daemon's name on the bus. A new daemon has none of our
// notifications, and numbers them from the start. The caller holds mu.
func (a *Action) refreshOwnerLocked(ctx context.Context) {
	var owner string
	_ = call(ctx, a.conn, daemon, daemonPath, daemon+".GetNameOwner", desktop).Store(&owner) // an error says that there is none
	if owner != a.owner {
		a.owner, a.server, a.shown = owner, nil, nil
	}
}

// dial connects and receives signals until the connection ends. The caller holds mu.
func (a *Action) dial(ctx context.Context) error {
	h := &signalHandler{signals: make(chan *dbus.Signal, 256), dropped: func() {}, wanted: func(sig *dbus.Signal) bool {
		return sig.Sender == daemon && sig.Name == daemon+".NameOwnerChanged" || sig.Path == desktopPath && strings.HasPrefix(sig.Name, desktop+".")
	}}
	conn, err := dial(a.alive, a.o.SessionBus, dbus.WithSignalHandler(h))
	if err != nil {
		return err
	}
	if err := listen(ctx, conn, "sender='"+desktop+"',path='"+string(desktopPath)+"'",
		"sender='"+daemon+"',interface='"+daemon+"',member='NameOwnerChanged',arg0='"+desktop+"'"); err != nil {
		conn.Close()
		return err
	}
	a.conn, a.owner, a.server, a.shown = conn, "", nil, nil
	a.tasks.Go(func() {
		for {
			select {
			case sig := <-h.signals:
				a.onSignal(conn, sig)
			case <-conn.Context().Done():
				return
			}
		}
	})
	return nil
}

// onSignal forwards the daemon's signals about our notifications to the sources.
func (a *Action) onSignal(conn *dbus.Conn, sig *dbus.Signal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != conn {
		return
	}
	if sig.Name == daemon+".NameOwnerChanged" {
		a.refreshOwnerLocked(a.alive)
		return
	}
	if sig.Sender != a.owner || len(sig.Body) != 2 {
		return // any client may send us a signal
	}
	id, _ := sig.Body[0].(uint32)
	i := slices.IndexFunc(a.shown, func(n note) bool { return n.id == id })
	if i < 0 {
		return
	}
	n := &a.shown[i]
	switch sig.Name {
	case desktop + ".ActionInvoked":
		key, _ := sig.Body[1].(string)
		if slices.ContainsFunc(a.o.Buttons, func(b Button) bool { return b.Key == key }) {
			a.report(conn, "pressed", n.tag, key, "")
		}
	case desktop + ".NotificationClosed":
		if n.closed {
			return
		}
		n.closed = true // its button may still follow: some daemons send both in this order
		reason, _ := sig.Body[1].(uint32)
		a.report(conn, "closed", n.tag, "", map[uint32]string{1: "expired", 2: "dismissed", 3: "closed"}[reason])
	}
}

// report notifies the sources of this process.
func (a *Action) report(conn *dbus.Conn, action, tag, button, reason string) {
	if action == "closed" && reason == "" {
		reason = "unknown"
	}
	_ = conn.Emit(ourPath, signalName, action, tag, button, reason) // a broken connection notifies no source
}
