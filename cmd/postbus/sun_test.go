package main

// This file tests which place and which time zone the expressions of a plugin file have, by the
// tests in such files.

import (
	"testing"

	"github.com/postbus/postbus/plugins"
)

func TestPlaceAndZoneOfAFile(t *testing.T) {
	berlin := []float64{52.52, 13.4}
	for name, c := range map[string]struct {
		location []float64
		sources  string
		want     string // at noon in Berlin: whether the sun is up, and the hour if the zone is known
	}{
		"postbus.yaml's":                         {berlin, "[{mqtt: {topics: [x]}}]", "true"},
		"a timer's":                              {nil, "[{timer: {every: 1s, zone: Europe/Berlin, at: [52.52, 13.40]}}]", "true 13"},
		"a timer's over postbus.yaml's":          {berlin, "[{timer: {sun: sunset, zone: Pacific/Auckland, at: [-36.84, 174.74]}}]", "false 23"},
		"the first timer's of several":           {berlin, "[{timer: {sun: sunset, zone: Pacific/Auckland, at: [-36.84, 174.74]}}, {timer: {sun: dawn, zone: UTC, at: [0, 0]}}]", "false 23"},
		"a timer's behind one without":           {nil, "[{mqtt: {topics: [x]}}, {timer: {every: 1s}}, {timer: {every: 1s, zone: Pacific/Auckland, at: [-36.84, 174.74]}}]", "false 23"},
		"postbus.yaml's, and a timer's zone":     {berlin, "[{timer: {sun: sunset, zone: Asia/Kolkata}}]", "true 16"},
		"a place of one and the zone of another": {nil, "[{timer: {every: 1s, at: [52.52, 13.40]}}, {timer: {cron: '@daily', zone: Asia/Kolkata}}]", "true 16"},
	} {
		payload := "${sun.up} ${time.hour}"
		if c.want == "true" {
			payload = "${sun.up}"
		}
		file := "sources: " + c.sources + "\npublish: [{topic: x, payload: \"" + payload + "\"}]\n" +
			"tests: [{event: {}, now: \"2026-06-21T11:08:00Z\", expect: [{topic: x, payload: " + c.want + "}]}]\n"
		k := &plugins.Checker{Catalog: catalog(), Dir: "/plugins.d", Host: "pi", Location: c.location}
		if _, errs := k.Check("x", "x.yaml", []byte(file)); len(errs) > 0 {
			t.Errorf("%s: %s", name, errs.Render())
		}
	}
}

// The steps of a test have times of their own, from noon on a Monday in January.
func TestStepsHaveATimeOfTheDay(t *testing.T) {
	const file = `
source: {mqtt: {topics: [home/door]}}
publish:
  - when: event.text == "open" && !sun.up && time.weekday == "mon"
    for: 10m
    topic: home/alarm
    payload: "${sun.elevation < -6 ? 'dark' : 'twilight'}"
tests:
  - steps:
      - {at: 0s, event: {name: home/door, text: open}}
      - {at: 2h, expect: []}
      - {at: 6h, event: {name: home/door, text: open}}
      - {at: 6h10m, expect: [{topic: home/alarm, payload: dark}]}
`
	k := &plugins.Checker{Catalog: catalog(), Dir: "/plugins.d", Host: "pi", Location: []float64{52.52, 13.4}}
	if _, errs := k.Check("x", "x.yaml", []byte(file)); len(errs) > 0 {
		t.Error(errs.Render())
	}
}
