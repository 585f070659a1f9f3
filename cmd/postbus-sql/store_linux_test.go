package main

import (
	"context"
	dbsql "database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/sql"
)

// subject is one of the databases under test.
type subject struct {
	t    *testing.T
	open sql.Open // without columns
	exec func(statement string)
	all  func(query string) [][]string // the result as text, NULL as "-"
}

// onEach runs a test on each database, with an empty one.
func onEach(t *testing.T, f func(t *testing.T, s *subject)) {
	t.Run("SQLite", func(t *testing.T) { f(t, newSQLiteSubject(t)) })
	t.Run("Postgres", func(t *testing.T) {
		p := newPostgres(t)
		p.start()
		f(t, newPostgresSubject(t, p))
	})
}

func newSQLiteSubject(t *testing.T) *subject {
	folder := filepath.Join(t.TempDir(), "databases")
	file := filepath.Join(folder, "a.db")
	return &subject{t: t, open: sql.Open{File: file, Folder: folder, Table: "readings", Timeout: 60_000, Create: true},
		exec: func(statement string) {
			t.Helper()
			if err := os.MkdirAll(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			db := openFile(t, file)
			defer db.Close()
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		},
		all: func(query string) (out [][]string) {
			t.Helper()
			db := openFile(t, file)
			defer db.Close()
			rows, err := db.Query(query)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			names, _ := rows.Columns()
			for rows.Next() {
				values, line := make([]any, len(names)), make([]string, len(names))
				for i := range values {
					values[i] = new(dbsql.NullString)
				}
				if err := rows.Scan(values...); err != nil {
					t.Fatal(err)
				}
				for i, v := range values {
					line[i] = textOr(v.(*dbsql.NullString).String, v.(*dbsql.NullString).Valid)
				}
				out = append(out, line)
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			return out
		}}
}

func openFile(t *testing.T, file string) *dbsql.DB {
	t.Helper()
	db, err := dbsql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(20000)")
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func textOr(s string, ok bool) string {
	if !ok {
		return "-"
	}
	return s
}

func newPostgresSubject(t *testing.T, p *postgresServer) *subject {
	return &subject{t: t, open: sql.Open{URL: p.url(), Password: p.pwd, Table: "readings", Timeout: 60_000, Create: true},
		exec: func(statement string) {
			t.Helper()
			c, err := p.connect()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(context.Background())
			if _, err := c.Exec(context.Background(), statement); err != nil {
				t.Fatal(err)
			}
		},
		all: func(query string) (out [][]string) {
			t.Helper()
			c, err := p.connect()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(context.Background())
			rows, err := c.Query(context.Background(), query)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var line []string
				for _, raw := range rows.RawValues() {
					line = append(line, textOr(string(raw), raw != nil))
				}
				out = append(out, line)
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			return out
		}}
}

// store is a store of the table with these columns, written as "name" or "name type".
func (s *subject) store(columns ...string) *store {
	o := s.open
	for _, c := range columns {
		name, as, _ := strings.Cut(c, " ")
		o.Columns = append(o.Columns, sql.Column{Name: name, Type: as})
	}
	st := newStore(o)
	s.t.Cleanup(st.close)
	return st
}

// row reads values from JSON.
func row(id, values string) (r sql.Row) {
	d := json.NewDecoder(strings.NewReader(values))
	d.UseNumber()
	if err := d.Decode(&r.Values); err != nil {
		panic(err)
	}
	r.ID = id
	return r
}

// insert stores rows and compares the result: an error is permanent if it begins with "!".
func (s *subject) insert(st *store, want int, wantErr string, rows ...sql.Row) {
	s.t.Helper()
	done, err := st.insert(context.Background(), rows)
	if done != want {
		s.t.Errorf("%d done, want %d: %v", done, want, err)
	}
	wantErr, permanent := strings.CutPrefix(wantErr, "!")
	switch {
	case err == nil && wantErr == "" && !permanent:
	case err == nil || wantErr == "" && !permanent || !strings.Contains(err.Error(), wantErr):
		s.t.Errorf("error %v, want %q", err, wantErr)
	case kind.IsPermanent(err) != permanent:
		s.t.Errorf("permanent is %v, want %v: %v", kind.IsPermanent(err), permanent, err)
	}
}

// holds compares the rows of a query, each as values with a | between.
func (s *subject) holds(query string, want ...string) {
	s.t.Helper()
	var got []string
	for _, r := range s.all(query) {
		got = append(got, strings.Join(r, "|"))
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("%s: %q, want %q", query, got, want)
	}
}

// TestRepeatedRows: a row that is there already changes nothing, within a batch and later.
func TestRepeatedRows(t *testing.T) {
	onEach(t, func(t *testing.T, s *subject) {
		st := s.store("n integer")
		s.insert(st, 3, "", row("a", "[1]"), row("b", "[2]"), row("a", "[3]"))
		s.insert(s.store("n integer"), 3, "", row("b", "[4]"), row("a", "[5]"), row("c", "[6]"))
		s.holds("SELECT CAST(n AS text) FROM readings ORDER BY postbus_id", "1", "2", "6")
	})
}

// TestTheTypesOfAMadeTable are those of the file, or of the first values.
func TestTheTypesOfAMadeTable(t *testing.T) {
	onEach(t, func(t *testing.T, s *subject) {
		st := s.store(`we"ird name`, "n", "b", "j", "at", "i integer", "any json", "empty")
		st.o.Columns[0] = sql.Column{Name: `we"ird name`} // it has a space
		s.insert(st, 3, "",
			row("a", `["it's", 1.5, true, null, "2026-01-31T12:00:00Z", 9007199254740993, "text", null]`),
			row("b", `["\"; DROP TABLE readings", 2, false, {"a":[1,"ü"]}, "2026-01-31T13:00:00.5+01:00", -1, 5, null]`),
			row("c", `[null, null, null, null, null, null, null, null]`))
		sqliteTypes := "TEXT TEXT REAL INTEGER TEXT TEXT INTEGER TEXT TEXT"
		postgresTypes := "text text double precision boolean jsonb timestamp with time zone bigint jsonb text"
		if s.open.File != "" {
			s.holds("SELECT group_concat(type, ' ') FROM (SELECT type FROM pragma_table_info('readings') ORDER BY name = 'postbus_id' DESC, cid)", sqliteTypes)
			s.holds(`SELECT "we""ird name", n, b, j, at, i, "any" FROM readings`, `it's|1.5|1|-|2026-01-31T12:00:00Z|9007199254740993|"text"`, `"; DROP TABLE readings|2|0|{"a":[1,"ü"]}|2026-01-31T13:00:00.5+01:00|-1|5`, "-|-|-|-|-|-|-")
			return
		}
		s.holds("SELECT string_agg(format_type(atttypid, NULL), ' ' ORDER BY attname = 'postbus_id' DESC, attnum) FROM pg_attribute WHERE attrelid = 'readings'::regclass AND attnum > 0", postgresTypes)
		s.holds(`SELECT "we""ird name", n::text, b::text, j::text, to_char(at AT TIME ZONE 'UTC', 'HH24:MI:SS.MS'), i::text, "any"::text FROM readings`, `it's|1.5|true|-|12:00:00.000|9007199254740993|"text"`, `"; DROP TABLE readings|2|false|{"a": [1, "ü"]}|12:00:00.500|-1|5`, "-|-|-|-|-|-|-")
	})
}

// TestPoison: the rows before a refused one are stored and say so; it is refused alone, too.
func TestPoison(t *testing.T) {
	onEach(t, func(t *testing.T, s *subject) {
		s.exec("CREATE TABLE readings (n INTEGER PRIMARY KEY CHECK (n < 100), v TEXT NOT NULL, postbus_id TEXT UNIQUE)")
		st := s.store("n integer", "v")
		s.insert(st, 2, "!", row("a", `[1,"x"]`), row("b", `[2,"x"]`), row("c", `[100,"x"]`), row("d", `[3,"x"]`))
		s.insert(st, 0, "!", row("c", `[100,"x"]`), row("d", `[3,"x"]`))
		s.insert(st, 1, "!", row("d", `[3,"x"]`), row("e", `[4,null]`))
		s.insert(st, 0, "!", row("f", `[1,"another event with this number"]`))
		s.insert(st, 0, "!", row("g", `["many","x"]`))
		s.insert(st, 2, "", row("h", `[5,"x"]`), row("a", `[1,"x"]`))
		s.holds("SELECT CAST(n AS text), postbus_id FROM readings ORDER BY n", "1|a", "2|b", "3|d", "5|h")
	})
}

// TestPoisonAtTheEnd: what is checked when the transaction ends is no row's fault as far as one can
// tell, and leaves nothing behind.
func TestPoisonAtTheEnd(t *testing.T) {
	p := newPostgres(t)
	p.start()
	s := newPostgresSubject(t, p)
	s.exec("CREATE TABLE rooms (n bigint PRIMARY KEY); CREATE TABLE readings (n bigint REFERENCES rooms DEFERRABLE INITIALLY DEFERRED, postbus_id text UNIQUE)")
	st := s.store("n")
	s.insert(st, 0, "!readings_n_fkey", row("a", "[null]"), row("b", "[1]"), row("c", "[null]"))
	s.insert(st, 0, "!readings_n_fkey", row("b", "[1]"))
	s.insert(st, 2, "", row("a", "[null]"), row("c", "[null]"))
	s.holds("SELECT postbus_id FROM readings ORDER BY postbus_id", "a", "c")
}

// TestATableThatDoesNotFit: the error says which statement mends it, nothing is changed, and once the
// statement is executed the rows are stored.
func TestATableThatDoesNotFit(t *testing.T) {
	onEach(t, func(t *testing.T, s *subject) {
		mend := func(st *store, want string) {
			t.Helper()
			_, err := st.insert(context.Background(), []sql.Row{row("a", `[1,"x"]`)})
			if err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), want) {
				t.Fatalf("%v, want %q", err, want)
			}
			_, statement, ok := strings.Cut(err.Error(), "execute")
			if !ok {
				t.Fatalf("it says no statement: %v", err)
			}
			s.exec(strings.TrimLeft(statement, ": "))
		}
		missing := s.store("n", "v")
		missing.o.Create = false
		if s.open.File != "" {
			s.insert(missing, 0, "there is no file", row("a", `[1,"x"]`))
			s.exec("SELECT 1")
		}
		mend(missing, "there is no table readings")
		s.insert(missing, 1, "", row("a", `[1,"x"]`))
		s.exec("DROP TABLE readings")
		s.exec("CREATE TABLE readings (n INTEGER)")
		lacking := s.store("n", "v")
		mend(lacking, "the table readings has no column v, postbus_id")
		s.insert(lacking, 1, "", row("a", `[1,"x"]`))
		s.exec("DROP TABLE readings")
		s.exec("CREATE TABLE readings (n INTEGER, v TEXT, postbus_id TEXT)")
		noIndex := s.store("n", "v")
		mend(noIndex, "postbus_id of the table readings has no unique index")
		s.insert(noIndex, 1, "", row("a", `[1,"x"]`))
		s.holds("SELECT postbus_id FROM readings", "a")
	})
}

// TestATableThatChanges while rows are stored: it is looked at again.
func TestATableThatChanges(t *testing.T) {
	onEach(t, func(t *testing.T, s *subject) {
		st := s.store("n integer")
		s.insert(st, 1, "", row("a", "[1]"))
		s.exec("ALTER TABLE readings RENAME COLUMN n TO m")
		s.insert(st, 0, "the table readings has no column n", row("b", "[2]"))
	})
}

func TestFilesOfSQLite(t *testing.T) {
	s := newSQLiteSubject(t)
	outside := filepath.Join(t.TempDir(), "outside.db")
	if err := os.MkdirAll(s.open.Folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(s.open.Folder, "link.db")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"link.db": "escapes", "folder.db": "not a regular file"} {
		if name == "folder.db" {
			if err := os.Mkdir(filepath.Join(s.open.Folder, name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		st := s.store("n")
		st.o.File = filepath.Join(s.open.Folder, name)
		s.insert(st, 0, want, row("a", "[1]"))
	}
	if _, err := os.Stat(outside); err == nil {
		t.Error("a file was made outside of the folder")
	}
	st := s.store("n")
	st.o.File, st.o.Folder = filepath.Join(s.open.Folder, "link.db"), "" // a whole path may lead anywhere
	s.insert(st, 1, "", row("a", "[1]"))
	st = s.store("n")
	st.o.File = filepath.Join(s.open.Folder, "d", "ü ?#%.db") // its folder and the file are made
	s.insert(st, 1, "", row("a", "[1]"))
	if _, err := os.Stat(st.o.File); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(s.open.Folder, "text.db"), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	st = s.store("n")
	st.o.File = filepath.Join(s.open.Folder, "text.db")
	s.insert(st, 0, "not a database", row("a", "[1]"))
}

// TestAFullDisk delays the rows: SQLite has a limit of pages that acts like one.
func TestAFullDisk(t *testing.T) {
	s := newSQLiteSubject(t)
	st := s.store("v")
	s.insert(st, 1, "", row("a", `["x"]`))
	f := st.db.(*sqliteFile)
	if err := f.exec(t.Context(), "PRAGMA max_page_count = 8"); err != nil {
		t.Fatal(err)
	}
	big := row("c", `["`+strings.Repeat("x", 100_000)+`"]`)
	if done, err := f.insert(t.Context(), []sql.Row{row("b", `["x"]`), big}); done != 0 || err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), "full") {
		t.Errorf("%d done, %v", done, err)
	}
	s.holds("SELECT postbus_id FROM readings", "a")
	s.insert(st, 2, "", row("b", `["x"]`), big) // the limit is gone with the connection
	s.holds("SELECT postbus_id FROM readings", "a", "b", "c")
}

// TestAConnectionThatWasEnded while it was idle is no failure.
func TestAConnectionThatWasEnded(t *testing.T) {
	p := newPostgres(t)
	p.start()
	s := newPostgresSubject(t, p)
	st := s.store("n integer")
	s.insert(st, 1, "", row("a", "[1]"))
	s.all("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'postbus'")
	s.insert(st, 1, "", row("b", "[2]"))
	s.holds("SELECT postbus_id FROM readings ORDER BY n", "a", "b")
}

// TestADatabaseThatIsAway delays the rows, and is found again.
func TestADatabaseThatIsAway(t *testing.T) {
	p := newPostgres(t)
	s := newPostgresSubject(t, p)
	st := s.store("n integer")
	s.insert(st, 0, "refused", row("a", "[1]"))
	p.start()
	s.insert(st, 1, "", row("a", "[1]"))
	p.kill()
	_, err := st.insert(t.Context(), []sql.Row{row("b", "[2]")})
	if err == nil || kind.IsPermanent(err) {
		t.Errorf("%v", err)
	}
	p.start()
	s.insert(st, 2, "", row("a", "[1]"), row("b", "[2]"))
	wrong := s.store("n integer")
	wrong.o.Password = "wrong password"
	if _, err := wrong.insert(t.Context(), []sql.Row{row("c", "[3]")}); err == nil || kind.IsPermanent(err) || strings.Contains(err.Error(), "wrong password") {
		t.Errorf("%v", err)
	}
	s.holds("SELECT postbus_id FROM readings ORDER BY n", "a", "b")
}

// broken is a database whose library panics.
type broken struct{ database }

func (broken) insert(context.Context, []sql.Row) (int, error) { panic("a bug") }

// TestAPanic: the row that causes it is refused, and does not end the program.
func TestAPanic(t *testing.T) {
	s := newSQLiteSubject(t)
	st := s.store("n")
	st.db = broken{}
	s.insert(st, 0, "!internal error: a bug", row("a", "[1]"))
	s.insert(st, 1, "", row("b", "[2]"))
}

// TestTheProtocol of package sql.
func TestTheProtocol(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"another version":    {`{"open":{"version":99}}`, `"error":"postbus speaks version 99`},
		"rows without open":  {`{"rows":[]}`, "opens the database"},
		"opened twice":       {`{"open":{"version":1}}` + "\n" + `{"open":{"version":1}}`, "opens the database"},
		"nothing was opened": {`{"open":{"version":1,"file":"/nowhere/a.db","table":"x","columns":[{"name":"n"}],"timeout":1000}}` + "\n" + `{"rows":[{"id":"a","values":[1]}]}`, "there is no file /nowhere/a.db"},
		"there is no folder": {`{"open":{"version":1,"file":"/nowhere/a.db","create":true,"table":"x","columns":[{"name":"n"}],"timeout":1000}}` + "\n" + `{"rows":[{"id":"a","values":[1]}]}`, "the folder /nowhere does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			var out buffer
			if err := serve(strings.NewReader(c.in+"\n"), &out); err != nil || !strings.Contains(out.String(), c.want) {
				t.Errorf("%v, %s", err, out.String())
			}
		})
	}
	var out buffer
	if err := serve(strings.NewReader("{"), &out); err == nil {
		t.Error("half a line is no end")
	}
}

// BenchmarkInsert stores batches of 500 rows.
func BenchmarkInsert(b *testing.B) {
	o := sql.Open{File: filepath.Join(b.TempDir(), "a.db"), Table: "readings", Timeout: 60_000, Create: true,
		Columns: []sql.Column{{Name: "at"}, {Name: "topic"}, {Name: "value"}}}
	st := newStore(o)
	defer st.close()
	n := 0
	began := time.Now()
	for b.Loop() {
		rows := make([]sql.Row, 500)
		for i := range rows {
			n++
			rows[i] = sql.Row{ID: fmt.Sprintf("%d-0-0123456789abcdef", n), Values: []any{"2026-01-31T12:00:00Z", "home/hall/temperature", json.Number("21.5")}}
		}
		if _, err := st.insert(b.Context(), rows); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/time.Since(began).Seconds(), "rows/s")
}
