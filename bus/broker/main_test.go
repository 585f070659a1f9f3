package broker_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain runs many cases at a time, because they mostly wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f != nil && os.Getenv("POSTBUS_TEST_PARALLEL") == "" {
		_ = f.Value.Set("48")
	}
	os.Exit(m.Run())
}
