package payload

import (
	"encoding/json"
	"fmt"
)

// Encode returns the bytes of an action's payload: text and bytes as they are, nothing for nil, and
// JSON for every other value. The error is that of encoding/json.
func Encode(v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []byte(v), nil
	case []byte:
		return v, nil
	case fmt.Stringer: // the levels of a topic, a time
		return []byte(v.String()), nil
	}
	return json.Marshal(v)
}
