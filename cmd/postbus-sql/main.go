// Program postbus-sql stores rows in SQLite and Postgres for the action `sql` of postbus, which runs
// it. It reads requests as lines of JSON from its standard input and answers each on its standard
// output, see wire.go in package plugins/sql. It ends when its input ends.
//
// It is a program of its own because of its size, see docs/adr/0023-sql-is-a-program-of-its-own.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/sql"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "error: postbus-sql has no arguments: postbus runs it for plugins with the action sql")
		os.Exit(2)
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// serve answers requests until in ends.
func serve(in io.Reader, out io.Writer) error {
	requests := json.NewDecoder(bufio.NewReaderSize(in, 64<<10))
	requests.UseNumber()
	answers := json.NewEncoder(out)
	var s *store
	defer func() {
		if s != nil {
			s.close()
		}
	}()
	for {
		var r sql.Request
		if err := requests.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		var answer sql.Answer
		var err error
		switch {
		case r.Open != nil && r.Open.Version != sql.Version:
			err = fmt.Errorf("postbus speaks version %d and postbus-sql version %d: install both programs of one release", r.Open.Version, sql.Version)
		case r.Open != nil && s == nil:
			s = newStore(*r.Open)
		case r.Open == nil && s != nil:
			answer.Done, err = s.insert(context.Background(), r.Rows)
		default:
			err = errors.New("the first request, and only that, opens the database")
		}
		if err != nil {
			answer.Error, answer.Permanent = err.Error(), kind.IsPermanent(err)
		}
		if err := answers.Encode(answer); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
}

// store is the database of the action, which is opened when it is needed.
type store struct {
	o  sql.Open
	db database // nil: closed
}

// database is an open connection whose table is ready.
type database interface {
	// types returns the types of the table's columns, lower case; nil: there is no table.
	types(ctx context.Context) (map[string]string, error)
	// exec executes a statement that makes the table.
	exec(ctx context.Context, statement string) error
	// prepare prepares the statement that inserts a row of these columns.
	prepare(ctx context.Context, statement string, columns []column) error
	// insert stores rows in one transaction, as kind.BatchAction has it: if the database refuses one,
	// those before it are stored, and the error is permanent.
	insert(ctx context.Context, rows []sql.Row) (done int, err error)
	close()
}

func newStore(o sql.Open) *store { return &store{o: o} }

// insert stores rows. After an error that may pass, the database is opened again: at once if it was
// open from before, because a server ends idle connections, and otherwise by the next call.
func (s *store) insert(ctx context.Context, rows []sql.Row) (done int, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.o.Timeout)*time.Millisecond)
	defer cancel()
	defer func() {
		if p := recover(); p != nil { // the row that causes it must not block the others
			s.db = nil // its state is not known: it is not even closed
			done, err = 0, kind.Permanent(fmt.Errorf("internal error: %v", p))
		}
	}()
	for range 2 {
		open := s.db != nil
		if err = nil; !open {
			err = s.open(ctx, rows)
		}
		if err == nil {
			if done, err = s.db.insert(ctx, rows); err == nil || kind.IsPermanent(err) {
				return done, err
			}
		}
		s.close()
		if !open || ctx.Err() != nil {
			break
		}
	}
	return 0, err
}

// open opens the database, and makes or checks the table. rows tell the types of columns.
func (s *store) open(ctx context.Context, rows []sql.Row) (err error) {
	var dialect dialect
	if s.o.File != "" {
		dialect = sqliteDialect
		s.db, err = openSQLite(ctx, s.o)
	} else {
		dialect = postgresDialect
		s.db, err = openPostgres(ctx, s.o)
	}
	if err != nil {
		s.db = nil // not an interface that holds nil
		return err
	}
	t := table{dialect: dialect, name: s.o.Table, columns: columnsOf(s.o.Columns, rows)}
	have, err := s.db.types(ctx)
	if err != nil {
		return err
	}
	if have == nil {
		if !s.o.Create {
			return fmt.Errorf("there is no table %s; write create: true, or execute: %s", t.name, t.create())
		}
		if err := s.db.exec(ctx, t.create()); err != nil {
			return fmt.Errorf("%s: %w", t.create(), err)
		}
		if have, err = s.db.types(ctx); err != nil {
			return err
		}
	}
	if err := t.check(have); err != nil {
		return err
	}
	if err := s.db.prepare(ctx, t.insert(), t.columns); err != nil {
		return t.explain(err)
	}
	return nil
}

func (s *store) close() {
	if s.db != nil {
		s.db.close()
		s.db = nil
	}
}
