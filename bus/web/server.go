package web

// This file is the Server: its options and its lifetime.

import (
	"context"
	_ "embed"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/admission"
	"github.com/postbus/postbus/bus/audit"
	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/quiet"
)

// Bus is the part of a bus that the server uses; *bus.Bus satisfies it.
type Bus interface {
	SessionsAfter(name string, n int) []bus.SessionInfo
	ClientsAfter(name string, n int) []bus.SessionInfo
	SessionsBehind(n int) []bus.SessionInfo
	SessionNamed(name string) (bus.SessionInfo, bool)
	Ready() error
	Reached() []string
	Publish(ctx context.Context, e bus.Event) (seq uint64, err error)
	Drop(ctx context.Context, session string) error
	RetainedTopics(filter, after string, each func(name string, size int) bool) error
	RetainedValue(name string) (bus.Event, bool)
	RetainedValues(names []string, each func(bus.Event) bool)
	History(ctx context.Context, filter string, since bus.Since, each func(bus.Event) bool) error
	EventAt(seq uint64) (e bus.Event, ok bool, err error)
	Stats() bus.Stats
	Holes() []journal.Hole
	Limits() bus.Limits
	Epoch() [16]byte
	Last() uint64
}

// Options of a server. The zero value works: every client has all rights, except to publish below
// $.
type Options struct {
	Logger       *slog.Logger
	Audit        *audit.Log                   // nil: none
	Authenticate Authenticate                 // nil: all rights, except to publish below $
	Local        bool                         // the listener is on loopback: clients may count as local
	Hosts        []string                     // names of this machine for the Host header, besides addresses and localhost
	Named        func(host string) bool       // with TLS: whether the certificate is for that name of a Host header; nil: never
	Origins      []string                     // other allowed web origins, as "https://host:port"
	MaxPayload   int                          // maximum size of a payload in bytes; 1 MiB when 0
	PluginsDir   string                       // the directory of plugin files, for display
	Mint         Mint                         // makes tokens; nil: no tokens
	Plugins      Plugins                      // nil: no plugins
	Fleet        func() any                   // the state of each entry of the fleet; nil: /api/v1/fleet answers 404
	FleetFigures func() []FleetFigures        // for the metrics; nil: none
	Warnings     func() any                   // the last warnings of the log; nil: none
	Broker       Broker                       // the source of the connection counts; nil: none
	Clients      Clients                      // nil: no clients and no bans
	Accounts     Accounts                     // nil: users and groups are not shown
	MQTT         func(c net.Conn, local bool) // speaks MQTT on a connection until it ends; nil: /mqtt answers 404
	ReadBuffer   int                          // bytes for each WebSocket; 4 KiB when 0
	WriteBuffer  int                          // bytes, shared by the WebSockets that write; 16 KiB when 0
	Examples     fs.FS                        // pages served at /examples/; nil: none
	Version      string
}

// openAPI describes the HTTP side for programs.
//
//go:embed openapi.json
var openAPI []byte

const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
)

// Server answers HTTP requests about a bus.
type Server struct {
	quiet   quiet.Log // for what clients cause
	bus     Bus
	o       Options
	log     *slog.Logger
	started time.Time
	origins atomic.Pointer[[]string]
	http    *http.Server
	tasks   sync.WaitGroup
	hooks   hooks
	lost    lastHour
	life    context.Context // until Close
	end     context.CancelFunc
	once    sync.Once
	assets  assets

	writeBuffers sync.Pool
}

// New makes a server. Serve starts it.
func New(b Bus, o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Authenticate == nil {
		o.Authenticate = func(Credentials) (Identity, error) { return everybody{}, nil }
	}
	if o.MaxPayload == 0 {
		o.MaxPayload = 1 << 20
	}
	if o.ReadBuffer == 0 {
		o.ReadBuffer = 4 << 10
	}
	if o.WriteBuffer == 0 {
		o.WriteBuffer = 16 << 10
	}
	s := &Server{bus: b, o: o, log: o.Logger, started: time.Now()}
	s.life, s.end = context.WithCancel(context.Background())
	var err error
	if s.assets, err = builtIn(o.Examples); err != nil {
		s.log.Error("pages not readable", "err", err) // they are part of the program: only a bug makes them unreadable
	}
	s.SetOrigins(o.Origins)
	s.http = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      time.Minute,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, placeKey{}, admission.Of(c))
		},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return s
}

