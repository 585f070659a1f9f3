package web_test

import (
	"strings"
	"testing"

	"github.com/postbus/postbus/bus/web"
)

// brokenPlugin is a plugin whose file has an error.
type brokenPlugin struct{ noPlugins }

func (brokenPlugin) Get(string) (any, bool) { return "position and reason", true }
func (brokenPlugin) GetWithLines(string) (any, bool) {
	return "position, reason and the file's line", true
}

// TestLinesOfAPluginsFile: an administrator sees the line with the error, in which a secret may be written out.
func TestLinesOfAPluginsFile(t *testing.T) {
	_, base := start(t, web.Options{Local: true, Authenticate: policy(t, nil), Plugins: brokenPlugin{}})
	for user, want := range map[string]string{"pi": "position and reason", "chief": "position, reason and the file's line", "root": "position, reason and the file's line", "eve": ""} {
		status, _, body := request{method: "GET", path: "/api/v1/plugins/x", user: user + ":secret"}.do(t, base)
		if want == "" && status != 403 || want != "" && strings.TrimSpace(body) != `"`+want+`"` {
			t.Errorf("%s: %d %s", user, status, body)
		}
	}
}
