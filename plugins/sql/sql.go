// Package sql is the action `sql`: each event is a row of a table in SQLite or Postgres.
//
// What it promises:
//
//   - Rows are inserted in the order of the events, many in one transaction. An event counts as done
//     when its transaction is durable: SQLite syncs each one to disk (synchronous=FULL, with a
//     write-ahead log), Postgres answers as its synchronous_commit says.
//   - Each event has its row once. The column postbus_id has the identity of the job (kind.Job) and
//     a unique index: what is repeated after a crash of the bus or of the database changes nothing.
//   - While the database is unreachable, locked or full, the events wait in the queue on disk. A row
//     that it refuses becomes a dead letter, and its neighbours are stored.
//
// The libraries of the databases are large, so that they are in a program of their own, postbus-sql,
// which this package runs: see wire.go, and docs/adr/0023-sql-is-a-program-of-its-own.md. It is
// started at the first event, reads batches of rows from its standard input, and answers each.
// Nothing of the action is in the memory of the bus but the current batch.
package sql

import (
	_ "embed"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postbus/postbus/plugins/kind"
)

// sample is a complete plugin file with this action.
//
//go:embed action.yaml
var sample string

// about is the action's description, in Markdown.
const about = "Inserts each event as a row into a table of SQLite or Postgres, in order, with many rows in a transaction. Each event has its row once: the column `postbus_id`, which must have a unique index, " +
	"holds the identity of the event for this entry, and a repetition after a crash changes nothing. An event counts as done when its row is durable. While the database is unreachable or its disk is full, the events wait in the queue on disk: they do not expire and are retried until they are stored, unless " +
	"`expires` and `retry` say otherwise. A row that the database refuses (a constraint, a wrong type) becomes a dead letter, and its neighbours are stored.\n\n" +
	"With `create: true` a missing database file and a missing table are made. The type of a column is that of `types`, otherwise that of its first value: a number is `real`, true and false are `boolean`, a list or mapping is `json`, a time as 2026-01-31T12:00:00Z is `timestamp`, everything else is `text`. " +
	"An existing table is not changed; what it lacks is reported together with the statement that adds it. The types are " +
	"TEXT, INTEGER, REAL, INTEGER (0 or 1), TEXT and TEXT in SQLite, in a STRICT table, and text, bigint, double precision, boolean, jsonb and timestamptz in Postgres.\n\n" +
	"A file of SQLite without a folder is in `databases` of the data folder. Write the password of Postgres as `password: secret:name`, and `?sslmode=verify-full` after the database if the network is not yours. " +
	"The databases are reached by a program of their own, `postbus-sql`, which has to be in the folder of `postbus` or in PATH, and is run while the action has something to do (some 20 MB of memory and one connection for each entry). It runs on every platform."

// Options are the options of the action, fixed when the file is loaded.
type Options struct {
	URL      string            `key:"url" doc:"the database: sqlite:events.db, or postgres://user@host:5432/database" need:"yes" secret:"within"`
	Password string            `key:"password" doc:"the password of Postgres, best as secret:name" secret:"yes"`
	Table    string            `key:"table" doc:"the table, for Postgres also as schema.table; letters, digits and _" need:"yes"`
	Columns  kind.Keys         `key:"columns" doc:"the names of the columns"`
	Types    map[string]string `key:"types" doc:"the types of columns, for create: text, integer, real, boolean, json or timestamp. A column of the type json gets any value as JSON"`
	Create   bool              `key:"create" doc:"make the database file and the table if they are missing"`
	Batch    kind.Batch        `key:"batch" doc:"how many events are stored in one transaction"`
	Timeout  time.Duration     `key:"timeout" doc:"the maximum time for a batch, and for connecting" min:"1s" max:"10m"`
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{Batch: kind.Batch{Count: 500, Bytes: 1 << 20}, Timeout: 30 * time.Second}
}

// Args are the arguments for one event.
type Args struct {
	Columns map[string]any `key:"columns" doc:"a value for each column; a value that is missing is NULL, a list or mapping is stored as JSON, and bytes that are not text in base64" need:"yes"`
}

// IDColumn is the column of the jobs' identities.
const IDColumn = "postbus_id"

// Types are the types of columns.
var Types = []string{"text", "integer", "real", "boolean", "json", "timestamp"}

