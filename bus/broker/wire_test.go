package broker_test

// This file is the tests' own MQTT client: it writes packets from a line of text and reads packets
// into one. It shares no code with package frame, because it tests that package.

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Protocol levels.
const (
	v31  = 3
	v311 = 4
	v5   = 5
)

var packetTypes = []string{"", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

// property is an MQTT 5 property under the name that scripts use. kind: 1, 2 and 4 bytes, v:
// variable byte integer, s: string, p: pair of strings.
type property struct {
	name string
	id   byte
	kind byte
}

var properties = []property{
	{"format", 0x01, '1'}, {"expiry", 0x02, '4'}, {"content", 0x03, 's'}, {"response", 0x08, 's'},
	{"correlation", 0x09, 's'}, {"sid", 0x0B, 'v'}, {"sessionexpiry", 0x11, '4'}, {"assigned", 0x12, 's'},
	{"keepalive", 0x13, '2'}, {"authmethod", 0x15, 's'}, {"authdata", 0x16, 's'}, {"probleminfo", 0x17, '1'},
	{"delay", 0x18, '4'}, {"responseinfo", 0x19, '1'}, {"responseinformation", 0x1A, 's'}, {"reference", 0x1C, 's'},
	{"reason", 0x1F, 's'}, {"recvmax", 0x21, '2'}, {"aliasmax", 0x22, '2'}, {"alias", 0x23, '2'},
	{"maxqos", 0x24, '1'}, {"retainavail", 0x25, '1'}, {"user", 0x26, 'p'}, {"maxpacket", 0x27, '4'},
	{"wildavail", 0x28, '1'}, {"subidavail", 0x29, '1'}, {"sharedavail", 0x2A, '1'},
}

func str(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func varint(b []byte, n int) []byte {
	for ; n >= 128; n >>= 7 {
		b = append(b, byte(n)|128)
	}
	return append(b, byte(n))
}

// args are the words of a line: positional ones, flags, and name=value in their order.
type args struct {
	words []string
	named [][2]string
}

func parseArgs(words []string) (a args) {
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok && k != "" && !strings.ContainsAny(k, "/$+#\"") {
			a.named = append(a.named, [2]string{k, v})
		} else {
			a.words = append(a.words, w)
		}
	}
	return a
}

func (a *args) flag(name string) bool {
	if i := slices.Index(a.words, name); i >= 0 {
		a.words = slices.Delete(a.words, i, i+1)
		return true
	}
	return false
}

func (a *args) get(name string) (string, bool) {
	for i, kv := range a.named {
		if kv[0] == name {
			a.named = slices.Delete(a.named, i, i+1)
			return kv[1], true
		}
	}
	return "", false
}

func (a *args) num(name string, def int) int {
	if s, ok := a.get(name); ok {
		return number(s)
	}
	return def
}

func number(s string) int {
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		panic(err)
	}
	return int(n)
}

// props encodes all remaining named arguments, with their length.
func (a *args) props() []byte {
	var b []byte
	for _, kv := range a.named {
		i := slices.IndexFunc(properties, func(p property) bool { return p.name == kv[0] })
		if i < 0 {
			panic("no property " + kv[0])
		}
		p := properties[i]
		b = append(b, p.id)
		switch p.kind {
		case '1':
			b = append(b, byte(number(kv[1])))
		case '2':
			b = binary.BigEndian.AppendUint16(b, uint16(number(kv[1])))
		case '4':
			b = binary.BigEndian.AppendUint32(b, uint32(number(kv[1])))
		case 'v':
			b = varint(b, number(kv[1]))
		case 's':
			b = str(b, text(kv[1]))
		case 'p':
			k, v, _ := strings.Cut(kv[1], ":")
			b = str(str(b, k), text(v))
		}
	}
	return append(varint(nil, len(b)), b...)
}

