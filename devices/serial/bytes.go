// This file parses bytes in a plugin file.

package serial

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/postbus/postbus/plugins/kind"
)

// Bytes are bytes in a file: as text, or as hex:0d0a.
type Bytes string

// UnmarshalText reads at most 64 bytes.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := string(text)
	if digits, ok := strings.CutPrefix(s, "hex:"); ok {
		raw, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			return kind.Wrong("", fmt.Sprintf("%q is not hexadecimal: %v", s, err), "write two digits for each byte, as hex:0d0a")
		}
		s = string(raw)
	}
	if len(s) > 64 {
		return kind.Wrong("", fmt.Sprintf("%d bytes are more than 64", len(s)), "")
	}
	*b = Bytes(s)
	return nil
}
