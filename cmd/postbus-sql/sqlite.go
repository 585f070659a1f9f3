package main

// This file is SQLite.

import (
	"context"
	dbsql "database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/sql"
)

// sqliteFile is an open file.
type sqliteFile struct {
	o       sql.Open
	db      *dbsql.DB
	conn    *dbsql.Conn
	stmt    *dbsql.Stmt
	columns []column
}

// openSQLite opens the file, and makes it if it may.
func openSQLite(ctx context.Context, o sql.Open) (*sqliteFile, error) {
	if err := place(o); err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(o.File)}
	if !strings.HasPrefix(u.Path, "/") { // C:/…
		u.Path = "/" + u.Path
	}
	// FULL: with the write-ahead log, a transaction is on disk when COMMIT returns.
	u.RawQuery = url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)"}}.Encode()
	db, err := dbsql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	s := &sqliteFile{o: o, db: db}
	if s.conn, err = db.Conn(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w", o.File, err)
	}
	return s, nil
}

// place makes an empty file if it is missing and may be made. It refuses what is no file. In the
// folder of databases it also refuses a symbolic link that leads out of it.
func place(o sql.Open) error {
	stat, create := os.Stat, func(name string) (*os.File, error) { return os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o640) }
	name := o.File
	if o.Folder != "" {
		if o.Create {
			if err := os.MkdirAll(filepath.Dir(o.File), 0o700); err != nil {
				return err
			}
		}
		root, err := os.OpenRoot(o.Folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			defer root.Close()
			if name, err = filepath.Rel(o.Folder, o.File); err != nil {
				return err
			}
			stat, create = root.Stat, func(name string) (*os.File, error) { return root.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o640) }
		}
	}
	info, err := stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file (%v)", o.File, info.Mode().Type())
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", o.File, err)
	case !o.Create:
		return fmt.Errorf("there is no file %s; write create: true, or make it", o.File)
	}
	f, err := create(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the folder %s does not exist; create it", filepath.Dir(o.File))
	} else if err != nil {
		return err
	}
	return f.Close()
}

func (s *sqliteFile) types(ctx context.Context) (map[string]string, error) {
	rows, err := s.conn.QueryContext(ctx, "SELECT name, lower(type) FROM pragma_table_info(?)", s.o.Table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var have map[string]string
	for rows.Next() {
		var name, as string
		if err := rows.Scan(&name, &as); err != nil {
			return nil, err
		}
		if have == nil {
			have = map[string]string{foldsCase: ""}
		}
		have[name] = as
	}
	return have, rows.Err()
}

func (s *sqliteFile) exec(ctx context.Context, statement string) error {
	_, err := s.conn.ExecContext(ctx, statement)
	return err
}

func (s *sqliteFile) prepare(ctx context.Context, statement string, columns []column) (err error) {
	s.columns = columns
	s.stmt, err = s.conn.PrepareContext(ctx, statement)
	return err
}

func (s *sqliteFile) insert(ctx context.Context, rows []sql.Row) (done int, err error) {
	if err := s.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return 0, err
	}
	for done < len(rows) {
		if _, err = s.stmt.ExecContext(ctx, values(rows[done], s.columns, sqliteValue)...); err != nil {
			break
		}
		done++
	}
	if err != nil && refusedBySQLite(err) {
		err = kind.Permanent(err)
	}
	if err == nil || done > 0 && kind.IsPermanent(err) { // a statement that is refused leaves the others of its transaction
		if e := s.exec(ctx, "COMMIT"); e == nil {
			return done, err
		} else if err == nil {
			err = e
		}
	}
	_ = s.exec(context.WithoutCancel(ctx), "ROLLBACK") // fails if SQLite has done it already
	return 0, err
}

// sqliteValue is a value as SQLite stores it.
func sqliteValue(v any, asJSON bool) any {
	switch x := v.(type) {
	case nil:
		return nil
	case bool:
		if !asJSON {
			return x
		}
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return n
		}
		if f, err := x.Float64(); err == nil && strings.ContainsAny(string(x), ".eE") {
			return f
		}
	}
	s, _ := text(v, asJSON)
	return s
}

// refusedBySQLite reports whether the row itself is the cause of an error.
func refusedBySQLite(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_CONSTRAINT, lib.SQLITE_MISMATCH, lib.SQLITE_TOOBIG:
		return true
	}
	return false
}

func (s *sqliteFile) close() {
	if s.stmt != nil {
		s.stmt.Close()
	}
	s.conn.Close()
	s.db.Close()
}
