package hour

// This file is what the operator changes while the bus serves. Each change waits until it has its effect, is taken
// back, and waits again.

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// change is one thing that the operator does. It returns when all is as before, or works as well.
type change struct {
	name string
	do   func(h *hour) error
}

var (
	renewal     = change{"the server's certificate is renewed", (*hour).renewCertificate}
	revocation  = change{"a client's certificate is revoked", (*hour).revokeCertificate}
	newPassword = change{"a password changes", (*hour).changePassword}
	narrowing   = change{"a publisher's rights are narrowed", (*hour).narrowPublisher}
	hiding      = change{"a zone is hidden from a reader", (*hour).hideZone}
	removal     = change{"a user is removed", (*hour).removeUser}
	badConfig   = change{"the config is broken", (*hour).breakConfig}
	edit        = change{"the plugin is edited", (*hour).editPlugin}
	mistake     = change{"the plugin's file is broken", (*hour).breakPlugin}

	changes = []change{renewal, revocation, newPassword, narrowing, hiding, removal, badConfig, edit, mistake}
)

func (h *hour) renewCertificate() error {
	if err := h.house.renew(); err != nil {
		return err
	}
	want := h.house.serial
	return h.bus.until("the new certificate is presented", func() bool {
		c, err := tls.Dial("tcp", h.house.places["tls"], h.house.clientTLS("device"))
		if err != nil {
			return false
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64() == want
	})
}

// mayConnect reports whether a login of a user is accepted.
func (h *hour) mayConnect(user, network string) (ok bool, err error) {
	c, err := connect(h.ctx, h.login(profile{name: "probe-" + user, network: network, version: v5, user: user}, false))
	if err != nil {
		return false, err
	}
	return true, c.Close()
}

func (h *hour) revokeCertificate() error {
	if err := h.house.revoke("stolen"); err != nil {
		return err
	}
	err := h.bus.until("the revoked certificate is refused", func() bool { ok, _ := h.mayConnect("stolen", "tls"); return !ok })
	if ok, other := h.mayConnect("device", "tls"); !ok {
		err = errors.Join(err, fmt.Errorf("the other certificate is refused too: %w", other))
	}
	return errors.Join(err, h.house.revoke(), h.bus.until("the certificate is valid again", func() bool { ok, _ := h.mayConnect("stolen", "tls"); return ok }))
}

func (h *hour) changePassword() error {
	old := h.house.password("renamed")
	next := old + "+"
	if len(next) > 40 {
		next = "renamed"
	}
	var failed error
	if err := h.house.change("renamed", func(u *user) { failed = h.house.setPassword(u, next) }); err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	err := h.bus.until("the new password is accepted", func() bool { ok, _ := h.mayConnect("renamed", "tcp"); return ok })
	l := h.login(profile{name: "probe-old", network: "tcp", version: v5, user: "renamed"}, false)
	l.password = old
	if c, wrong := connect(h.ctx, l); wrong == nil {
		c.Close()
		err = errors.Join(err, errors.New("the old password is accepted"))
	}
	return err
}

func (h *hour) narrowPublisher() error {
	refusals := func() (n, accepted uint64) {
		for _, p := range h.pubs {
			if p.user == "narrowed" {
				n, accepted = n+p.refusals.Load(), accepted+p.accepted.Load()
			}
		}
		return n, accepted
	}
	before, _ := refusals()
	if err := h.house.change("narrowed", func(u *user) { u.publish = []string{"nothing/#"} }); err != nil {
		return err
	}
	err := h.bus.until("an event is refused", func() bool { n, _ := refusals(); return n > before })
	if other := h.house.change("narrowed", func(u *user) { u.publish = []string{"ev/#", "work/#"} }); other != nil {
		return other
	}
	_, before = refusals()
	return errors.Join(err, h.bus.until("an event is accepted again", func() bool { _, n := refusals(); return n > before }))
}

// hideZone ends when an event of the zone arrives that was sent after the zone was shown again.
func (h *hour) hideZone() error {
	deny := []string{fmt.Sprintf("ev/%d/#", hiddenZone)}
	h.ledger.hide(h.hidden, true)
	if err := h.house.change("hidden", func(u *user) { u.deny = deny }); err != nil {
		return err
	}
	lost := func() uint64 {
		var b struct {
			Lost map[string]uint64 `json:"lost"`
		}
		if h.bus.api("bus", &b) != nil {
			return 0
		}
		return b.Lost["forbidden"]
	}
	before := lost()
	err := h.bus.until("the bus counts a hidden event", func() bool { return lost() > before })
	if other := h.house.change("hidden", func(u *user) { u.deny = nil }); other != nil {
		return other
	}
	shown := h.ledger.serials()
	err = errors.Join(err, h.bus.until("an event of the zone is delivered again", func() bool { return h.ledger.zoneSince(h.hidden, shown) }))
	h.ledger.hide(h.hidden, false)
	return err
}

func (h *hour) removeUser() error {
	if err := h.house.change("removed", func(u *user) { u.removed = true }); err != nil {
		return err
	}
	err := h.bus.until("the removed user is refused", func() bool { ok, _ := h.mayConnect("removed", "tcp"); return !ok })
	if other := h.house.change("removed", func(u *user) { u.removed = false }); other != nil {
		return other
	}
	return errors.Join(err, h.bus.until("the user is back", func() bool { ok, _ := h.mayConnect("removed", "tcp"); return ok }))
}

func (h *hour) breakConfig() error {
	good, err := os.ReadFile(h.house.config())
	if err != nil {
		return err
	}
	h.bus.newLog()
	if err := replace(h.house.config(), append(good, "\nusers: [nobody\n"...)); err != nil {
		return err
	}
	var log strings.Builder
	err = h.bus.until("the mistake is in the log", func() bool {
		log.WriteString(h.bus.newLog())
		return strings.Contains(log.String(), "config not reloaded")
	})
	return errors.Join(err, h.house.write())
}

// plugin is the state of the plugin.
func (h *hour) plugin() (state string, generation, mistakes int) {
	var list []struct {
		ID         string `json:"id"`
		State      string `json:"state"`
		Generation int    `json:"generation"`
		Errors     []any  `json:"errors"`
	}
	if h.bus.api("plugins", &list) != nil {
		return "unknown", 0, 0
	}
	for _, p := range list {
		if p.ID == "copy" {
			return p.State, p.Generation, len(p.Errors)
		}
	}
	return "absent", 0, 0
}

// editPlugin changes the file, which makes a new version that does the same.
func (h *hour) editPlugin() error {
	_, before, _ := h.plugin()
	h.edits++
	if err := h.house.plugin(fmt.Sprintf("description: edited %d times\n%s", h.edits, pluginText)); err != nil {
		return err
	}
	return h.bus.until("the new version runs", func() bool {
		state, generation, _ := h.plugin()
		return state == "running" && generation > before
	})
}

// breakPlugin leaves the version before running.
func (h *hour) breakPlugin() error {
	if err := h.house.plugin(pluginText + "nonsense: [\n"); err != nil {
		return err
	}
	var state string
	err := h.bus.until("the mistake is known", func() bool {
		var mistakes int
		state, _, mistakes = h.plugin()
		return mistakes > 0
	})
	if !slices.Contains([]string{"running", "stale"}, state) {
		err = errors.Join(err, fmt.Errorf("the plugin with a mistake in its file is %s", state))
	}
	return errors.Join(err, h.house.plugin(pluginText), h.bus.until("the plugin is whole again", func() bool {
		state, _, mistakes := h.plugin()
		return state == "running" && mistakes == 0
	}))
}

// removePlugin removes the file while nobody publishes, and gives it back later.
func (h *hour) removePlugin() error {
	if err := os.Remove(h.house.pluginFile()); err != nil {
		return err
	}
	return h.bus.until("the plugin is gone", func() bool { state, _, _ := h.plugin(); return state == "absent" })
}

func (h *hour) restorePlugin(from []int) error {
	if err := h.house.plugin(pluginText); err != nil {
		return err
	}
	err := h.bus.until("the plugin is back", func() bool { state, _, _ := h.plugin(); return state == "running" })
	h.ledger.uncopied(from)
	return err
}