// text expands a script's abbreviations: x*1000, "" and the \x00 forms of Go.
func text(s string) string {
	if s == `""` {
		return ""
	}
	if unit, n, ok := strings.Cut(s, "*"); ok {
		if k, err := strconv.Atoi(n); err == nil {
			return strings.Repeat(unit, k)
		}
	}
	if strings.Contains(s, `\`) {
		u, err := strconv.Unquote(`"` + s + `"`)
		if err != nil {
			panic(err)
		}
		return u
	}
	return s
}

// short is the inverse of text.
func short(b []byte) string {
	switch {
	case len(b) == 0:
		return `""`
	case len(b) > 64 && bytes.Count(b, b[:1]) == len(b):
		return fmt.Sprintf("%c*%d", b[0], len(b))
	}
	return strings.ReplaceAll(strings.Trim(strconv.Quote(string(b)), `"`), " ", "_")
}

// encode makes the packet of a line such as "PUBLISH a/b hello q1 id=3 retain expiry=5".
func encode(line, self string, version byte) []byte {
	words := strings.Fields(line)
	verb := words[0]
	if verb == "HEX" {
		b, err := hex.DecodeString(strings.Join(words[1:], ""))
		if err != nil {
			panic(err)
		}
		return b
	}
	a := parseArgs(words[1:])
	typ := byte(slices.Index(packetTypes, verb))
	first, body := typ<<4, []byte(nil)
	props := func() {
		if version == v5 {
			body = append(body, a.props()...)
		}
	}
	switch verb {
	case "CONNECT":
		body = connectBody(&a, self, version)
	case "PUBLISH":
		for q := range 4 {
			if a.flag("q" + strconv.Itoa(q)) {
				first |= byte(q << 1)
			}
		}
		if a.flag("dup") {
			first |= 8
		}
		if a.flag("retain") {
			first |= 1
		}
		id, has := a.get("id")
		body = str(nil, text(a.words[0]))
		if has || first&6 != 0 {
			body = binary.BigEndian.AppendUint16(body, uint16(number(id)))
		}
		props()
		if len(a.words) > 1 {
			body = append(body, text(a.words[1])...)
		}
	case "SUBSCRIBE", "UNSUBSCRIBE":
		first |= 2
		body = binary.BigEndian.AppendUint16(nil, uint16(number(a.words[0])))
		props()
		for _, f := range a.words[1:] {
			name, opts, _ := strings.Cut(f, ",")
			body = str(body, text(name))
			if verb == "SUBSCRIBE" {
				body = append(body, options(opts))
			}
		}
	case "PUBACK", "PUBREC", "PUBREL", "PUBCOMP":
		if verb == "PUBREL" {
			first |= 2
		}
		body = binary.BigEndian.AppendUint16(nil, uint16(number(a.words[0])))
		if len(a.words) > 1 {
			body = append(body, byte(number("0x"+a.words[1])))
		}
	case "DISCONNECT", "AUTH":
		if len(a.words) > 0 || len(a.named) > 0 {
			code := "0"
			if len(a.words) > 0 {
				code = a.words[0]
			}
			body = append(body, byte(number("0x"+code)))
			props()
		}
	case "PINGREQ":
	default:
		panic("cannot send " + verb)
	}
	return append(varint([]byte{first}, len(body)), body...)
}

// options are a subscription's: a/b,1nr2 is QoS 1, no local, retain as published, retain handling
// 2.
func options(s string) (o byte) {
	for i, c := range s {
		switch {
		case c == 'n':
			o |= 4
		case c == 'r':
			o |= 8
		case i == 0:
			o |= byte(c - '0')
		default:
			o |= byte(c-'0') << 4
		}
	}
	return o
}

func connectBody(a *args, self string, version byte) []byte {
	id := self
	if s, ok := a.get("id"); ok {
		id = text(s)
	}
	name, level := "MQTT", version
	if version == v31 {
		name = "MQIsdp"
	}
	if s, ok := a.get("name"); ok {
		name = s
	}
	level = byte(a.num("level", int(level)))
	if a.flag("bridge") {
		level |= 0x80
	}
	var flags byte = 2
	if a.flag("keep") {
		flags = 0
	}
	will, hasWill := a.get("will")
	var willProps args
	if hasWill {
		flags |= 4 | byte(a.num("wq", 0))<<3
		if a.flag("wretain") {
			flags |= 32
		}
		rest := a.named
		a.named = nil
		for _, kv := range rest {
			if n, ok := strings.CutPrefix(kv[0], "w-"); ok {
				willProps.named = append(willProps.named, [2]string{n, kv[1]})
			} else {
				a.named = append(a.named, kv)
			}
		}
	}
	user, hasUser := a.get("username")
	pass, hasPass := a.get("password")
	if hasUser {
		flags |= 128
	}
	if hasPass {
		flags |= 64
	}
	b := append(str(nil, name), level, flags|byte(a.num("flags", 0)))
	b = binary.BigEndian.AppendUint16(b, uint16(a.num("ka", 60)))
	if version == v5 {
		b = append(b, a.props()...)
	}
	b = str(b, id)
	if hasWill {
		if version == v5 {
			b = append(b, willProps.props()...)
		}
		topic, payload, _ := strings.Cut(will, ":")
		b = str(str(b, topic), text(payload))
	}
	if hasUser {
		b = str(b, text(user))
	}
	if hasPass {
		b = str(b, text(pass))
	}
	return b
}

// wire is one connection of a test's client.
type wire struct {
	net.Conn
	r       *bufio.Reader
	version byte
}

var errNothing = errors.New("nothing came")

// read returns the next packet as a line.
func (w *wire) read(timeout time.Duration) (string, error) {
	_ = w.SetReadDeadline(time.Now().Add(timeout))
	first, err := w.r.ReadByte()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", errNothing
	case err != nil:
		return "closed", nil
	}
	n, err := binary.ReadUvarint(w.r) // MQTT's variable byte integer has the same form
	if err != nil {
		return "", err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(w.r, body); err != nil {
		return "", err
	}
	return decode(first, body, w.version)
}

// decode is strict about the packets that a broker may send.
func decode(first byte, body []byte, version byte) (line string, err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("malformed packet %x %x", first, body)
		}
	}()
	out := []string{packetTypes[first>>4]}
	num := func() int {
		n := binary.BigEndian.Uint16(body)
		body = body[2:]
		return int(n)
	}
	code := func() { out = append(out, fmt.Sprintf("%02x", body[0])); body = body[1:] }
	props := func() []string {
		if version < v5 || len(body) == 0 {
			return nil
		}
		n, k := binary.Uvarint(body)
		p := body[k : k+int(n)]
		body = body[k+int(n):]
		return decodeProps(p)
	}
	if flags := first & 15; first>>4 != 3 && flags != map[byte]byte{6: 2}[first>>4] {
		return "", fmt.Errorf("%s with flags %x", out[0], flags)
	}
	switch out[0] {
	case "CONNACK":
		present := body[0]
		body = body[1:]
		code()
		if present == 1 {
			out = append(out, "present")
		} else if present != 0 {
			return "", fmt.Errorf("CONNACK with flags %x", present)
		}
		out = append(out, props()...)
	case "PUBLISH":
		n := num()
		topic := body[:n]
		body = body[n:]
		qos := first >> 1 & 3
		id := 0
		if qos > 0 {
			id = num()
		}
		ps := props()
		out = append(out, short(topic), short(body), fmt.Sprintf("q%d", qos))
		body = nil
		if qos > 0 {
			out = append(out, fmt.Sprintf("id=%d", id))
		}
		if first&8 != 0 {
			out = append(out, "dup")
		}
		if first&1 != 0 {
			out = append(out, "retain")
		}
		out = append(out, ps...)
	case "PUBACK", "PUBREC", "PUBREL", "PUBCOMP":
		out = append(out, strconv.Itoa(num()))
		if len(body) > 0 {
			code()
			out = append(out, props()...)
		}
	case "SUBACK", "UNSUBACK":
		out = append(out, strconv.Itoa(num()))
		ps := props()
		for len(body) > 0 {
			code()
		}
		out = append(out, ps...)
	case "DISCONNECT":
		if len(body) == 0 {
			out = append(out, "00")
			break
		}
		code()
		out = append(out, props()...)
	case "PINGRESP":
	default:
		return "", fmt.Errorf("a broker does not send %s", out[0])
	}
	if len(body) > 0 {
		return "", fmt.Errorf("%s with %d bytes too many", out[0], len(body))
	}
	return strings.Join(out, " "), nil
}

func decodeProps(b []byte) (out []string) {
	take := func() []byte {
		n := binary.BigEndian.Uint16(b)
		s := b[2 : 2+n]
		b = b[2+n:]
		return s
	}
	for len(b) > 0 {
		id := b[0]
		b = b[1:]
		p := properties[slices.IndexFunc(properties, func(p property) bool { return p.id == id })]
		value := ""
		switch p.kind {
		case '1':
			value, b = strconv.Itoa(int(b[0])), b[1:]
		case '2':
			value, b = strconv.Itoa(int(binary.BigEndian.Uint16(b))), b[2:]
		case '4':
			value, b = strconv.Itoa(int(binary.BigEndian.Uint32(b))), b[4:]
		case 'v':
			n, k := binary.Uvarint(b)
			value, b = strconv.Itoa(int(n)), b[k:]
		case 's':
			value = short(take())
		case 'p':
			value = short(take()) + ":"
			value += short(take())
		}
		out = append(out, p.name+"="+value)
	}
	return out
}
