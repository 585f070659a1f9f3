// This file decodes advertisements, but for BTHome.
//
// Sources: Ruuvi, "Data format 5 (RAWv2)", docs.ruuvi.com, last updated 2021-08-25. atc1441,
// "Advertising format of the custom firmware", and pvvx, "Custom format", the readme files of
// github.com/atc1441/ATC_MiThermometer and github.com/pvvx/ATC_MiThermometer, firmware 4.6, 2023.
// Kontakt.io, "iBeacon advertising packet structure", support.kontakt.io, as read in 2026.

package ble

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
)

// The formats.
const (
	formatBTHome  = "bthome"
	formatRuuvi   = "ruuvi"
	formatIBeacon = "ibeacon"
	formatATC     = "atc"
	formatPVVX    = "pvvx"
	formatRaw     = "raw"
)

const (
	companyApple = 0x004c
	companyRuuvi = 0x0499

	serviceBTHome = "0000fcd2-0000-1000-8000-00805f9b34fb"
	serviceATC    = "0000181a-0000-1000-8000-00805f9b34fb" // Environmental Sensing, also of other devices
)

// maxPayload is the longest that an extended advertisement carries, by the Bluetooth Core Specification.
const maxPayload = 1650

var errLong = fmt.Errorf("it is longer than %d bytes", maxPayload)

// reading is a decoded advertisement.
type reading struct {
	format string
	fields map[string]any // of the event, but for those about the device
	// id is the same for repetitions of one measurement, if once is true.
	id   uint64
	once bool
}

var seed = maphash.MakeSeed()

// fingerprint is the id of a payload whose repetitions are one measurement.
func fingerprint(data []byte) uint64 { return maphash.Bytes(seed, data) }

// decodeManufacturer decodes a manufacturer's data. The error says what is wrong with data that
// claims to be in a known format.
func decodeManufacturer(company uint16, data []byte) (reading, error) {
	switch {
	case len(data) > maxPayload:
		return reading{}, errLong
	case company == companyRuuvi && len(data) > 0 && data[0] == 5:
		return decodeRuuvi(data)
	case company == companyApple && len(data) >= 2 && data[0] == 0x02 && data[1] == 0x15:
		return decodeIBeacon(data)
	}
	return reading{format: formatRaw, fields: map[string]any{"values": map[string]any{}, "manufacturer": int(company), "data": hex.EncodeToString(data)}}, nil
}

// decodeService decodes the data of a service.
func decodeService(uuid string, data []byte) (reading, error) {
	switch {
	case len(data) > maxPayload:
		return reading{}, errLong
	case len(uuid) != len(serviceATC):
		return reading{}, errors.New("its service has no UUID")
	case uuid == serviceBTHome:
		return decodeBTHome(data)
	case uuid == serviceATC && len(data) == 13:
		return decodeATC(data), nil
	case uuid == serviceATC && len(data) == 15:
		return decodePVVX(data), nil
	}
	return reading{format: formatRaw, fields: map[string]any{"values": map[string]any{}, "service": uuid, "data": hex.EncodeToString(data)}}, nil
}

// decodeRuuvi decodes data format 5. Values that the tag marks as not available are missing.
func decodeRuuvi(data []byte) (reading, error) {
	if len(data) < 24 {
		return reading{}, fmt.Errorf("a RuuviTag's data has %d bytes instead of 24", len(data))
	}
	values := map[string]any{}
	signed := func(name string, at int, per float64) {
		if v := int16(binary.BigEndian.Uint16(data[at:])); v != -0x8000 {
			values[name] = float64(v) / per
		}
	}
	signed("temperature", 1, 200)
	if v := binary.BigEndian.Uint16(data[3:]); v != 0xffff {
		values["humidity"] = float64(v) / 400
	}
	if v := binary.BigEndian.Uint16(data[5:]); v != 0xffff {
		values["pressure"] = (float64(v) + 50000) / 100
	}
	signed("acceleration_x", 7, 1000)
	signed("acceleration_y", 9, 1000)
	signed("acceleration_z", 11, 1000)
	power := binary.BigEndian.Uint16(data[13:])
	if v := power >> 5; v != 0x7ff {
		values["voltage"] = (float64(v) + 1600) / 1000
	}
	if v := power & 0x1f; v != 0x1f {
		values["tx_power"] = float64(v)*2 - 40
	}
	if v := data[15]; v != 0xff {
		values["movements"] = float64(v)
	}
	r := reading{format: formatRuuvi, fields: map[string]any{"values": values}}
	if v := binary.BigEndian.Uint16(data[16:]); v != 0xffff {
		r.fields["counter"] = int(v)
		r.id, r.once = uint64(v), true
	}
	return r, nil
}

// decodeIBeacon decodes a beacon, which measures nothing.
func decodeIBeacon(data []byte) (reading, error) {
	if len(data) < 23 {
		return reading{}, fmt.Errorf("an iBeacon's data has %d bytes instead of 23", len(data))
	}
	u := data[2:18]
	return reading{format: formatIBeacon, fields: map[string]any{
		"values": map[string]any{},
		"uuid":   fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]),
		"major":  int(binary.BigEndian.Uint16(data[18:])),
		"minor":  int(binary.BigEndian.Uint16(data[20:])),
		"power":  int(int8(data[22])),
	}}, nil
}

// decodeATC decodes 13 bytes: the address, and values with the most significant byte first.
func decodeATC(data []byte) reading {
	return reading{format: formatATC, id: fingerprint(data), once: true, fields: map[string]any{
		"counter": int(data[12]),
		"values": map[string]any{
			"temperature": float64(int16(binary.BigEndian.Uint16(data[6:]))) / 10,
			"humidity":    float64(data[8]),
			"battery":     float64(data[9]),
			"voltage":     float64(binary.BigEndian.Uint16(data[10:])) / 1000,
		},
	}}
}

// decodePVVX decodes 15 bytes: the address, and values with the least significant byte first. The
// flags change without the counter, so that the whole payload tells repetitions.
func decodePVVX(data []byte) reading {
	return reading{format: formatPVVX, id: fingerprint(data), once: true, fields: map[string]any{
		"counter": int(data[13]),
		"values": map[string]any{
			"temperature": float64(int16(binary.LittleEndian.Uint16(data[6:]))) / 100,
			"humidity":    float64(binary.LittleEndian.Uint16(data[8:])) / 100,
			"voltage":     float64(binary.LittleEndian.Uint16(data[10:])) / 1000,
			"battery":     float64(data[12]),
			"flags":       float64(data[14]),
		},
	}}
}
