// Package audit is the log of who did what: logins, refusals, changes of users and rules, approvals,
// and what administrators did to clients.
//
// It promises:
//
//   - Each entry is a line of JSON with time, msg and what belongs to it. It holds no password, no
//     token, no payload and no line of a config.
//   - What somebody who isn't trusted causes is bounded: of the refusals of one kind that one site or
//     client causes, one a minute is written, and of the logins of one client too, each with the number
//     of those that were not.
//   - The file is readable by its owner only. It is rotated: at most Files files of Size bytes.
//   - A disk that refuses entries stops nothing; the program's own log says how many were lost.
//
// It knows neither the bus nor the config.
package audit

import (
	"log/slog"

	"github.com/postbus/postbus/bus/quiet"
)

// Name is the file's name in the data folder; older entries are in audit.1.log to audit.4.log.
const Name = "audit.log"

// The bounds of the files.
const (
	Size  = 4 << 20 // bytes of one file
	Files = 5       // with the one that is being written
)

// clients is the number of clients whose last login is remembered.
const clients = 100_000

// Log writes the entries. A nil *Log discards them.
type Log struct {
	file     *file
	out      *slog.Logger
	refusals quiet.Log
	logins   quiet.Log
}

// Open makes the log of a folder; the first entry makes the file. trouble is the program's own log.
func Open(folder string, trouble *slog.Logger) *Log {
	f := &file{folder: folder, trouble: trouble}
	return &Log{file: f, out: slog.New(slog.NewJSONHandler(f, nil)), logins: quiet.Log{Most: clients}}
}

// Close closes the file. Later entries are lost.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	return l.file.close()
}

// Done writes what an operator or an administrator did.
func (l *Log) Done(what string, args ...any) {
	if l != nil {
		l.out.Info(what, args...)
	}
}

// Login writes that a client logged in.
func (l *Log) Login(client string, args ...any) {
	if l != nil {
		l.logins.Log(l.out, slog.LevelInfo, client, "login", append([]any{"client", client}, args...)...)
	}
}

// Refused writes that something was refused. site is the address or the client that causes it.
func (l *Log) Refused(site, what string, args ...any) {
	if l != nil {
		l.refusals.Warn(l.out, site, what, args...)
	}
}
