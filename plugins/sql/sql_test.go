package sql

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/postbus/postbus/plugins/kind"
)

// TestURLs has the databases that are accepted, and what the plugin accesses. The ones that are
// refused are in the golden files of cmd/postbus.
func TestURLs(t *testing.T) {
	for url, access := range map[string]string{
		"sqlite:events.db":                            "path:" + filepath.Join("databases", "events.db"),
		"sqlite:house/events.db":                      "path:" + filepath.Join("databases", "house", "events.db"),
		"postgres://me@db.example/house":              "host:db.example:5432",
		"postgresql://me@[::1]:5433/house?sslmode=on": "host:[::1]:5433",
		"postgres:///house?host=/run/postgresql":      "host:/run/postgresql:5432",
		"postgres://me:${secret.db}@host/house":       "host:host:5432",
	} {
		o := defaults()
		o.URL, o.Table, o.Columns = url, "readings", kind.Keys{"n"}
		if errs := o.Check(); len(errs) > 0 {
			t.Errorf("%s: %v", url, errs)
		}
		if got := fmt.Sprint(o.Access()); got != "["+access+"]" {
			t.Errorf("%s: %s, want %s", url, got, access)
		}
	}
	for _, url := range []string{"postgres://me:hunter${secret.db}@host/house", "postgres://me@host/house?password=x", "sqlite:../a.db", "sqlite:a/../../b.db", "sqlite:a.db?mode=ro"} {
		o := defaults()
		o.URL, o.Table, o.Columns = url, "readings", kind.Keys{"n"}
		if len(o.Check()) == 0 {
			t.Errorf("%s is accepted", url)
		}
	}
}
