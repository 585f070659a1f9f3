package sql

// This file is what this package and the program postbus-sql say to each other: lines of JSON, as
// between execd and a program. The first line to the program is Open, each later one is the rows of
// a batch. The program answers each line with an Answer, in order, and ends when its input ends.

// Version is that of the protocol.
const Version = 1

// Open says what follows is stored where.
type Open struct {
	Version  int      `json:"version"`
	File     string   `json:"file,omitempty"`   // of SQLite: an absolute path
	Folder   string   `json:"folder,omitempty"` // the file must be in it, if it is not empty
	URL      string   `json:"url,omitempty"`    // of Postgres
	Password string   `json:"password,omitempty"`
	Table    string   `json:"table"`
	Columns  []Column `json:"columns"`
	Create   bool     `json:"create,omitempty"`
	Timeout  int64    `json:"timeout"` // milliseconds, for each batch
}

// Column is a column of the table. Type is one of Types, or empty if the file does not say it.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"`
}

// Row is one row: a value for each column, as JSON has it.
type Row struct {
	ID     string `json:"id"`
	Values []any  `json:"values"`
}

// Request is a line to the program. One of its fields is set.
type Request struct {
	Open *Open `json:"open,omitempty"`
	Rows []Row `json:"rows,omitempty"`
}

// Answer is what became of a request, as kind.BatchAction says it.
type Answer struct {
	Done      int    `json:"done"`
	Error     string `json:"error,omitempty"`
	Permanent bool   `json:"permanent,omitempty"`
}
