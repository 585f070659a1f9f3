// This file is "sessions": the sessions as the bus's HTTP API reports them.

package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/config"
)

func (m *Main) sessionsCommand() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "Show every session of a running bus: online, lag, in flight, lost",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := m.listSessions(cmd.Context(), &r)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(m.Stdout).Encode(list)
			}
			return m.printSessions(list)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	r.remoteFlags(cmd, "the bus: http://HOST:PORT or https://HOST:PORT")
	var dr remote
	drop := &cobra.Command{
		Use:   "drop NAME",
		Short: "End a session that has no connection; its undelivered events are lost",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := m.api(cmd.Context(), &dr, http.MethodDelete, "/api/v1/sessions/"+url.PathEscape(args[0]))
			if err == nil {
				m.printf("dropped %s\n", oneLine(args[0]))
			}
			return err
		},
	}
	dr.remoteFlags(drop, "the bus: http://HOST:PORT or https://HOST:PORT")
	cmd.AddCommand(drop)
	return cmd
}

func (m *Main) httpURL(r *remote) (*url.URL, error) {
	off := false
	u, err := m.complete(r, func(c *config.Config) string {
		off = c.Listen.HTTP == ""
		l := c.Listen
		if !off {
			l.HTTP = reachable(l.HTTP)
		}
		return l.HTTPURL()
	}, func(u *url.URL) *url.URL {
		switch u.Scheme {
		case "http", "https":
			return u
		case "ws", "wss":
			return httpOf(u)
		}
		return nil
	}, "http://HOST:PORT reaches it, and serves every command")
	if off {
		return nil, withHint(errors.New("the config of this machine says listen.http: off"),
			"point elsewhere: --url http://HOST:8080")
	}
	return u, err
}

// api makes one request and returns the response. The error is the bus's own where it has one.
func (m *Main) api(ctx context.Context, r *remote, method, path string) ([]byte, error) {
	return m.apiWith(ctx, r, method, path, nil)
}

// apiWith is api with a JSON body; nil: none.
func (m *Main) apiWith(ctx context.Context, r *remote, method, path string, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	resp, err := m.request(ctx, r, method, path, "", body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", resp.Request.URL.Host, err)
	}
	return got, nil
}

// request makes one request with a JSON body, and returns the response if it is good. accept is the wanted form of the
// answer; empty: JSON.
func (m *Main) request(ctx context.Context, r *remote, method, path, accept string, body any) (*http.Response, error) {
	base, err := m.httpURL(r)
	if err != nil {
		return nil, err
	}
	t, err := r.tlsConfig()
	if err != nil {
		return nil, err
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: t, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, DisableKeepAlives: true}}
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(base.String(), "/")+path, sent)
	if err != nil {
		return nil, err
	}
	if sent != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	if r.user != "" {
		req.SetBasicAuth(r.user, r.password)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, httpUnreachable(base, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", base, err)
	}
	var p struct{ Error, Hint string }
	if json.Unmarshal(got, &p) != nil || p.Error == "" {
		hint := "does postbus run there?"
		if strings.Contains(string(got), "HTTP request to an HTTPS server") { // the text of Go's server
			hint = "it speaks TLS: --url https://" + base.Host
		}
		return nil, withHint(fmt.Errorf("%s%s: %s", base, path, resp.Status), "%s", hint)
	}
	if resp.StatusCode == http.StatusUnauthorized {
		p.Hint = "give a user: --user NAME, and the password in POSTBUS_PASSWORD"
	}
	if p.Hint == "" {
		return nil, errors.New(p.Error)
	}
	return nil, withHint(errors.New(p.Error), "%s", p.Hint)
}

func httpUnreachable(u *url.URL, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return withHint(fmt.Errorf("cannot reach %s: %w", u, cause(err)),
			"is a bus running there? start one with: postbus run; or point elsewhere: --url http://HOST:8080")
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	failed := fmt.Errorf("cannot reach %s: %w", u, err)
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return withHint(failed, "name the authority that signed the bus's certificate: --cafile FILE")
	case errors.As(err, &name):
		return withHint(failed, "use a name that the certificate is for: --url https://NAME:%s", u.Port())
	case errors.Is(err, http.ErrSchemeMismatch):
		return withHint(fmt.Errorf("cannot reach %s: it does not speak TLS", u), "--url http://%s", u.Host)
	}
	return failed
}

// listSessions asks for one page after another.
func (m *Main) listSessions(ctx context.Context, r *remote) ([]bus.SessionInfo, error) {
	return listPages(ctx, m, r, "/api/v1/sessions", func(s *bus.SessionInfo) string { return s.Name })
}

// listPages asks for all pages of a list, whose items are in the order of their names.
func listPages[T any](ctx context.Context, m *Main, r *remote, path string, name func(*T) string) ([]T, error) {
	const limit = 1000
	list := []T{}
	for {
		q := url.Values{"limit": {strconv.Itoa(limit)}}
		if len(list) > 0 {
			q.Set("after", name(&list[len(list)-1]))
		}
		body, err := m.api(ctx, r, http.MethodGet, path+"?"+q.Encode())
		if err != nil {
			return nil, err
		}
		var page []T
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, fmt.Errorf("the answer of %s is not a list: %w", path, err)
		}
		list = append(list, page...)
		if len(page) < limit {
			return list, nil
		}
	}
}

func (m *Main) printSessions(list []bus.SessionInfo) error {
	if len(list) == 0 {
		m.printf("no sessions\n")
		return nil
	}
	w := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLIENT\tONLINE\tLAG\tLAG TIME\tIN FLIGHT\tLOST\tFILTERS")
	for _, s := range list {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%s\t%s\n", client(s), online(s), s.Lag, lagTime(s), s.InFlight, lost(s.Lost), oneLine(strings.Join(s.Filters, " ")))
	}
	return w.Flush()
}

// client returns the session's name, marked when its client is another broker.
func client(s bus.SessionInfo) string {
	if s.Bridge {
		return oneLine(s.Name) + " (bridge)"
	}
	return oneLine(s.Name)
}

func online(s bus.SessionInfo) string {
	switch {
	case s.Online:
		return "yes"
	case s.Absent > 0:
		return "no, " + (time.Duration(s.Absent) * time.Second).String()
	}
	return "no"
}

func lagTime(s bus.SessionInfo) string {
	if s.Lag == 0 {
		return "-"
	}
	return (time.Duration(s.LagSeconds*10) * time.Second / 10).String()
}

// lost returns the sum, with the reasons.
func lost(by map[string]uint64) string {
	if len(by) == 0 {
		return "0"
	}
	var sum uint64
	var reasons []string
	for reason, n := range by {
		sum += n
		reasons = append(reasons, reason)
	}
	slices.Sort(reasons)
	return fmt.Sprintf("%d (%s)", sum, strings.Join(reasons, ", "))
}
