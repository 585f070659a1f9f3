// This file is requests and answers without their framing: the protocol data unit.

package modbus

import (
	"encoding/binary"
	"fmt"
)

const (
	readCoils     = 1
	readDiscrete  = 2
	readHolding   = 3
	readInput     = 4
	writeCoil     = 5
	writeRegister = 6
	writeCoils    = 15
	writeMany     = 16

	refusal = 0x80 // with the function of the request: an exception
)

// request is a request to a unit.
type request struct {
	unit     byte
	function byte
	address  int
	count    int    // registers or bits
	data     []byte // of a write: as it is sent; of writeCoil and writeRegister two bytes
}

func (q request) String() string {
	what := map[byte]string{readCoils: "coil", readDiscrete: "discrete", readHolding: "holding", readInput: "input", writeCoil: "coil", writeCoils: "coil",
		writeRegister: "holding", writeMany: "holding"}[q.function]
	if q.count > 1 {
		return fmt.Sprintf("%s %d to %d of unit %d", what, q.address, q.address+q.count-1, q.unit)
	}
	return fmt.Sprintf("%s %d of unit %d", what, q.address, q.unit)
}

// pdu encodes the request.
func (q request) pdu() []byte {
	b := binary.BigEndian.AppendUint16([]byte{q.function}, uint16(q.address))
	switch q.function {
	case writeCoil, writeRegister:
		return append(b, q.data...)
	case writeCoils, writeMany:
		b = append(binary.BigEndian.AppendUint16(b, uint16(q.count)), byte(len(q.data)))
		return append(b, q.data...)
	}
	return binary.BigEndian.AppendUint16(b, uint16(q.count))
}

// payload returns the number of data bytes in the answer to a read.
func (q request) payload() int {
	switch q.function {
	case readCoils, readDiscrete:
		return (q.count + 7) / 8
	case readHolding, readInput:
		return 2 * q.count
	}
	return 0
}

// answer returns the length of a good answer.
func (q request) answer() int {
	if n := q.payload(); n > 0 {
		return 2 + n
	}
	return 5
}

// read returns the data of an answer, nil for a write. An error is an exception, or says why the
// bytes are no answer to the request.
func (q request) read(pdu []byte) ([]byte, error) {
	switch {
	case len(pdu) == 2 && pdu[0] == q.function|refusal:
		return nil, exception{pdu[1], q}
	case len(pdu) == 0 || pdu[0] != q.function:
		return nil, malformed{fmt.Errorf("an answer to another function (% x)", pdu[:min(len(pdu), 8)])}
	case len(pdu) != q.answer():
		return nil, malformed{fmt.Errorf("an answer of %d bytes in place of %d", len(pdu), q.answer())}
	}
	if n := q.payload(); n > 0 {
		if int(pdu[1]) != n {
			return nil, malformed{fmt.Errorf("an answer with %d bytes of data in place of %d", pdu[1], n)}
		}
		return pdu[2:], nil
	}
	sent := q.pdu()
	if string(pdu) != string(sent[:5]) {
		return nil, malformed{fmt.Errorf("it confirms a different write (% x)", pdu)}
	}
	return nil, nil
}

// malformed is the error of an answer that can't be valid.
type malformed struct{ error }

// exception is an error answer of a device.
type exception struct {
	code byte
	q    request
}

func (e exception) Error() string {
	reason, ok := map[byte]string{
		1:  "it does not support this function (exception 1)",
		2:  "there is no such address (exception 2)",
		3:  "it does not accept this value or number of registers (exception 3)",
		4:  "it failed (exception 4)",
		5:  "it needs more time (exception 5)",
		6:  "it is busy (exception 6)",
		8:  "its memory is damaged (exception 8)",
		10: "the gateway has no path to it (exception 10)",
		11: "it does not answer its gateway (exception 11)",
	}[e.code]
	if !ok {
		reason = fmt.Sprintf("exception %d", e.code)
	}
	return fmt.Sprintf("the device refused %s: %s", e.q, reason)
}

// Permanent reports whether retries can't help: the function, the address or the value is wrong.
func (e exception) Permanent() bool { return e.code >= 1 && e.code <= 3 }

// busy reports whether a retry soon may help.
func (e exception) busy() bool { return e.code == 5 || e.code == 6 || e.code == 11 }