// SetOrigins replaces Options.Origins.
func (s *Server) SetOrigins(origins []string) { s.origins.Store(&origins) }

// Handler is the server without its connections, for tests and for embedding.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for url, a := range s.assets {
		if strings.HasSuffix(url, "/") {
			url += "{$}"
		}
		mux.Handle("GET "+url, a)
	}
	mux.HandleFunc("GET /api", s.index)
	mux.HandleFunc("GET /api/v1/openapi.json", known(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openAPI) // on an error the client has disconnected
	}))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /api/v1/sessions", known(s.sessions, "limit", "after"))
	mux.HandleFunc("DELETE /api/v1/sessions/{name}", known(s.dropSession))
	mux.HandleFunc("POST /api/v1/publish", known(s.publish))
	mux.HandleFunc("POST /api/v1/token", known(s.token))
	mux.HandleFunc("GET /api/v1/topics", known(s.topics, "filter", "limit", "after"))
	mux.HandleFunc("GET /api/v1/events", known(s.events, "filter", "since", "limit"))
	mux.HandleFunc("GET /api/v1/bus", known(s.busState))
	mux.Handle("GET /metrics", s.metrics())
	mux.HandleFunc("GET /mqtt", s.webSocket)
	mux.HandleFunc(hookRoot, s.hook)
	if s.o.Clients != nil {
		mux.HandleFunc("GET /api/v1/clients", known(s.clients, "limit", "after"))
		mux.HandleFunc("GET /api/v1/clients/{id}", known(s.client))
		mux.HandleFunc("POST /api/v1/clients/{id}/kick", known(s.kick))
		mux.HandleFunc("POST /api/v1/clients/{id}/ban", known(s.banClient))
		mux.HandleFunc("DELETE /api/v1/clients/{id}/ban", known(s.unbanClient))
		mux.HandleFunc("GET /api/v1/bans", known(s.bans))
		mux.HandleFunc("POST /api/v1/bans", known(s.addBan))
		mux.HandleFunc("DELETE /api/v1/bans", known(s.removeBan, "client", "user", "address"))
	}
	if s.o.Accounts != nil {
		mux.HandleFunc("GET /api/v1/users", known(s.users, "limit", "after"))
		mux.HandleFunc("GET /api/v1/users/{name}", known(s.user))
		mux.HandleFunc("PUT /api/v1/users/{name}", known(s.putUser))
		mux.HandleFunc("DELETE /api/v1/users/{name}", known(s.removeUser))
		mux.HandleFunc("PUT /api/v1/users/{name}/password", known(s.putPassword))
		mux.HandleFunc("DELETE /api/v1/users/{name}/password", known(s.removePassword))
		mux.HandleFunc("PUT /api/v1/users/{name}/passwords/{label}", known(s.putPassword))
		mux.HandleFunc("DELETE /api/v1/users/{name}/passwords/{label}", known(s.removePassword))
		mux.HandleFunc("GET /api/v1/groups", known(s.groups, "limit", "after"))
		mux.HandleFunc("GET /api/v1/groups/{name}", known(s.group))
		mux.HandleFunc("PUT /api/v1/groups/{name}", known(s.putGroup))
		mux.HandleFunc("DELETE /api/v1/groups/{name}", known(s.removeGroup))
	}
	if s.o.Plugins != nil {
		mux.HandleFunc("GET /api/v1/plugins", known(s.plugins))
		mux.HandleFunc("GET /api/v1/plugins/{id}", known(s.plugin))
		mux.HandleFunc("GET /api/v1/explain", known(s.explain, "topic"))
		mux.HandleFunc("GET /api/v1/why", known(s.why, "seq", "topic"))
		mux.HandleFunc("GET /api/v1/timers", known(s.timers, "plugin", "limit"))
	}
	if s.o.Fleet != nil {
		mux.HandleFunc("GET /api/v1/fleet", known(s.fleet))
	}
	return s.publicHooks(s.guard(plainErrors(mux)))
}

// Serve accepts connections from l until Close.
func (s *Server) Serve(l net.Listener) {
	s.once.Do(func() { s.tasks.Go(func() { s.watchLosses(s.life) }) })
	s.tasks.Go(func() {
		if err := s.http.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("HTTP listener ended", "err", err)
		}
	})
}

// Close waits until running requests end, at most until ctx ends.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	s.end()
	s.tasks.Wait()
	return err
}