const (
	maxColumns = 200
	maxName    = 63 // bytes of a name, which Postgres would cut off
)

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// Check checks the options against each other.
func (o Options) Check() []error {
	errs := o.checkURL()
	parts := strings.Split(o.Table, ".")
	switch {
	case len(parts) > 2 || slices.ContainsFunc(parts, func(s string) bool { return !identifier.MatchString(s) }):
		errs = append(errs, kind.Wrong("table", fmt.Sprintf("%q is not the name of a table", o.Table), "write letters, digits and _, at most 63, as readings, or schema.readings for Postgres"))
	case o.file() != "" && (len(parts) > 1 || strings.HasPrefix(strings.ToLower(o.Table), "sqlite_")):
		errs = append(errs, kind.Wrong("table", fmt.Sprintf("SQLite has no table %q", o.Table), "write a name without a dot that does not begin with sqlite_"))
	}
	if len(o.Columns) == 0 {
		errs = append(errs, kind.Wrong("columns", "there is no column", `write them as a mapping, as {topic: "${event.name}", value: "${event.json}"}`))
	}
	if len(o.Columns) > maxColumns {
		errs = append(errs, kind.Wrong("columns", fmt.Sprintf("there are %d columns, at most %d are allowed", len(o.Columns), maxColumns), ""))
	}
	seen := map[string]bool{strings.ToLower(IDColumn): true}
	for _, name := range o.Columns {
		switch {
		case name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
			errs = append(errs, kind.Wrong("columns", fmt.Sprintf("%q is not the name of a column", name), "write 1 to 63 bytes of text"))
		case strings.EqualFold(name, IDColumn):
			errs = append(errs, kind.Wrong("columns."+name, "the column "+IDColumn+" holds the identity of the event, which postbus sets", "choose another name"))
		case seen[strings.ToLower(name)]:
			errs = append(errs, kind.Wrong("columns."+name, fmt.Sprintf("two columns are called %q, in upper or lower case", name), ""))
		}
		seen[strings.ToLower(name)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(o.Types)) {
		t := o.Types[name]
		if !slices.Contains(o.Columns, name) {
			errs = append(errs, kind.Wrong("types."+name, fmt.Sprintf("there is no column %q", name), "the columns are "+strings.Join(o.Columns, ", ")))
		}
		if !slices.Contains(Types, t) {
			errs = append(errs, kind.Wrong("types."+name, fmt.Sprintf("%q is not a type", t), "write one of "+strings.Join(Types, ", ")))
		}
	}
	return errs
}

const urlHint = "write sqlite:events.db or postgres://user@host:5432/database"

// hole is a secret in the URL of a file that is checked: it is filled in before the action is made.
var hole = regexp.MustCompile(`\$\{secret\.[A-Za-z0-9._-]+\}`)

// filled stands for a secret in a URL.
const filled = "filled-in"

func (o Options) checkURL() []error {
	wrong := func(reason, hint string) []error { return []error{kind.Wrong("url", reason, hint)} }
	scheme, rest, _ := strings.Cut(o.URL, ":")
	switch scheme {
	case "sqlite":
		switch {
		case rest == "" || strings.HasPrefix(rest, "//") || strings.ContainsAny(rest, "?#\x00") || strings.HasSuffix(rest, "/"):
			return wrong(fmt.Sprintf("%q names no file", o.URL), "write sqlite:events.db, or sqlite:/folder/events.db")
		case !filepath.IsAbs(filepath.FromSlash(rest)) && !filepath.IsLocal(filepath.FromSlash(rest)):
			return wrong(fmt.Sprintf("the path %q leaves the folder of databases", rest), "write a name in it, as sqlite:events.db, or a whole path, as sqlite:/folder/events.db")
		case o.Password != "":
			return []error{kind.Wrong("password", "a file of SQLite has no password", "remove it")}
		}
		return nil
	case "postgres", "postgresql":
		u, err := url.Parse(hole.ReplaceAllLiteralString(o.URL, filled))
		if err != nil {
			return wrong("this is not a URL", urlHint)
		}
		if p, has := u.User.Password(); has && p != filled || u.Query().Has("password") {
			return wrong("a password does not belong into the URL, where it can be seen", `write it as password: "secret:name"`)
		}
		if u.Host == "" && !u.Query().Has("host") {
			return wrong("the URL names no host", urlHint)
		}
		if strings.Trim(u.Path, "/") == "" {
			return wrong("the URL names no database", urlHint)
		}
		return nil
	}
	return wrong(fmt.Sprintf("%q is a database that is not known", clip(scheme)), urlHint)
}

func clip(s string) string { return s[:min(len(s), 40)] }

// file is the file of SQLite as in the URL; "" if the database is Postgres.
func (o Options) file() string {
	file, _ := strings.CutPrefix(o.URL, "sqlite:")
	if file == o.URL {
		return ""
	}
	return filepath.FromSlash(file)
}

// Access is the file or the host that the action writes to.
func (o Options) Access() []string {
	if f := o.file(); f != "" {
		if !filepath.IsAbs(f) {
			f = filepath.Join("databases", f)
		}
		return []string{"path:" + f}
	}
	u, err := url.Parse(hole.ReplaceAllLiteralString(o.URL, filled))
	if err != nil {
		return nil
	}
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = u.Query().Get("host")
	}
	if port == "" {
		port = "5432"
	}
	return []string{"host:" + net.JoinHostPort(host, port)}
}
