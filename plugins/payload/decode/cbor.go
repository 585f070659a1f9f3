package decode

// This file decodes CBOR (RFC 8949).

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"

	"github.com/fxamacker/cbor/v2"
)

// cborMode decodes into any. Times become texts as JSON has them; other tags are left out.
var cborMode = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		MaxNestedLevels: MaxDepth, MaxArrayElements: MaxValues, MaxMapPairs: MaxValues,
		MapKeyByteString: cbor.MapKeyByteStringAllowed, UTF8: cbor.UTF8DecodeInvalid,
		UnrecognizedTagToAny: cbor.UnrecognizedTagContentToAny, TimeTagToAny: cbor.TimeTagToRFC3339Nano,
	}.DecMode()
	if err != nil { // never: the options are constant
		panic(err)
	}
	return m
}()

func fromCBOR(b []byte) (any, error) {
	if tooMany(b) {
		return nil, errMany
	}
	var v any
	rest, err := cborMode.UnmarshalFirst(b, &v)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, errRest
	}
	return plain(v)
}

// tooMany reports whether CBOR has more than MaxValues values. The library limits each list only,
// and a value takes up to a hundred times the memory of its byte.
func tooMany(b []byte) bool {
	for n := 0; len(b) > 0; n++ {
		if n > MaxValues {
			return true
		}
		major, low := b[0]>>5, b[0]&31
		b = b[1:]
		size := uint64(low)
		if low >= 24 && low <= 27 {
			width := 1 << (low - 24)
			if len(b) < width {
				return false // the library says what is wrong
			}
			var wide [8]byte
			copy(wide[8-width:], b)
			size, b = binary.BigEndian.Uint64(wide[:]), b[width:]
		}
		if (major == 2 || major == 3) && low < 28 { // 31 is a list of texts
			if size > uint64(len(b)) {
				return false
			}
			b = b[size:]
		}
	}
	return false
}

// maxBits bounds integers, because it takes long to write large ones in decimal.
const maxBits = 4096

// plain converts what the library makes of CBOR.
func plain(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case nil, bool, float64, int64, []byte:
		return v, nil
	case string:
		return validText(v), nil
	case uint64:
		return unsigned(v), nil
	case big.Int:
		switch {
		case v.IsInt64():
			return v.Int64(), nil
		case v.BitLen() > maxBits:
			return nil, fmt.Errorf("an integer has more than the maximum of %d bits", maxBits)
		}
		return json.Number(v.String()), nil
	case cbor.SimpleValue:
		return int64(v), nil
	case []any:
		for i := range v {
			if v[i], err = plain(v[i]); err != nil {
				return nil, err
			}
		}
		return v, nil
	case map[any]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			key, err := keyText(k)
			if err != nil {
				return nil, err
			}
			if m[key], err = plain(e); err != nil {
				return nil, err
			}
		}
		return m, nil
	}
	return nil, fmt.Errorf("it has a value that is not supported (%T)", v)
}

// keyText returns a key of a map as text. Integers are common: they take fewer bytes.
func keyText(k any) (string, error) {
	if b, ok := k.(cbor.ByteString); ok {
		k = string(b)
	}
	k, err := plain(k)
	switch k := k.(type) {
	case string:
		return k, nil
	case int64:
		return strconv.FormatInt(k, 10), nil
	case json.Number:
		return string(k), nil
	case bool:
		return strconv.FormatBool(k), nil
	case float64:
		return strconv.FormatFloat(k, 'g', -1, 64), nil
	case []byte:
		return validText(string(k)), nil
	}
	if err == nil {
		err = fmt.Errorf("a map has a key that is neither text nor number")
	}
	return "", err
}
