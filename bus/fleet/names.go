package fleet

// This file is the names of subjects on the hub: pbf.<fleet>.<bus>.<lane>. The lane begins with the
// layout and the number of the share, and may go on with the first levels of its topics.

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	prefix      = "pbf"
	offerLane   = "offer"
	helloLane   = "hello"
	lanesLane   = "lanes"
	maxLaneName = 160 // bytes; a longer one is replaced by a hash
)

// StreamName is the name of a fleet's stream.
func StreamName(fleet string) string { return "PBF_" + fleet }

// Subjects is the filter of all subjects of a fleet.
func Subjects(fleet string) string { return prefix + "." + fleet + ".>" }

// BusSubjects is the filter of the subjects that a bus may publish on.
func BusSubjects(fleet, bus string) string { return prefix + "." + fleet + "." + bus + ".>" }

// PresenceSubject is where a running bus answers, so that a second one with its name is found. It is in no
// stream.
func PresenceSubject(fleet, bus string) string { return "pbw." + fleet + "." + bus }

// CheckSubject is a subject of a bus on which nothing is stored, to see whether the hub refuses what it should.
func CheckSubject(fleet, bus string) string { return subjectOf(fleet, bus, "check") }

// subjectOf returns the subject of a lane.
func subjectOf(fleet, bus, lane string) string {
	return prefix + "." + fleet + "." + bus + "." + lane
}

// splitSubject returns the bus and the lane of a subject.
func splitSubject(fleet, subject string) (bus, lane string, ok bool) {
	rest, ok := strings.CutPrefix(subject, prefix+"."+fleet+".")
	if !ok {
		return "", "", false
	}
	bus, lane, ok = strings.Cut(rest, ".")
	return bus, lane, ok && bus != "" && lane != ""
}

// escape makes a token of a subject from a topic level, reversibly: letters, digits, - and _ stay, each other
// byte becomes =XX, and nothing becomes a single =. Wildcards of MQTT and NATS are other bytes.
func escape(level string) string {
	if level == "" {
		return "="
	}
	var b strings.Builder
	for _, c := range []byte(level) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// laneName is the lane of a topic in a share: the share's name, and as many levels as the share says.
func laneName(share string, levels int, topic string) string {
	if levels == 0 {
		return share
	}
	name := share
	for range levels {
		level, rest, more := strings.Cut(topic, "/")
		name += "." + escape(level)
		if !more {
			break
		}
		topic = rest
	}
	if len(name) > maxLaneName {
		sum := sha256.Sum256([]byte(name))
		return share + ".==" + hex.EncodeToString(sum[:16])
	}
	return name
}

// laneKey identifies a lane for the fold of the buses that take it. The bus is part of it, so that a bus
// with a forged epoch reaches its own lanes alone.
func laneKey(epoch [16]byte, bus, lane string) []byte {
	key := make([]byte, 0, len(epoch)+len(bus)+1+len(lane))
	key = append(key, epoch[:]...)
	key = append(key, bus...)
	key = append(key, '.')
	return append(key, lane...)
}
