package main

// This file makes the statements, and the types of columns.

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/sql"
)

// dialect is what differs between the databases in a statement.
type dialect struct {
	types  map[string]string
	suffix string // of CREATE TABLE
	param  func(n int) string
}

var (
	sqliteDialect = dialect{
		types:  map[string]string{"text": "TEXT", "integer": "INTEGER", "real": "REAL", "boolean": "INTEGER", "json": "TEXT", "timestamp": "TEXT"},
		suffix: " STRICT", // so that a wrong type is refused, as by Postgres
		param:  func(int) string { return "?" },
	}
	postgresDialect = dialect{
		types: map[string]string{"text": "text", "integer": "bigint", "real": "double precision", "boolean": "boolean", "json": "jsonb", "timestamp": "timestamptz"},
		param: func(n int) string { return "$" + strconv.Itoa(n) },
	}
)

// column is a column of the table.
type column struct {
	sql.Column
	guessed string // its type, if the file does not say it
	json    bool   // it gets any value as JSON
}

func (c column) kind() string {
	if c.Type != "" {
		return c.Type
	}
	return c.guessed
}

// columnsOf finds the types of columns from the first value of each.
func columnsOf(list []sql.Column, rows []sql.Row) []column {
	out := make([]column, len(list))
	for i, c := range list {
		out[i] = column{Column: c, guessed: "text", json: c.Type == "json"}
		for _, r := range rows {
			if v := r.Values[i]; v != nil {
				out[i].guessed = typeOf(v)
				break
			}
		}
	}
	return out
}

func typeOf(v any) string {
	switch x := v.(type) {
	case bool:
		return "boolean"
	case json.Number:
		return "real"
	case map[string]any, []any:
		return "json"
	case string:
		if _, err := time.Parse(time.RFC3339Nano, x); err == nil {
			return "timestamp"
		}
	}
	return "text"
}

// table is the table that rows are inserted into.
type table struct {
	dialect dialect
	name    string // checked by package sql: letters, digits, _ and a dot between schema and name
	columns []column
}

// quote quotes the name of a table or column.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func (t *table) quoted() string {
	parts := strings.Split(t.name, ".")
	for i := range parts {
		parts[i] = quote(parts[i])
	}
	return strings.Join(parts, ".")
}

func (t *table) create() string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s (", t.quoted())
	for _, c := range t.columns {
		fmt.Fprintf(&b, "%s %s, ", quote(c.Name), t.dialect.types[c.kind()])
	}
	fmt.Fprintf(&b, "%s %s NOT NULL UNIQUE)%s", quote(sql.IDColumn), t.dialect.types["text"], t.dialect.suffix)
	return b.String()
}

func (t *table) insert() string {
	var names, params []string
	for i, c := range t.columns {
		names, params = append(names, quote(c.Name)), append(params, t.dialect.param(i+1))
	}
	names, params = append(names, quote(sql.IDColumn)), append(params, t.dialect.param(len(t.columns)+1))
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) ON CONFLICT (%s) DO NOTHING", t.quoted(), strings.Join(names, ", "), strings.Join(params, ", "), quote(sql.IDColumn))
}

// check reports which columns an existing table lacks, with the statements that add them.
func (t *table) check(have map[string]string) error {
	var lacks, adds []string
	add := func(name, as string) {
		lacks = append(lacks, name)
		adds = append(adds, fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s", t.quoted(), quote(name), as))
	}
	for i := range t.columns {
		c := &t.columns[i]
		as, ok := lookUp(have, c.Name)
		if !ok {
			add(c.Name, t.dialect.types[c.kind()])
		}
		c.json = c.json || as == "json" || as == "jsonb"
	}
	if _, ok := lookUp(have, sql.IDColumn); !ok {
		add(sql.IDColumn, t.dialect.types["text"])
		adds = append(adds, t.index())
	}
	if len(lacks) == 0 {
		return nil
	}
	return fmt.Errorf("the table %s has no column %s; an existing table is not changed: execute %s", t.name, strings.Join(lacks, ", "), strings.Join(adds, "; "))
}

// lookUp finds a column as the databases do: SQLite ignores the case of letters.
func lookUp(have map[string]string, name string) (string, bool) {
	if as, ok := have[name]; ok {
		return as, true
	}
	if _, folds := have[foldsCase]; folds {
		for other, as := range have {
			if strings.EqualFold(other, name) {
				return as, true
			}
		}
	}
	return "", false
}

// foldsCase is a name in the types of a table whose columns are found in upper and lower case. No
// column can have it.
const foldsCase = ""

// index is the statement that makes the unique index.
func (t *table) index() string {
	name := quote(t.name[strings.LastIndex(t.name, ".")+1:] + "_" + sql.IDColumn)
	return fmt.Sprintf("CREATE UNIQUE INDEX %s ON %s (%s)", name, t.quoted(), quote(sql.IDColumn))
}

// explain adds to an error of the insert statement what a table lacks.
func (t *table) explain(err error) error {
	if !strings.Contains(err.Error(), "ON CONFLICT") {
		return err
	}
	return fmt.Errorf("the column %s of the table %s has no unique index, which it needs: execute %s", sql.IDColumn, t.name, t.index())
}

// text is a value as JSON or as text. ok is false for null.
func text(v any, asJSON bool) (s string, ok bool) {
	switch x := v.(type) {
	case nil:
		return "", false
	case string:
		if !asJSON {
			return x, true
		}
	case json.Number:
		return string(x), true
	case bool:
		return strconv.FormatBool(x), true
	}
	b, err := json.Marshal(v)
	if err != nil { // it came as JSON
		panic(err)
	}
	return string(b), true
}

// values are the values of a row as one of the databases takes them, and its id.
func values(r sql.Row, columns []column, as func(v any, asJSON bool) any) []any {
	out := make([]any, 0, len(columns)+1)
	for i, c := range columns {
		out = append(out, as(r.Values[i], c.json))
	}
	return append(out, r.ID)
}
