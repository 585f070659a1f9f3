package main

// This file is Postgres.

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/sql"
)

// postgresConn is a connection.
type postgresConn struct {
	table     table
	conn      *pgx.Conn
	statement string
	columns   []column
}

func openPostgres(ctx context.Context, o sql.Open) (*postgresConn, error) {
	c, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Password != "" {
		c.Password = o.Password
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "postbus"
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	return &postgresConn{table: table{name: o.Table}, conn: conn}, nil
}

func (p *postgresConn) types(ctx context.Context) (map[string]string, error) {
	rows, err := p.conn.Query(ctx, "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped", p.table.quoted())
	if err != nil {
		return nil, err
	}
	var have map[string]string
	var name, as string
	_, err = pgx.ForEachRow(rows, []any{&name, &as}, func() error {
		if have == nil {
			have = map[string]string{}
		}
		have[name] = as
		return nil
	})
	return have, err
}

func (p *postgresConn) exec(ctx context.Context, statement string) error {
	_, err := p.conn.Exec(ctx, statement)
	return err
}

func (p *postgresConn) prepare(ctx context.Context, statement string, columns []column) error {
	p.statement, p.columns = statement, columns
	_, err := p.conn.Prepare(ctx, "insert", statement)
	if err != nil {
		return err
	}
	// Whether there is the index is found out when the statement is planned.
	rows, err := p.conn.Query(ctx, "EXPLAIN "+statement, append(make([]any, len(columns)), "")...)
	if err == nil {
		rows.Close()
		err = rows.Err()
	}
	return err
}

// insert sends all rows at once: together they are one transaction.
func (p *postgresConn) insert(ctx context.Context, rows []sql.Row) (done int, err error) {
	var b pgx.Batch
	for _, r := range rows {
		b.Queue("insert", values(r, p.columns, postgresValue)...)
	}
	results := p.conn.SendBatch(ctx, &b)
	first := 0 // that failed
	for err == nil && first < len(rows) {
		if _, err = results.Exec(); err == nil {
			first++
		}
	}
	if e := results.Close(); err == nil { // also what is checked at the end of the transaction
		err, first = e, 0
	}
	switch {
	case err == nil:
		return len(rows), nil
	case !refusedByPostgres(err):
		return 0, err
	case first > 0: // the rows before it are stored without it
		if done, e := p.insert(ctx, rows[:first]); e != nil {
			return done, e
		}
	}
	return first, kind.Permanent(err)
}

// postgresValue is a value as text, which Postgres reads as the type of the column.
func postgresValue(v any, asJSON bool) any {
	s, ok := text(v, asJSON)
	if !ok {
		return nil
	}
	return s
}

// refusedByPostgres reports whether the row itself is the cause of an error.
func refusedByPostgres(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code[:2] { // the class, see appendix A of its manual
	case "22", "23", "44", "54", "P0": // data, integrity, WITH CHECK OPTION, limits, RAISE of a trigger
		return true
	}
	return false
}

func (p *postgresConn) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.conn.Close(ctx)
}
