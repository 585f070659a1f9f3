// This file parses NMEA 0183 sentences, as GPS receivers and ships' instruments send them:
// "$GPGGA,123519,…*47".

package serial

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"
)

// sentence is a sentence whose checksum was verified.
type sentence struct {
	talker, name string
	fields       []string
}

// readSentence parses a line. reason says what is wrong with it; garbage reports bytes before the
// sentence.
func readSentence(line []byte, needSum bool) (s sentence, garbage bool, reason string) {
	begin := bytes.LastIndexAny(line, "$!") // neither occurs inside a sentence, so the last one begins the last sentence
	if begin < 0 {
		return s, false, lostNMEA
	}
	garbage = begin > 0 && line[0] != '\\' // a tag block, which says who forwarded the sentence
	body, sum, has := bytes.Cut(bytes.TrimRight(line[begin+1:], "\r\n \t\x00"), []byte("*"))
	switch {
	case has:
		want, err := strconv.ParseUint(string(sum), 16, 8)
		if err != nil || len(sum) != 2 || byte(want) != checksum(body) {
			return s, garbage, lostSum
		}
	case needSum:
		return s, garbage, lostNoSum
	}
	words := strings.Split(strings.ToValidUTF8(string(body), "\ufffd"), ",")
	address := words[0]
	for _, c := range []byte(address) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return s, garbage, lostNMEA
		}
	}
	switch {
	case len(address) >= 2 && address[0] == 'P': // a maker's own, as $PUBX
		s = sentence{"P", address[1:], words[1:]}
	case len(address) >= 4 && len(address) <= 6:
		s = sentence{address[:2], address[2:], words[1:]}
	default:
		return s, garbage, lostNMEA
	}
	return s, garbage, ""
}

// checksum returns the exclusive or of all bytes between $ and *.
func checksum(b []byte) (sum byte) {
	for _, c := range b {
		sum ^= c
	}
	return sum
}

// field returns the nth word, empty when there is none.
func (s sentence) field(n int) string {
	if n < len(s.fields) {
		return s.fields[n]
	}
	return ""
}

// number returns the nth word times a factor; nil when it is not a number.
func (s sentence) number(n int, factor float64) any {
	word := s.field(n)
	if strings.Trim(word, "+-.0123456789") != "" {
		return nil // ParseFloat accepts Inf and 0x1p3 as well
	}
	v, err := strconv.ParseFloat(word, 64)
	if err != nil || math.IsInf(v, 0) {
		return nil
	}
	if factor == 1 {
		return v
	}
	return math.Round(v*factor*1e6) / 1e6
}

func (s sentence) whole(n int) any {
	v, err := strconv.ParseUint(s.field(n), 10, 16)
	if err != nil {
		return nil
	}
	return int(v)
}

// angle converts the words n and n+1 to degrees: "4807.038,N" is 48° 7.038'.
func (s sentence) angle(n int, plus, minus string, limit float64) any {
	v, ok := s.number(n, 1).(float64)
	if !ok || v < 0 {
		return nil
	}
	degrees := math.Floor(v / 100)
	minutes := v - degrees*100
	d := math.Round((degrees+minutes/60)*1e8) / 1e8 // a millimetre; further digits come from the arithmetic
	switch side := s.field(n + 1); {
	case minutes >= 60 || d > limit || side != plus && side != minus:
		return nil
	case side == minus && d != 0: // avoids -0
		return -d
	}
	return d
}

const knots = 1852.0 / 3600 // metres a second

// clock remembers the date for sentences without one.
type clock struct{ last time.Time }

// moment converts hhmmss.ss of the day ddmmyy, or of the remembered day. It returns nil when the
// day is unknown.
func (c *clock) moment(hms, date string) any {
	digits, fraction, _ := strings.Cut(hms, ".")
	t, err := time.Parse("150405", digits)
	if err != nil || len(digits) != 6 || len(fraction) > 9 || strings.Trim(fraction, "0123456789") != "" {
		return nil
	}
	f, _ := strconv.Atoi((fraction + "000000000")[:9])
	since := t.Sub(t.Truncate(24*time.Hour)) + time.Duration(f)
	if date != "" {
		day, err := time.Parse("020106", date)
		if err != nil || len(date) != 6 {
			return nil
		}
		c.last = day.Add(since)
		return c.last.Format(time.RFC3339Nano)
	}
	if c.last.IsZero() {
		return nil
	}
	at := c.last.Truncate(24 * time.Hour).Add(since)
	if c.last.Sub(at) > 12*time.Hour { // it is past midnight, and no sentence with the new date arrived yet
		at = at.Add(24 * time.Hour)
	}
	return at.Format(time.RFC3339Nano)
}

// fill puts a sentence's values into an event's fields.
func (c *clock) fill(s sentence, m map[string]any) {
	m["talker"], m["sentence"], m["fields"] = s.talker, s.name, s.fields
	// A receiver's claim to have a fix counts only with a position, because valid promises lat and
	// lon, and what moves with them.
	place := func(lat int, fixed bool) bool {
		la, lo := s.angle(lat, "N", "S", 90), s.angle(lat+2, "E", "W", 180)
		valid := fixed && la != nil && lo != nil
		if m["valid"] = valid; valid {
			m["lat"], m["lon"] = la, lo
		}
		return valid
	}
	if s.talker == "P" {
		return
	}
	switch s.name {
	case "RMC":
		m["time"] = c.moment(s.field(0), s.field(8))
		if place(2, s.field(1) == "A" && s.field(11) != "N") { // NMEA 2.3 adds a mode
			m["speed"], m["course"] = s.number(6, knots), s.number(7, 1)
		}
	case "GGA":
		m["time"] = c.moment(s.field(0), "")
		m["fix"] = s.whole(5)
		m["satellites"], m["hdop"] = s.whole(6), s.number(7, 1)
		if place(1, m["fix"] != nil && m["fix"] != 0) {
			m["altitude"] = s.number(8, 1)
		}
	case "GNS":
		m["time"] = c.moment(s.field(0), "")
		m["satellites"], m["hdop"] = s.whole(6), s.number(7, 1)
		if place(1, strings.Trim(s.field(5), "N") != "") {
			m["altitude"] = s.number(8, 1)
		}
	case "GLL":
		m["time"] = c.moment(s.field(4), "")
		place(0, s.field(5) == "A" && s.field(6) != "N")
	case "VTG":
		m["course"] = s.number(0, 1)
		if m["speed"] = s.number(4, knots); m["speed"] == nil {
			m["speed"] = s.number(6, 1/3.6)
		}
	case "ZDA":
		if year := s.field(3); len(year) == 4 && len(s.field(1)) == 2 && len(s.field(2)) == 2 {
			m["time"] = c.moment(s.field(0), s.field(1)+s.field(2)+year[2:])
		}
	}
}
