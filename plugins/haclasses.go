package plugins

// This file is what Home Assistant knows: its components with their keys, its device classes, and the
// units and state classes that belong to each. Sources, as of November 2026:
//
//   - https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery, and the page of each component
//     (https://www.home-assistant.io/integrations/sensor.mqtt/ and so on)
//   - homeassistant/components/sensor/const.py (DEVICE_CLASS_UNITS, DEVICE_CLASS_STATE_CLASSES),
//     homeassistant/const.py (UnitOf…) and homeassistant/components/mqtt/*.py (the schemas) of
//     https://github.com/home-assistant/core
//
// Home Assistant refuses an entity with a class that it does not know. A version that knows more gets
// it by "extra".

import (
	"maps"
	"slices"
	"strings"
)

// haComponent is a component of Home Assistant.
type haComponent struct {
	keys     string   // of the file, beside those that all have
	needs    []string // those that are required
	classes  []string // device classes; nil: it has none
	commands commands
	stateful bool // it has a state
}

// commands is whether a component is commanded.
type commands int

const (
	uncommanded commands = iota
	mayCommand
	mustCommand
)

// haCommon are the keys that every component has.
const haCommon = " component name icon entity_category device area extra "

var haComponents = map[string]haComponent{
	"sensor":         {keys: "device_class state_class unit value options expire_after", classes: sensorClassNames(), stateful: true},
	"binary_sensor":  {keys: "device_class value payload_on payload_off expire_after", classes: binaryClassNames, stateful: true},
	"switch":         {keys: "device_class value payload_on payload_off command_topic", classes: []string{"outlet", "switch"}, commands: mustCommand, stateful: true},
	"light":          {keys: "value payload_on payload_off command_topic", commands: mustCommand, stateful: true},
	"button":         {keys: "device_class payload_press command_topic", classes: []string{"identify", "restart", "update"}, commands: mustCommand},
	"number":         {keys: "device_class unit value min max step mode command_topic", classes: numberClassNames(), commands: mustCommand, stateful: true},
	"text":           {keys: "value min max mode command_topic", commands: mustCommand, stateful: true},
	"select":         {keys: "value options command_topic", needs: []string{"options"}, commands: mustCommand, stateful: true},
	"event":          {keys: "device_class value event_types", needs: []string{"event_types"}, classes: []string{"button", "doorbell", "motion"}, stateful: true},
	"update":         {keys: "device_class value payload_install command_topic", classes: []string{"firmware"}, commands: mayCommand, stateful: true},
	"climate":        {keys: "modes min max step command_topic", commands: mustCommand, stateful: true},
	"cover":          {keys: "device_class value command_topic", classes: []string{"awning", "blind", "curtain", "damper", "door", "garage", "gate", "shade", "shutter", "window"}, commands: mayCommand, stateful: true},
	"lock":           {keys: "value command_topic", commands: mustCommand, stateful: true},
	"fan":            {keys: "value payload_on payload_off command_topic", commands: mustCommand, stateful: true},
	"siren":          {keys: "value payload_on payload_off command_topic", commands: mustCommand, stateful: true},
	"device_tracker": {keys: "value", stateful: true},
}

// has reports whether the component has a key of the file.
func (c *haComponent) has(key string) bool {
	return strings.Contains(haCommon+c.keys+" ", " "+key+" ")
}

// binaryClassNames are the device classes of binary sensors.
var binaryClassNames = strings.Fields("battery battery_charging carbon_monoxide cold connectivity door garage_door gas heat light lock moisture motion moving occupancy " +
	"opening plug power presence problem running safety smoke sound tamper update vibration window")

// haClass is a device class of sensors.
type haClass struct {
	units  string // separated by |; "" and a leading | allow none
	states string // allowed state classes
	word   bool   // its state is no number
}

const (
	atTime   = "measurement"
	inTotal  = "total total_increasing"
	anyState = atTime + " " + inTotal

	inVolume   = "L|mL|m³|ft³|CCF|MCF|gal|fl. oz."
	inEnergy   = "kWh|Wh|mWh|MWh|GWh|TWh|J|kJ|MJ|GJ|cal|kcal|Mcal|Gcal"
	inPressure = "hPa|Pa|kPa|mPa|mbar|cbar|bar|mmHg|inHg|inH₂O|psi"
	inSpeed    = "m/s|km/h|mph|kn|ft/s|in/s|mm/s|m/min|Beaufort"
	inFlux     = "mm/h|mm/d|in/h|in/d"
	inMass     = "µg/m³"
)

