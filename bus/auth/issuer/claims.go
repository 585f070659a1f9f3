// This file is the claims of a token as variables of rules.

package issuer

import (
	"encoding/json"
	"strconv"
)

const (
	maxClaimName  = 64  // bytes of each part
	maxClaimValue = 256 // bytes
	maxClaims     = 100
	maxNesting    = 4
)

// flatten returns the claims that can be variables: texts, numbers as they are written, and "true" or
// "false". A claim within an object has a dot: realm.name. Names that a variable can't have, such as
// URLs, values that no rule needs, such as lists, and what is longer than 256 bytes are left out, so a
// connection remembers little.
func flatten(claims map[string]any) map[string]string {
	flat := map[string]string{}
	flattenInto(flat, "", claims, maxNesting)
	return flat
}

func flattenInto(flat map[string]string, prefix string, claims map[string]any, depth int) {
	for name, v := range claims {
		if !variable(name) || len(flat) == maxClaims {
			continue
		}
		text := ""
		switch v := v.(type) {
		case string:
			text = v
		case json.Number:
			text = v.String()
		case bool:
			text = strconv.FormatBool(v)
		case map[string]any:
			if depth > 1 {
				flattenInto(flat, prefix+name+".", v, depth-1)
			}
			continue
		default:
			continue
		}
		if len(text) <= maxClaimValue && len(flat) < maxClaims {
			flat[prefix+name] = text
		}
	}
}

// variable reports whether a claim's name can be a part of the name of a variable.
func variable(name string) bool {
	if name == "" || len(name) > maxClaimName {
		return false
	}
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}
