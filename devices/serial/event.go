// This file converts a frame to an event's fields.

package serial

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/postbus/postbus/plugins/payload"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// format turns frames into fields.
type format struct {
	name    string // text, json, nmea, hex or base64
	decode  decode.Encoding
	lines   bool // a frame is a line
	needSum bool
	clock   clock
	lost    func(n int, reason string)
}

// fields returns the fields of a frame; nil when it is not valid, which was counted. cut says that
// the frame was too long.
func (f *format) fields(frame []byte, cut bool, port string) map[string]any {
	if cut {
		f.lost(1, lostLong)
		if f.name == "json" || f.name == "nmea" {
			return nil
		}
	}
	m := map[string]any{"text": nil, "json": nil, "bytes": nil, "port": port, "talker": nil, "sentence": nil, "fields": nil, "lat": nil, "lon": nil, "valid": nil,
		"fix": nil, "speed": nil, "course": nil, "altitude": nil, "satellites": nil, "hdop": nil, "time": nil}
	switch f.name {
	case "hex":
		m["text"], m["bytes"] = hex.EncodeToString(frame), bytes.Clone(frame)
		return m
	case "base64":
		m["text"], m["bytes"] = base64.StdEncoding.EncodeToString(frame), bytes.Clone(frame)
		return m
	case "nmea":
		s, garbage, wrong := readSentence(frame, f.needSum)
		if garbage {
			f.lost(1, lostGarbage)
		}
		if wrong != "" {
			f.lost(1, wrong)
			return nil
		}
		f.clock.fill(s, m)
		m["text"] = strings.ToValidUTF8(string(frame[bytes.LastIndexAny(frame, "$!"):]), "\ufffd")
		return m
	}
	m["text"] = payload.Text(frame)
	if !utf8.Valid(frame) {
		m["bytes"] = bytes.Clone(frame)
	}
	switch {
	case f.name == "json":
		var ok bool
		if m["json"], ok = payload.JSON(frame); !ok {
			f.lost(1, lostJSON)
			return nil
		}
	case f.lines:
		f.decode.Line(frame, m)
	default:
		f.decode.Payload(frame, m)
	}
	return m
}
