// This file plans which registers are read together.

package modbus

import (
	"cmp"
	"slices"
)

// block is registers that are read by one request.
type block struct {
	q         request
	registers []Register
}

var readers = map[string]byte{"coil": readCoils, "discrete": readDiscrete, "holding": readHolding, "input": readInput}

// plan returns as few requests as possible. Registers of one table of a unit share a request when
// at most gap others lie between them. maxRegisters bounds the registers of a request; the protocol
// bounds bits.
func plan(list []Register, unit, gap, maxRegisters int) []block {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Register) int {
		return cmp.Or(cmp.Compare(a.unit(unit), b.unit(unit)), cmp.Compare(readers[a.kind()], readers[b.kind()]), cmp.Compare(a.Address, b.Address))
	})
	var out []block
	for _, r := range list {
		limit := maxRegisters
		if r.bits() {
			limit = maxBits
		}
		if len(out) > 0 {
			b := &out[len(out)-1]
			end := max(b.q.address+b.q.count, r.Address+r.words())
			if b.q.unit == r.unit(unit) && b.q.function == readers[r.kind()] && r.Address <= b.q.address+b.q.count+gap && end-b.q.address <= limit {
				b.q.count = end - b.q.address
				b.registers = append(b.registers, r)
				continue
			}
		}
		out = append(out, single(r, unit))
	}
	return out
}

// single returns a request for a single register.
func single(r Register, unit int) block {
	return block{request{unit: r.unit(unit), function: readers[r.kind()], address: r.Address, count: r.words()}, []Register{r}}
}

// data returns a register's part of an answer: its bytes, or 0 and 1 for bits.
func (b block) data(r Register, answer []byte) []byte {
	at := r.Address - b.q.address
	if !r.bits() {
		return answer[2*at : 2*(at+r.words())]
	}
	bits := make([]byte, r.words())
	for i := range bits {
		bits[i] = answer[(at+i)/8] >> ((at + i) % 8) & 1
	}
	return bits
}
