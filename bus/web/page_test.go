package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/web"
)

// TestListsInPages: lists of any length come in pages, each of which names the next. Together they are the
// whole, with the reader's rights, and no page needs much memory.
func TestListsInPages(t *testing.T) {
	b, base := start(t, web.Options{Local: true, Authenticate: policy(t, nil)})
	const n = 25
	var wantTopics, wantSessions []string
	for i := range n {
		for _, name := range []string{fmt.Sprintf("home/%02d", i), fmt.Sprintf("secret/%02d", i)} {
			if _, err := b.Publish(t.Context(), bus.Event{Topic: name, Payload: bytes.Repeat([]byte("x"), 900_000), QoS: 1, Retain: true}); err != nil {
				t.Fatal(err)
			}
		}
		wantTopics = append(wantTopics, fmt.Sprintf("home/%02d", i))
		name := fmt.Sprintf("client %02d", i)
		s, _, err := b.Attach(context.Background(), bus.SessionOptions{Name: name, Expiry: 60})
		if err != nil {
			t.Fatal(err)
		}
		s.Detach(true, 60)
		wantSessions = append(wantSessions, name)
	}
	next := regexp.MustCompile(`^<(.*)>; rel="next"$`)
	pages := func(path, user string, key func(map[string]any) string) (names []string, count int) {
		t.Helper()
		for path != "" {
			code, header, body := request{method: "GET", path: path, user: user}.do(t, base)
			if code != http.StatusOK {
				t.Fatalf("%s: %d %s", path, code, body)
			}
			if len(body) > 48<<20 {
				t.Errorf("%s: an answer of %d bytes", path, len(body))
			}
			var items []map[string]any
			if err := json.Unmarshal([]byte(body), &items); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			for _, i := range items {
				names = append(names, key(i))
			}
			count++
			path = ""
			if link := header.Get("Link"); link != "" {
				m := next.FindStringSubmatch(link)
				if m == nil {
					t.Fatalf("Link: %s", link)
				}
				path = m[1]
			}
		}
		return names, count
	}
	topicOf := func(i map[string]any) string { return i["topic"].(string) }
	nameOf := func(i map[string]any) string { return i["name"].(string) }
	for _, c := range []struct {
		path, user string
		key        func(map[string]any) string
		want       []string
		pages      int
	}{
		{"/api/v1/topics?limit=1&filter=" + url.QueryEscape("home/+"), "pi:secret", topicOf, wantTopics, n},
		{"/api/v1/topics?limit=7", "pi:secret", topicOf, wantTopics, 4},
		{"/api/v1/topics", "pi:secret", topicOf, wantTopics, 1},
		{"/api/v1/topics?after=home/23", "pi:secret", topicOf, wantTopics[24:], 1},
		{"/api/v1/topics?after=zzz", "pi:secret", topicOf, nil, 1},
		{"/api/v1/sessions?limit=7", "pi:secret", nameOf, wantSessions, 4},
		{"/api/v1/sessions", "pi:secret", nameOf, wantSessions, 1},
		{"/api/v1/sessions?after=client+23", "pi:secret", nameOf, wantSessions[24:], 1},
	} {
		if names, pages := pages(c.path, c.user, c.key); !slices.Equal(names, c.want) || pages != c.pages {
			t.Errorf("%s: %d pages with %s, want %d with %s", c.path, pages, strings.Join(names, ","), c.pages, strings.Join(c.want, ","))
		}
	}
	if names, count := pages("/api/v1/topics?filter=%23", "root:secret", topicOf); len(names) != 2*n || count != 2 { // 45 MB
		t.Errorf("%d topics in %d pages", len(names), count)
	}
	for _, path := range []string{"/api/v1/topics?limit=0", "/api/v1/sessions?limit=x"} {
		if code, _, _ := (request{method: "GET", path: path, user: "pi:secret"}).do(t, base); code != http.StatusBadRequest {
			t.Errorf("%s: %d", path, code)
		}
	}
}
