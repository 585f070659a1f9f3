package broker_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets many cases run at a time: they mostly wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f != nil && os.Getenv("POSTBUS_TEST_PARALLEL") == "" {
		_ = f.Value.Set("48")
	}
	os.Exit(m.Run())
}
