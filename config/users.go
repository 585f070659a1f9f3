// This file decodes groups, users and the rules of anonymous clients.

package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postbus/postbus/config/suggest"
	"github.com/postbus/postbus/config/yamlnode"
)

func (l *loader) users(n yamlnode.Node) {
	items, ok := n.List()
	if !ok {
		l.userTrouble = true
	}
	seen := map[string]bool{}
	for _, item := range items {
		u, ok := l.user(item)
		if ok && seen[u.Name] {
			name := l.where[item.Path()+".name"]
			name.Fail("write one entry for each user", "duplicate user %q", u.Name)
			ok = false
		}
		if !ok {
			l.userTrouble = true
			continue
		}
		seen[u.Name] = true
		l.c.Users = append(l.c.Users, u)
	}
}

func (l *loader) user(n yamlnode.Node) (u User, ok bool) {
	m, ok := n.Map("name", "password", "passwords", "publish", "subscribe", "deny", "groups", "admin", "certificates", "client_id", "bridge")
	if !ok {
		return u, false
	}
	if v, has := m.Get("name"); !has {
		n.Fail("", `the user has no "name"`)
		ok = false
	} else {
		l.where[v.Path()] = v
		s, good := v.Text()
		if err := checkName("user", s); good && err != nil {
			v.Fail(hintOf(err), "%v", err)
			good = false
		}
		u.Name, ok = s, ok && good
	}
	one, hasOne := m.Get("password")
	if hasOne {
		var good bool
		u.Password, good = hashOf(one)
		ok = ok && good
	}
	several, hasSeveral := m.Get("passwords")
	if hasSeveral {
		ok = l.passwords(several, &u) && ok
	}
	certificates, hasCertificates := m.Get("certificates")
	if hasCertificates {
		l.where[certificates.Path()] = certificates
		var good bool
		u.Certificates, good = l.certificates(certificates, u.Name)
		ok = ok && good
		if l.certificatesAt == "" && len(u.Certificates) > 0 {
			l.certificatesAt = certificates.Path()
		}
	}
	none := ok && u.Password == "" && len(u.Passwords) == 0 && len(u.Certificates) == 0 // empty lists
	if none || !hasOne && !hasSeveral && !hasCertificates {
		n.Fail("postbus user add NAME asks for a password and writes the entry", `the user has no "password"`)
		ok = false
	}
	if v, has := m.Get("client_id"); has {
		s, good := v.Text()
		if err := checkClientID(s); good && err != nil {
			v.Fail(hintOf(err), "%v", err)
			good = false
		}
		u.ClientID, ok = s, ok && good
	}
	ok = boolean(m, "bridge", &u.Bridge) && ok
	ok = boolean(m, "admin", &u.Admin) && ok
	if v, has := m.Get("groups"); has {
		var good bool
		u.Groups, good = l.memberships(v)
		ok = ok && good
	}
	return u, l.rules(m, &u.Publish, &u.Subscribe, &u.Deny) && ok
}

func hashOf(n yamlnode.Node) (string, bool) {
	s, ok := n.Text()
	if err := checkHash(s); ok && err != nil {
		n.Fail(hintOf(err), "%v", err)
		ok = false
	}
	return s, ok
}

// passwords reads a user's list of passwords.
func (l *loader) passwords(n yamlnode.Node, u *User) bool {
	items, ok := n.List()
	if !ok {
		return false
	}
	used := map[string]string{}
	if u.Password != "" {
		used[u.Password] = `"password"`
	}
	for i, item := range items {
		m, good := item.Map("name", "hash", "expires")
		if !good {
			ok = false
			continue
		}
		var p Password
		if v, has := m.Get("name"); !has {
			item.Fail("write {name: laptop, hash: …}", `the password has no "name"`)
			ok = false
		} else {
			s, good := v.Text()
			if err := checkName("password", s); good && err != nil {
				v.Fail(hintOf(err), "%v", err)
				good = false
			}
			if good && slices.ContainsFunc(u.Passwords, func(p Password) bool { return p.Name == s }) {
				v.Fail("choose another name", "two passwords of the user are called %q", s)
				good = false
			}
			p.Name, ok = s, ok && good
		}
		if v, has := m.Get("hash"); !has {
			item.Fail("postbus user passwd NAME --name PASSWORD asks for it and writes the entry", `the password has no "hash"`)
			ok = false
		} else if p.Hash, good = hashOf(v); !good {
			ok = false
		} else if other := used[p.Hash]; other != "" {
			v.Fail("remove one of the two: a password ends when its hash is no longer in the file", "this hash is that of %s, too", other)
			ok = false
		} else {
			used[p.Hash] = fmt.Sprintf("%q", p.Name)
		}
		if v, has := m.Get("expires"); has {
			p.Expires, good = v.Time()
			ok = ok && good
		}
		if i == MaxPasswords || i == MaxPasswords-1 && u.Password != "" {
			item.Fail("remove those that nobody uses", "a user has at most %d passwords", MaxPasswords)
			return false
		}
		u.Passwords = append(u.Passwords, p)
	}
	return ok
}

