// Package ban is the list of clients that may not connect: by client identifier, by user, or by
// address. A ban that Add accepted is stored, and Find takes the same time for any number of bans. The
// package does not end connections. It imports the standard library only.
package ban

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// Max is how many bans there can be.
	Max = 10_000
	// MaxName is the maximum size of what a ban names, in bytes.
	MaxName = 1024
)

// Ban names who may not connect: exactly one of Client, User and Address.
type Ban struct {
	Client  string    `json:"client,omitempty"`
	User    string    `json:"user,omitempty"`
	Address string    `json:"address,omitempty"` // an IP address without a port
	Until   time.Time `json:"until,omitzero"`    // zero: until it is removed
	Made    time.Time `json:"made"`
	By      string    `json:"by,omitempty"` // the user who made it
}

// String describes the ban for people.
func (b Ban) String() string {
	what := fmt.Sprintf("the client identifier %q", b.Client)
	switch {
	case b.User != "":
		what = fmt.Sprintf("the user %q", b.User)
	case b.Address != "":
		what = "the address " + b.Address
	}
	if b.Until.IsZero() {
		return what + " is banned"
	}
	return what + " is banned until " + b.Until.UTC().Format(time.RFC3339)
}

func (b *Ban) over(now time.Time) bool { return !b.Until.IsZero() && !now.Before(b.Until) }

// key identifies a ban.
type key struct{ kind, name string }

func (b *Ban) key() key {
	switch {
	case b.User != "":
		return key{"user", b.User}
	case b.Address != "":
		return key{"address", b.Address}
	}
	return key{"client", b.Client}
}

// ErrFull is returned by Add when there are Max bans.
var ErrFull = fmt.Errorf("there are %d bans, which is the maximum", Max)

// SaveError is the error of a change that could not be stored and therefore does not count.
type SaveError struct{ Err error }

func (e *SaveError) Error() string { return "the list of bans could not be stored: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *SaveError) Unwrap() error { return e.Err }

// List is the bans. All methods may be called from any goroutine.
type List struct {
	save func([]byte) error

	mu   sync.RWMutex
	bans map[key]Ban
}

// New makes a list of what save stored before; data is empty at first. save must replace all of it
// or nothing.
func New(data []byte, save func([]byte) error) (*List, error) {
	l := &List{save: save, bans: map[key]Ban{}}
	if len(data) == 0 {
		return l, nil
	}
	var bans []Ban
	if err := json.Unmarshal(data, &bans); err != nil {
		return nil, fmt.Errorf("the list of bans is damaged: %w", err)
	}
	for i, b := range bans {
		if err := b.normalise(); err != nil {
			return nil, fmt.Errorf("ban %d: %w", i+1, err)
		}
		l.bans[b.key()] = b
	}
	return l, nil
}

// normalise checks what a ban names, and brings an address into its usual form.
func (b *Ban) normalise() error {
	n := 0
	for _, name := range []string{b.Client, b.User, b.Address} {
		if name == "" {
			continue
		}
		n++
		if len(name) > MaxName || !utf8.ValidString(name) {
			return fmt.Errorf("a ban names at most %d bytes of UTF-8", MaxName)
		}
	}
	if n != 1 {
		return errors.New("a ban names exactly one of client, user and address")
	}
	if b.Address == "" {
		return nil
	}
	a, err := netip.ParseAddr(b.Address)
	if err != nil {
		return fmt.Errorf("%q is not an IP address", b.Address)
	}
	if a = a.Unmap().WithZone(""); a.IsLoopback() || a.IsUnspecified() {
		return fmt.Errorf("%s is this machine: a ban of it would keep out every local program; ban a client or a user", b.Address)
	}
	b.Address = a.String()
	return nil
}

// Add stores a ban; it replaces one of the same client, user or address. Errors: ErrFull, a
// *SaveError, or what is wrong with the ban.
func (l *List) Add(b Ban) error {
	if err := b.normalise(); err != nil {
		return err
	}
	return l.change(func(bans map[key]Ban) error {
		if _, again := bans[b.key()]; !again && len(bans) >= Max {
			return ErrFull
		}
		bans[b.key()] = b
		return nil
	})
}

// Remove ends the ban of what b names, and reports whether there was one. The error is a *SaveError,
// or what is wrong with b.
func (l *List) Remove(b Ban) (existed bool, err error) {
	if err := b.normalise(); err != nil {
		return false, err
	}
	err = l.change(func(bans map[key]Ban) error {
		_, existed = bans[b.key()]
		delete(bans, b.key())
		return nil
	})
	return existed, err
}

// change makes a change if it can be stored.
func (l *List) change(f func(map[key]Ban) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := make(map[key]Ban, len(l.bans)+1)
	now := time.Now()
	for k, b := range l.bans {
		if !b.over(now) {
			next[k] = b
		}
	}
	if err := f(next); err != nil {
		return err
	}
	data, err := json.Marshal(sorted(next))
	if err == nil {
		err = l.save(data)
	}
	if err != nil {
		return &SaveError{err}
	}
	l.bans = next
	return nil
}

// All lists the bans that are in force, clients first, then users, then addresses.
func (l *List) All() []Ban {
	l.mu.RLock()
	defer l.mu.RUnlock()
	now := time.Now()
	return slices.DeleteFunc(sorted(l.bans), func(b Ban) bool { return b.over(now) })
}

func sorted(bans map[key]Ban) []Ban {
	list := make([]Ban, 0, len(bans))
	for _, b := range bans {
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b Ban) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.User, b.User), cmp.Compare(a.Client, b.Client))
	})
	return list
}

// Find returns the ban that keeps a connection out. address may have a port; what is empty matches
// none.
func (l *List) Find(client, user, address string) (Ban, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.bans) == 0 {
		return Ban{}, false
	}
	keys := []key{{"client", client}, {"user", user}}
	if p, err := netip.ParseAddrPort(address); err == nil {
		keys = append(keys, key{"address", p.Addr().Unmap().WithZone("").String()})
	}
	now := time.Now()
	for _, k := range keys {
		if b, ok := l.bans[k]; ok && k.name != "" && !b.over(now) {
			return b, true
		}
	}
	return Ban{}, false
}
