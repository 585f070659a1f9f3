package web_test

// This file is what /api/v1/users and /api/v1/groups do by themselves; package cmd/postbus tests them with
// a config file.

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus/web"
)

// noAccounts has no users, and cannot change that.
type noAccounts struct {
	err   error
	users []web.User
}

func (a *noAccounts) Accounts() ([]web.User, []web.Group)                        { return a.users, nil }
func (a *noAccounts) PutUser(web.Edit, web.User, string) error                   { return a.err }
func (a *noAccounts) RemoveUser(web.Edit, string) error                          { return a.err }
func (a *noAccounts) PutPassword(web.Edit, string, string, string, string) error { return a.err }
func (a *noAccounts) RemovePassword(web.Edit, string, string) error              { return a.err }
func (a *noAccounts) PutGroup(web.Edit, web.Group) error                         { return a.err }
func (a *noAccounts) RemoveGroup(web.Edit, string) error                         { return a.err }

func TestAccountsThatFail(t *testing.T) {
	a := &noAccounts{}
	_, base := start(t, web.Options{Local: true, Authenticate: policy(t, nil), Accounts: a, Origins: []string{"https://dash.example.org"}})
	for _, c := range []struct {
		err    error
		status int
		want   string
	}{
		{web.ErrBusy, 503, "too many logins"},
		{errors.New("PLANTED"), 500, "the change failed"},
		{fmt.Errorf("x: %w", &web.AccountError{Status: 409, Err: errors.New("no"), Hint: "do"}), 409, `{"error":"no","hint":"do"}`},
	} {
		a.err = c.err
		for _, r := range []request{
			{method: "PUT", path: "/api/v1/users/x", body: `{"password": "PLANTED"}`}, {method: "DELETE", path: "/api/v1/users/x"},
			{method: "PUT", path: "/api/v1/users/x/password", body: `{"password": "PLANTED"}`}, {method: "DELETE", path: "/api/v1/users/x/password"},
			{method: "PUT", path: "/api/v1/users/x/passwords/y", body: `{"password": "PLANTED"}`}, {method: "DELETE", path: "/api/v1/users/x/passwords/y"},
			{method: "PUT", path: "/api/v1/groups/x", body: `{}`}, {method: "DELETE", path: "/api/v1/groups/x"},
		} {
			r.user = "chief:secret"
			status, header, body := r.do(t, base)
			if status != c.status || !strings.Contains(body, c.want) || strings.Contains(body, "PLANTED") || (header.Get("Retry-After") != "") != (c.err == web.ErrBusy) {
				t.Errorf("%s %s: %d %s", r.method, r.path, status, body)
			}
		}
	}
	// An administrator by the rules is one here, too.
	if status, _, body := (request{method: "GET", path: "/api/v1/users", user: "root:secret"}).do(t, base); status != 200 || body != "[]\n" {
		t.Error(status, body)
	}
	// A page that listen.origins names can use it.
	_, header, _ := request{method: http.MethodOptions, path: "/api/v1/users/x", header: map[string]string{"Origin": "https://dash.example.org"}}.do(t, base)
	if !strings.Contains(header.Get("Access-Control-Allow-Methods"), "PUT") || !strings.Contains(header.Get("Access-Control-Allow-Headers"), "If-Match") {
		t.Error(header)
	}
}

// TestAccountsAreDescribed compares the members of the answers with their description.
func TestAccountsAreDescribed(t *testing.T) {
	_, base := start(t, web.Options{Local: true})
	_, _, body := request{method: "GET", path: "/api/v1/openapi.json"}.do(t, base)
	var doc struct {
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	for schema, v := range map[string]any{"User": web.User{}, "Group": web.Group{}} {
		var members []string
		for i := range reflect.TypeOf(v).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("json"), ",")
			members = append(members, name)
			if doc.Components.Schemas[schema].Properties[name] == nil {
				t.Errorf("%s.%s is not described", schema, name)
			}
		}
		if len(members) != len(doc.Components.Schemas[schema].Properties) {
			t.Errorf("%s has %q", schema, members)
		}
	}
}