func boolean(m yamlnode.Map, name string, to *bool) bool {
	v, has := m.Get(name)
	if !has {
		return true
	}
	b, ok := v.Bool()
	*to = b
	return ok
}

// memberships reads a user's groups.
func (l *loader) memberships(n yamlnode.Node) ([]string, bool) {
	seen := map[string]bool{}
	return l.texts(n, func(name string) error {
		switch {
		case seen[name]:
			return hintf("remove one of the two", "the group %q twice", name)
		case !l.groupNames[name]:
			var known []string
			for g := range l.groupNames {
				known = append(known, g)
			}
			slices.Sort(known)
			switch near := suggest.Nearest(name, known); {
			case near != "":
				return fmt.Errorf("unknown group %q; did you mean %q?", name, near)
			case len(known) > 0:
				return hintf("the groups are "+strings.Join(known, ", "), "unknown group %q", name)
			}
			return hintf("postbus group add "+name+" writes the entry under the key groups", "unknown group %q: there are no groups", name)
		}
		seen[name] = true
		return nil
	})
}

func (l *loader) groups(n yamlnode.Node) {
	l.groupNames = map[string]bool{}
	all, ok := n.Map()
	if !ok {
		return
	}
	for i := range all.Len() {
		name, v := all.Entry(i)
		l.groupNames[name] = true
		l.where[v.Path()] = v
		if err := checkName("group", name); err != nil {
			v.FailKey(hintOf(err), "%v", err)
		}
		g := Group{Name: name}
		m, ok := v.Map("publish", "subscribe", "deny", "admin")
		if ok && l.rules(m, &g.Publish, &g.Subscribe, &g.Deny) && boolean(m, "admin", &g.Admin) {
			l.c.Groups = append(l.c.Groups, g)
		}
	}
}

// rules reads the lists of filters that are present.
func (l *loader) rules(m yamlnode.Map, publish, subscribe, deny *[]string) bool {
	ok := true
	for _, r := range []struct {
		name string
		list *[]string
	}{{"publish", publish}, {"subscribe", subscribe}, {"deny", deny}} {
		if v, has := m.Get(r.name); has {
			filters, good := l.texts(v, checkFilter)
			ok = ok && good
			*r.list = filters
		}
	}
	return ok
}

// anonymous reads "off" or rules. If the key is present, only the rights that it lists are granted.
// A variable for one list leaves the file's other lists unchanged.
func (l *loader) anonymous(n yamlnode.Node) {
	const hint = `write {publish: ["#"], subscribe: ["#"]}, or off`
	if n.Refused() {
		l.userTrouble = true
		return
	}
	if n.IsScalar() && n.Raw().Value == "off" {
		l.c.Anonymous = Anonymous{Explicit: true, Off: true}
		return
	}
	if !n.IsMap() {
		n.Fail(hint, "want rules or off")
		l.userTrouble = true
		return
	}
	m, ok := n.Map("publish", "subscribe", "deny")
	if !l.c.Anonymous.Explicit || l.c.Anonymous.Off {
		l.c.Anonymous = Anonymous{Explicit: true}
	}
	a := &l.c.Anonymous
	if !l.rules(m, &a.Publish, &a.Subscribe, &a.Deny) || !ok {
		l.userTrouble = true
	}
}

// checkName checks the name of a user or a group.
func checkName(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("a %s name can't be empty", what)
	case utf8.RuneCountInString(s) > 128:
		return fmt.Errorf("a %s name has at most 128 characters", what)
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("the %s name holds a control character", what)
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("the %s name %q begins or ends with a space", what, s)
	}
	return nil
}

// checkClientID checks a pattern of client identifiers.
func checkClientID(s string) error {
	const hint = `"${user}-*" for the identifiers that begin with the user's name and a hyphen`
	switch plain := strings.ReplaceAll(s, "${user}", ""); {
	case s == "":
		return hintf(hint, "a pattern of client identifiers can't be empty; leave the key out to allow any")
	case strings.Contains(plain, "$"):
		return hintf(hint, "%q: ${user} is the only variable here", s)
	case !utf8.ValidString(s), strings.ContainsFunc(s, unicode.IsControl), len(s) > 256:
		return hintf(hint, "%.60q: a pattern has at most 256 bytes of printable text", s)
	}
	return nil
}

var phc = regexp.MustCompile(`^\$argon2id\$v=19\$m=[1-9][0-9]{0,9},t=[1-9][0-9]{0,9},p=[1-9][0-9]{0,2}\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{22,}$`)

// checkHash never shows the value: it may be the password itself.
func checkHash(s string) error {
	const hint = "postbus user passwd NAME asks for a password and writes its hash"
	if !strings.HasPrefix(s, "$argon2id$") {
		return hintf(hint, "want the password's argon2id hash ($argon2id$…), not the password or another kind of hash")
	}
	if !phc.MatchString(s) {
		return hintf(hint, "the argon2id hash is damaged: want $argon2id$v=19$m=…,t=…,p=…$SALT$HASH")
	}
	return nil
}
