// This file is tokens: their signing key, which is a file in the data folder, and "user token".

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/bus/web"
	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/config/atomicfile"
	"github.com/postbus/postbus/config/yamlnode"
)

const tokenKeyFile = "token.key" // in the data folder; a user who can read it can impersonate any user

// keyFile is auth.Keys. The file is read for each login with a token, so that a key that another
// postbus made, or that was deleted, takes effect at once. Reading it is cheap compared with a
// connection.
type keyFile struct {
	file string
	mu   sync.Mutex // held while making a key
}

func newKeyFile(dataDir string) *keyFile { return &keyFile{file: filepath.Join(dataDir, tokenKeyFile)} }

// Key implements auth.Keys.
func (k *keyFile) Key() ([]byte, error) {
	const hint = "remove the file: the next token makes a new key, and existing tokens become invalid"
	info, err := os.Stat(k.file) // it may be any kind of file
	switch {
	case err != nil:
		return nil, withHint(fmt.Errorf("token key: %w", err), "change its owner to the user that postbus runs as")
	case !info.Mode().IsRegular() || info.Size() != auth.TokenKeySize:
		return nil, withHint(fmt.Errorf("token key %s: has %d bytes, want a file of %d",
			k.file, info.Size(), auth.TokenKeySize), hint)
	}
	key, err := os.ReadFile(k.file)
	if err != nil {
		return nil, withHint(fmt.Errorf("token key: %w", err), "change its owner to the user that postbus runs as")
	}
	if len(key) != auth.TokenKeySize {
		return nil, withHint(fmt.Errorf("token key %s: has %d bytes, want %d",
			k.file, len(key), auth.TokenKeySize), hint)
	}
	return key, nil
}

// MakeKey implements auth.Keys.
func (k *keyFile) MakeKey() ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, err := k.Key()
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := os.MkdirAll(filepath.Dir(k.file), 0o700); err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	if err := atomicfile.Write(k.file, auth.NewTokenKey(), 0o600); err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	return k.Key() // the existing key counts: another postbus may have made one at the same moment
}

// ready reports an invalid key, so that the bus fails when it starts.
func (k *keyFile) ready() error {
	if _, err := k.Key(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// plain logs the details that only this machine may know, and returns the error for the client.
func (a *access) plain(err error) error {
	var expired *auth.ExpiredError
	if errors.As(err, &expired) { // which the client can't tell from a wrong one
		a.quiet.Warn(a.log, expired.User+"\x00"+expired.Password, "login refused: the password has expired",
			"user", expired.User, "password", expired.Password, "expired", expired.At.UTC().Format(time.RFC3339))
	}
	if errors.Is(err, auth.ErrCertificateUsers) {
		a.quiet.Warn(a.log, err.Error(), "login refused", "err", err)
		return auth.ErrCertificateUsers // without the users' names
	}
	if errors.Is(err, auth.ErrTokenKey) {
		a.log.Error("checking or issuing a token failed", "err", err)
		return auth.ErrTokenKey
	}
	return err
}

// mint is web.Mint.
func (a *access) mint(id web.Identity, life string) (string, time.Time, error) {
	var d time.Duration
	if life != "" {
		var err error
		if d, err = parseLife(life); err != nil {
			return "", time.Time{}, fmt.Errorf("%w: %v", web.ErrTokenLife, err)
		}
	}
	token, ends, err := a.tokens.Mint(id.(*auth.Identity), d)
	if errors.Is(err, auth.ErrTokenLife) || errors.Is(err, auth.ErrTokenLogin) {
		err = fmt.Errorf("%w: %v", web.ErrTokenLife, err)
	}
	return token, ends, a.plain(err)
}

// parseLife refuses 0, which has a special meaning for Mint.
func parseLife(s string) (time.Duration, error) {
	d, err := yamlnode.ParseDuration(s)
	if err == nil && d <= 0 {
		err = fmt.Errorf("a token cannot be valid for %s", s)
	}
	return d, err
}

func (m *Main) userToken() *cobra.Command {
	var s settings
	var life, dataDir, password string
	cmd := &cobra.Command{
		Use:   "token NAME",
		Short: "Print a token, which replaces a user's password until it expires",
		Long: `Print a token. It replaces the user's password until it expires, over MQTT and over HTTP, with the user's
rights. It becomes invalid earlier if the password that it replaces is changed, removed or expires, or the
user is removed. Of several passwords that is the first, or --name. Its key is in the data directory: give
the --config and --data-dir of the bus, and run the command as the bus's user.`,
		Example:           `  postbus user token pi --for 12h`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeUsers(&s),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := parseLife(life)
			if err != nil {
				return usagef("--for: %v", err)
			}
			if cmd.Flags().Changed("data-dir") {
				s.flags = append(s.flags, config.Override{Flag: "--data-dir", Key: "data_dir", Values: []string{dataDir}})
			}
			l, err := m.load(&s)
			if err != nil {
				return err
			}
			policy, err := newPolicy(auth.NewVerifier(1), nil, l.Config)
			if err != nil {
				return err
			}
			if _, ok := policy.Lookup(args[0]); !ok || args[0] == "" {
				return noUser(args[0])
			}
			id, ok := policy.LookupPassword(args[0], password)
			switch {
			case !ok && password != "":
				return noPassword(args[0], password)
			case !ok:
				return withHint(fmt.Errorf("user %q has no password that has not expired", args[0]),
					"a token ends with the password that it replaces: postbus user passwd %s", args[0])
			}
			keys := newKeyFile(l.DataDir)
			if err := keys.ready(); err != nil {
				return err // already worded for the user
			}
			token, _, err := auth.NewTokens(keys).Mint(id, d)
			switch {
			case errors.Is(err, auth.ErrTokenLife):
				return usagef("--for: %v", err)
			case err != nil:
				return err
			}
			m.printf("%s\n", token)
			return nil
		},
	}
	s.configFlag(cmd)
	cmd.Flags().StringVar(&life, "for", "1h", "the token's lifetime: `DURATION`, at most 30d")
	cmd.Flags().StringVar(&password, "name", "", "the token ends with the user's password of this `PASSWORD` name")
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "the bus keeps its journal in `DIR`")
	return cmd
}
