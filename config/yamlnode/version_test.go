package yamlnode

import (
	"os"
	"regexp"
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v3"
)

// checkedVersion is the version of the YAML module whose private fields marks was checked against.
// After an update, check that TestSyntaxPlaces still passes with positions from marks, then change
// it (ADR 15).
const checkedVersion = "v3.0.6"

func TestTheVersionOfYAML(t *testing.T) {
	b, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^\s*go\.yaml\.in/yaml/v3 (\S+)`).FindSubmatch(b)
	if m == nil || string(m[1]) != checkedVersion {
		t.Fatalf("go.mod has version %s of go.yaml.in/yaml/v3; marks was checked against %s", m, checkedVersion)
	}
	dec := yaml.NewDecoder(strings.NewReader("a: ["))
	if _, err := decode(dec); err == nil {
		t.Fatal("a list that isn't closed is read")
	}
	if _, _, _, _, ok := marks(dec); !ok {
		t.Fatal("the parser's positions can't be read any more")
	}
}