// sensorClasses are the device classes of sensors. The µ of a unit may be written as the Greek letter,
// too, which newer versions of Home Assistant prefer.
var sensorClasses = map[string]haClass{
	"absolute_humidity":                {"g/m³|mg/m³", atTime, false},
	"apparent_power":                   {"VA|mVA|kVA", atTime, false},
	"aqi":                              {"", atTime, false},
	"area":                             {"m²|cm²|km²|mm²|in²|ft²|yd²|mi²|ac|ha", anyState, false},
	"atmospheric_pressure":             {inPressure, atTime, false},
	"battery":                          {"%", atTime, false},
	"blood_glucose_concentration":      {"mg/dL|mmol/L", atTime, false},
	"carbon_dioxide":                   {"ppm", atTime, false},
	"carbon_monoxide":                  {"ppm|ppb|mg/m³|µg/m³", atTime, false},
	"conductivity":                     {"µS/cm|mS/cm|S/cm", atTime, false},
	"current":                          {"A|mA", atTime, false},
	"data_rate":                        {"bit/s|kbit/s|Mbit/s|Gbit/s|B/s|kB/s|MB/s|GB/s|KiB/s|MiB/s|GiB/s", atTime, false},
	"data_size":                        {"bit|kbit|Mbit|Gbit|B|kB|MB|GB|TB|PB|EB|ZB|YB|KiB|MiB|GiB|TiB|PiB|EiB|ZiB|YiB", anyState, false},
	"date":                             {"", "", true},
	"distance":                         {"m|mm|cm|km|in|ft|yd|mi|nmi", anyState, false},
	"duration":                         {"s|ms|µs|min|h|d", anyState, false},
	"energy":                           {inEnergy, inTotal, false},
	"energy_distance":                  {"kWh/100km|Wh/km|mi/kWh|km/kWh", atTime, false},
	"energy_storage":                   {inEnergy, atTime, false},
	"enum":                             {"", "", true},
	"frequency":                        {"Hz|kHz|MHz|GHz", atTime, false},
	"gas":                              {"m³|L|ft³|CCF|MCF", inTotal, false},
	"humidity":                         {"%", atTime, false},
	"illuminance":                      {"lx", atTime, false},
	"irradiance":                       {"W/m²|BTU/(h⋅ft²)", atTime, false},
	"moisture":                         {"%", atTime, false},
	"monetary":                         {"*", "total", false}, // a currency of ISO 4217
	"nitrogen_dioxide":                 {inMass + "|ppb|ppm", atTime, false},
	"nitrogen_monoxide":                {inMass + "|ppb", atTime, false},
	"nitrous_oxide":                    {inMass, atTime, false},
	"ozone":                            {inMass + "|ppb|ppm", atTime, false},
	"ph":                               {"", atTime, false},
	"pm1":                              {inMass, atTime, false},
	"pm10":                             {inMass, atTime, false},
	"pm25":                             {inMass, atTime, false},
	"pm4":                              {inMass, atTime, false},
	"power":                            {"W|mW|kW|MW|GW|TW|BTU/h", atTime, false},
	"power_factor":                     {"|%", atTime, false},
	"precipitation":                    {"mm|cm|in", anyState, false},
	"precipitation_intensity":          {inFlux, atTime, false},
	"pressure":                         {inPressure, atTime, false},
	"reactive_energy":                  {"varh|kvarh", inTotal, false},
	"reactive_power":                   {"var|mvar|kvar", atTime, false},
	"signal_strength":                  {"dBm|dB", atTime, false},
	"sound_pressure":                   {"dB|dBA", atTime, false},
	"speed":                            {inSpeed + "|" + inFlux, atTime, false},
	"sulphur_dioxide":                  {inMass + "|ppb", atTime, false},
	"temperature":                      {"°C|°F|K", atTime, false},
	"temperature_delta":                {"°C|°F|K", atTime, false},
	"timestamp":                        {"", "", true},
	"volatile_organic_compounds":       {inMass + "|mg/m³", atTime, false},
	"volatile_organic_compounds_parts": {"ppb|ppm", atTime, false},
	"voltage":                          {"V|mV|µV|kV|MV", atTime, false},
	"volume":                           {inVolume, inTotal, false},
	"volume_flow_rate":                 {"m³/h|m³/min|m³/s|L/h|L/min|L/s|mL/s|ft³/min|gal/h|gal/min|gal/d", atTime, false},
	"volume_storage":                   {inVolume, atTime, false},
	"water":                            {"L|m³|ft³|CCF|MCF|gal", inTotal, false},
	"weight":                           {"kg|g|mg|µg|oz|lb|st", anyState, false},
	"wind_direction":                   {"°", "measurement_angle", false},
	"wind_speed":                       {inSpeed, atTime, false},
}

// fits reports whether a unit belongs to the class; "" is none.
func (c haClass) fits(unit string) bool {
	if c.units == "*" {
		return unit != ""
	}
	unit = strings.ReplaceAll(unit, "\u03bc", "µ")
	for u := range strings.SplitSeq(c.units, "|") {
		if u == unit {
			return true
		}
	}
	return false
}

func sensorClassNames() []string { return slices.Sorted(maps.Keys(sensorClasses)) }

// numberClassNames are the device classes of numbers: those of sensors whose state is a number.
func numberClassNames() (out []string) {
	for _, name := range slices.Sorted(maps.Keys(sensorClasses)) {
		if !sensorClasses[name].word {
			out = append(out, name)
		}
	}
	return out
}

// binaryClasses are the device classes that binary sensors have and sensors have not.
var binaryClasses = func() map[string]bool {
	only := map[string]bool{}
	for _, name := range binaryClassNames {
		if _, ok := sensorClasses[name]; !ok {
			only[name] = true
		}
	}
	return only
}()
