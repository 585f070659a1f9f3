package decode

// This file decodes MessagePack. The library reads single values; the lists and maps are read here,
// because the library has no useful bound for their depth.

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tinylib/msgp/msgp"
)

var errShort = errors.New("it ends in the middle of a value")

func fromMessagePack(b []byte) (any, error) {
	d := messagePack{b: b}
	v, err := d.value(0)
	switch {
	case errors.Is(err, msgp.ErrShortBytes):
		return nil, errShort
	case err != nil:
		return nil, err
	case len(d.b) > 0:
		return nil, errRest
	}
	return v, nil
}

// messagePack is a payload while it is read.
type messagePack struct {
	b      []byte // what is left
	values int
}

func (d *messagePack) value(depth int) (v any, err error) {
	if d.values++; d.values > MaxValues {
		return nil, errMany
	}
	if len(d.b) == 0 {
		return nil, errShort
	}
	if d.extended() {
		return d.extension()
	}
	switch msgp.NextType(d.b) {
	case msgp.NilType:
		d.b, err = msgp.ReadNilBytes(d.b)
	case msgp.BoolType:
		v, d.b, err = msgp.ReadBoolBytes(d.b)
	case msgp.IntType:
		v, d.b, err = msgp.ReadInt64Bytes(d.b)
	case msgp.UintType:
		var u uint64
		u, d.b, err = msgp.ReadUint64Bytes(d.b)
		v = unsigned(u)
	case msgp.Float32Type:
		var f float32
		f, d.b, err = msgp.ReadFloat32Bytes(d.b)
		v = float64(f)
	case msgp.Float64Type:
		v, d.b, err = msgp.ReadFloat64Bytes(d.b)
	case msgp.StrType:
		var s []byte
		s, d.b, err = msgp.ReadStringZC(d.b)
		v = validText(string(s))
	case msgp.BinType:
		var s []byte
		s, d.b, err = msgp.ReadBytesZC(d.b)
		v = append([]byte{}, s...)
	case msgp.ArrayType:
		return d.list(depth + 1)
	case msgp.MapType:
		return d.object(depth + 1)
	default:
		return nil, errors.New("it has a byte that no value begins with")
	}
	return v, err
}

func (d *messagePack) list(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, errDeep
	}
	n, rest, err := msgp.ReadArrayHeaderBytes(d.b)
	if err != nil {
		return nil, err
	}
	if d.b = rest; uint64(n) > uint64(len(rest)) { // before memory is taken for it
		return nil, errShort
	}
	if n > MaxValues {
		return nil, errMany
	}
	list := make([]any, 0, min(n, 1024))
	for range n {
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (d *messagePack) object(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, errDeep
	}
	n, rest, err := msgp.ReadMapHeaderBytes(d.b)
	if err != nil {
		return nil, err
	}
	if d.b = rest; 2*uint64(n) > uint64(len(rest)) {
		return nil, errShort
	}
	m := map[string]any{}
	for range n {
		k, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		key, err := keyText(k)
		if err != nil {
			return nil, err
		}
		if m[key], err = d.value(depth); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// extended reports whether an extension comes next. The library gives some types that applications
// may use a meaning of its own.
func (d *messagePack) extended() bool {
	c := d.b[0]
	return c >= 0xd4 && c <= 0xd8 || c >= 0xc7 && c <= 0xc9
}

// extension reads an extension: a time as text, as JSON has it, and any other as its bytes.
func (d *messagePack) extension() (any, error) {
	c, b := d.b[0], d.b[1:]
	var size uint64
	if c >= 0xd4 && c <= 0xd8 {
		size = 1 << (c - 0xd4)
	} else {
		width := 1 << (c - 0xc7)
		if len(b) < width {
			return nil, errShort
		}
		var wide [8]byte
		copy(wide[8-width:], b)
		size, b = binary.BigEndian.Uint64(wide[:]), b[width:]
	}
	if size >= uint64(len(b)) { // and its type
		return nil, errShort
	}
	kind, data := int8(b[0]), b[1:1+size]
	d.b = b[1+size:]
	if kind != -1 {
		return bytes.Clone(data), nil
	}
	var seconds, nanos int64
	switch len(data) {
	case 4:
		seconds = int64(binary.BigEndian.Uint32(data))
	case 8:
		x := binary.BigEndian.Uint64(data)
		seconds, nanos = int64(x&(1<<34-1)), int64(x>>34)
	case 12:
		seconds, nanos = int64(binary.BigEndian.Uint64(data[4:])), int64(binary.BigEndian.Uint32(data))
	default:
		return nil, errors.New("a time has " + strconv.Itoa(len(data)) + " bytes; want 4, 8 or 12")
	}
	const year1, year10000 = -62135596800, 253402300800
	if nanos >= 1e9 || seconds < year1 || seconds >= year10000 {
		return nil, errors.New("a time is not one of the years 1 to 9999")
	}
	return time.Unix(seconds, nanos).UTC().Format(time.RFC3339Nano), nil
}

func unsigned(u uint64) any {
	if u > math.MaxInt64 {
		return json.Number(strconv.FormatUint(u, 10))
	}
	return int64(u)
}

func validText(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
