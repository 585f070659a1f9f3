// This file converts registers to values and back: types, byte orders, scale and offset.

package modbus

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// reorder converts the bytes of one number to the byte order of the wire, or back; both are the
// same operation.
func reorder(b []byte, order string) {
	if order == "cdab" || order == "dcba" { // the registers in reverse order
		for i, j := 0, len(b)-2; i < j; i, j = i+2, j-2 {
			b[i], b[i+1], b[j], b[j+1] = b[j], b[j+1], b[i], b[i+1]
		}
	}
	if order == "badc" || order == "dcba" {
		for i := 0; i+1 < len(b); i += 2 {
			b[i], b[i+1] = b[i+1], b[i]
		}
	}
}

var errNaN = errors.New("the device has no number there (NaN)")

// decode returns the value of a register. data is its bytes, or 0 and 1 for a table of bits.
func (r Register) decode(data []byte) (any, error) {
	data = bytes.Clone(data)
	if r.typ() == "string" {
		if r.Order == "badc" || r.Order == "dcba" {
			reorder(data, "badc")
		}
		text, _, _ := bytes.Cut(data, []byte{0})
		return strings.ToValidUTF8(strings.TrimRight(string(text), " "), "\ufffd"), nil
	}
	size := len(data) / max(1, r.Count)
	if r.Count <= 1 {
		return r.one(data)
	}
	list := make([]any, r.Count)
	var err error
	for i := range list {
		var oerr error
		if list[i], oerr = r.one(data[i*size : (i+1)*size]); oerr != nil {
			err = oerr
		}
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

// one decodes one number, or a bool.
func (r Register) one(b []byte) (any, error) {
	if r.bits() {
		return b[0] != 0, nil
	}
	reorder(b, r.Order)
	be := binary.BigEndian
	switch r.typ() {
	case "bool":
		return be.Uint16(b) != 0, nil
	case "int16":
		return r.whole(int64(int16(be.Uint16(b)))), nil
	case "int32":
		return r.whole(int64(int32(be.Uint32(b)))), nil
	case "uint32":
		return r.whole(int64(be.Uint32(b))), nil
	case "int64":
		return r.whole(int64(be.Uint64(b))), nil
	case "uint64":
		v := be.Uint64(b)
		if v <= math.MaxInt64 {
			return r.whole(int64(v)), nil
		}
		if !r.scaled() {
			return v, nil
		}
		return r.exactly(new(big.Int).SetUint64(v)), nil
	case "float32": // with its own digits, not those of the nearest float64
		v, err := strconv.ParseFloat(strconv.FormatFloat(float64(math.Float32frombits(be.Uint32(b))), 'g', -1, 32), 64)
		if err != nil {
			return nil, err
		}
		return r.real(v)
	case "float64":
		return r.real(math.Float64frombits(be.Uint64(b)))
	}
	return r.whole(int64(be.Uint16(b))), nil
}

func (r Register) whole(v int64) any {
	if !r.scaled() {
		return v
	}
	return r.exactly(big.NewInt(v))
}

// exactly scales an integer that may have more digits than a float64. The value is an integer if
// scale and offset are.
func (r Register) exactly(v *big.Int) any {
	scale, offset := r.Scale, r.Offset
	if scale == 0 {
		scale = 1
	}
	f, _ := new(big.Float).SetInt(v).Float64()
	if math.Abs(f) < 1<<53 || scale != math.Trunc(scale) || offset != math.Trunc(offset) || math.Abs(scale) > 1<<53 || math.Abs(offset) > 1<<53 {
		return r.scale(f)
	}
	v.Add(v.Mul(v, big.NewInt(int64(scale))), big.NewInt(int64(offset)))
	if v.IsInt64() {
		return v.Int64()
	}
	return json.Number(v.String())
}

func (r Register) real(v float64) (any, error) {
	if r.scaled() {
		v = r.scale(v)
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, errNaN
	}
	return v, nil
}

// scale applies scale and offset, and removes the digits that only binary arithmetic made: 2301 at
// 0.1 is 230.1.
func (r Register) scale(v float64) float64 {
	if r.Scale != 0 {
		v *= r.Scale
	}
	v, err := strconv.ParseFloat(strconv.FormatFloat(v+r.Offset, 'g', 14, 64), 64)
	if err != nil {
		return math.NaN() // infinite
	}
	return v
}

// encode returns the bytes of a value in a register; 0 and 1 for a table of bits. An error says why
// the value doesn't fit.
func (r Register) encode(v any) ([]byte, error) {
	if r.typ() == "string" {
		text, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("%s is not a text", short(v))
		}
		if len(text) > 2*r.words() {
			return nil, fmt.Errorf("%s has %d bytes, more than the %d of %d registers", short(v), len(text), 2*r.words(), r.words())
		}
		b := make([]byte, 2*r.words())
		copy(b, text)
		if r.Order == "badc" || r.Order == "dcba" {
			reorder(b, "badc")
		}
		return b, nil
	}
	if r.Count <= 1 {
		return r.put(v)
	}
	list, ok := v.([]any)
	if !ok || len(list) != r.Count {
		return nil, fmt.Errorf("%s is not a list of %d values", short(v), r.Count)
	}
	var all []byte
	for _, e := range list {
		b, err := r.put(e)
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return all, nil
}

// put encodes one number, or a bool.
func (r Register) put(v any) ([]byte, error) {
	if r.typ() == "bool" {
		on, err := truth(v)
		if err != nil {
			return nil, err
		}
		b := []byte{0}
		if on {
			b[0] = 1
		}
		if !r.bits() {
			b = append([]byte{0}, b...)
			reorder(b, r.Order)
		}
		return b, nil
	}
	b := make([]byte, 2*r.size())
	bits, err := r.raw(v)
	if err != nil {
		return nil, err
	}
	var whole [8]byte
	binary.BigEndian.PutUint64(whole[:], bits)
	copy(b, whole[8-len(b):])
	reorder(b, r.Order)
	return b, nil
}

// raw returns the bits of a number, in the low end.
func (r Register) raw(v any) (uint64, error) {
	if u, ok := unsigned(v); ok && r.typ() == "uint64" && !r.scaled() {
		return u, nil
	}
	whole, real, isWhole, err := number(v)
	if err != nil {
		return 0, err
	}
	if r.scaled() {
		s := r.Scale
		if s == 0 {
			s = 1
		}
		real, isWhole = (real-r.Offset)/s, false
	}
	if r.typ() == "float32" || r.typ() == "float64" {
		if math.IsNaN(real) || math.IsInf(real, 0) || r.typ() == "float32" && math.Abs(real) > math.MaxFloat32 {
			return 0, fmt.Errorf("%s is out of the range of a %s", short(v), r.typ())
		}
		if r.typ() == "float32" {
			return uint64(math.Float32bits(float32(real))), nil
		}
		return math.Float64bits(real), nil
	}
	size := uint(16 * r.size())
	signed := strings.HasPrefix(r.typ(), "int")
	if !isWhole {
		real = math.Round(real)
		if r.typ() == "uint64" && real >= 1<<63 && real < 1<<64 {
			return uint64(real), nil
		}
		if !(real >= -(1<<63) && real < 1<<63) { // also for NaN
			return 0, fmt.Errorf("%s is out of the range of %s", short(v), r.what())
		}
		whole = int64(real)
	}
	if signed {
		if low := int64(-1) << (size - 1); whole < low || whole > -(low+1) {
			return 0, fmt.Errorf("%s is out of the range of %s", short(v), r.what())
		}
	} else if whole < 0 || size < 64 && whole >= 1<<size {
		return 0, fmt.Errorf("%s is out of the range of %s", short(v), r.what())
	}
	return uint64(whole), nil
}

// what describes the type in words, with its range of values.
func (r Register) what() string {
	if r.scaled() {
		return a(r.typ()) + ", with scale and offset"
	}
	return a(r.typ())
}

// a puts the article before a type.
func a(typ string) string {
	if strings.HasPrefix(typ, "int") {
		return "an " + typ
	}
	return "a " + typ
}

// unsigned returns an integer beyond int64, or the text of one.
func unsigned(v any) (uint64, bool) {
	switch x := v.(type) {
	case uint64:
		return x, true
	case json.Number:
		return unsigned(string(x))
	case string:
		u, err := strconv.ParseUint(strings.TrimSpace(x), 10, 64)
		return u, err == nil
	}
	return 0, false
}

// number returns a number, or parses a text as one.
func number(v any) (whole int64, real float64, isWhole bool, err error) {
	switch x := v.(type) {
	case int:
		return int64(x), float64(x), true, nil
	case int64:
		return x, float64(x), true, nil
	case float64:
		return 0, x, false, nil
	case json.Number:
		return number(string(x))
	case string:
		s := strings.TrimSpace(x)
		if i, ierr := strconv.ParseInt(s, 10, 64); ierr == nil {
			return i, float64(i), true, nil
		}
		if f, ferr := strconv.ParseFloat(s, 64); ferr == nil {
			return 0, f, false, nil
		}
	}
	return 0, 0, false, fmt.Errorf("%s is not a number", short(v))
}

// truth converts a bool, a word or a number to true or false.
func truth(v any) (bool, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	switch strings.ToLower(strings.TrimSpace(fmt.Sprint(v))) {
	case "1", "on", "true":
		return true, nil
	case "0", "off", "false":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither on nor off", short(v))
}

// short formats a value for an error, which must stay readable.
func short(x any) string {
	s := fmt.Sprintf("%v", x)
	if t, ok := x.(string); ok {
		s = strconv.Quote(t)
	}
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}
