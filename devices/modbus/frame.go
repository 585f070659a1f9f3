// This file is the framing of requests and answers: with a header over TCP (MBAP); with a unit in
// front and a checksum behind on a serial line (RTU).

package modbus

import (
	"encoding/binary"
	"fmt"
)

const maxPDU = 253

// mbap returns a request with the header of TCP: number, protocol 0, length, unit.
func mbap(number uint16, unit byte, pdu []byte) []byte {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 7+len(pdu)), number)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(1+len(pdu)))
	return append(append(b, unit), pdu...)
}

// readMBAP decodes the first message of b. n is its length, 0 when it isn't complete. After an
// error the stream can't be decoded any more.
func readMBAP(b []byte) (number uint16, unit byte, pdu []byte, n int, err error) {
	if len(b) < 6 {
		return 0, 0, nil, 0, nil
	}
	number = binary.BigEndian.Uint16(b)
	protocol, length := binary.BigEndian.Uint16(b[2:]), int(binary.BigEndian.Uint16(b[4:]))
	if protocol != 0 || length < 2 || length > 1+maxPDU {
		return 0, 0, nil, 0, fmt.Errorf("the device does not answer in Modbus over TCP (% x)", b[:6])
	}
	if len(b) < 6+length {
		return 0, 0, nil, 0, nil
	}
	return number, b[6], b[7 : 6+length], 6 + length, nil
}

// crc returns the checksum of a serial line.
func crc(b []byte) uint16 {
	sum := uint16(0xffff)
	for _, c := range b {
		sum ^= uint16(c)
		for range 8 {
			if sum&1 == 1 {
				sum = sum>>1 ^ 0xa001
			} else {
				sum >>= 1
			}
		}
	}
	return sum
}

// rtu returns a request framed for a serial line.
func rtu(unit byte, pdu []byte) []byte {
	b := append(append(make([]byte, 0, 3+len(pdu)), unit), pdu...)
	return binary.LittleEndian.AppendUint16(b, crc(b))
}

// findRTU looks for the answer to a request anywhere in b, because noise may precede it. When there
// is no answer, trouble is the reason, as text.
func findRTU(b []byte, q request) (pdu []byte, ok bool, trouble string) {
	for i := 0; i+2 <= len(b); i++ {
		length := 0
		switch {
		case b[i+1] != q.function && b[i+1] != q.function|refusal:
			continue
		case b[i+1] == q.function|refusal:
			length = 5
		default:
			length = 3 + q.answer()
		}
		if i+length > len(b) {
			if b[i] == q.unit && trouble == "" {
				trouble = "a part of an answer was received"
			}
			continue
		}
		frame := b[i : i+length]
		right := binary.LittleEndian.Uint16(frame[length-2:]) == crc(frame[:length-2])
		switch {
		case right && b[i] == q.unit:
			return frame[1 : length-2], true, ""
		case right:
			trouble = fmt.Sprintf("an answer of unit %d was received", b[i])
		case b[i] == q.unit:
			trouble = "an answer with a wrong checksum was received"
		}
	}
	if trouble == "" && len(b) > 0 {
		trouble = fmt.Sprintf("%d bytes were received that are not an answer", len(b))
	}
	return nil, false, trouble
}
