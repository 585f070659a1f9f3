package expr

import "testing"

// TestWhatNeverCompares checks that a comparison that fails, or is false, for every event is an
// error of the file.
func TestWhatNeverCompares(t *testing.T) {
	s := Scope{Open: true, Types: map[string]Type{"text": TypeText, "topic": TypeLevels, "qos": TypeNumber, "on": TypeBool, "time": TypeTime, "took": TypeDuration, "any": ""}}
	for src, want := range map[string]string{
		`event.text > 20`:                       `a text is never compared with a number; float(…) makes a number of a text`,
		`event.text == 20`:                      `a text never equals a number; float(…) makes a number of a text`,
		`20 <= event.topic`:                     `a number is never compared with a text; write the number without quotes; float(…) makes a number of a text`,
		`event.qos != "1"`:                      `a number never equals a text; write the number without quotes; float(…) makes a number of a text`,
		`event.on == "true"`:                    `true or false never equals a text`,
		`event.time > "2026-01-01"`:             `a time is never compared with a text; date(…) makes a time of a text`,
		`event.took > 5`:                        `a duration is never compared with a number; duration("10s") is one`,
		`last.text > -9007199254740993`:         `a text is never compared with a number; float(…) makes a number of a text`,
		`event.qos != last`:                     `last is the whole last event, not one of its fields; write last.qos`,
		`event.json.t != last`:                  `last is the whole last event, not one of its fields; write last.t`,
		`last > 3`:                              `last is the whole last event, not one of its fields; write a field of it: last.value`,
		`event == "x"`:                          `event is the whole event, not one of its fields; write a field of it: event.value`,
		`state.n == state`:                      `state is all of the plugin's state, not one of its fields; write state.n`,
		`event.text > "20"`:                     ``,
		`float(event.text) > 20`:                ``,
		`event.any > 20 or event.json.t == "x"`: ``,
		`event.text == nil and last != nil and event != last and last == event`: ``,
		`event.topic == "a/b" and event.qos < 2 and event.on == false`:          ``,
		`event.time > now - duration("1m") and event.took < duration("1s")`:     ``,
		`let event = 5; event > 3`:                `"event" is a variable already; choose another name`,
		`let x = event.text; x > 3`:               ``,
		`event.text in [1, 2] or any([1], # > 0)`: ``,
	} {
		_, err := Compile(src, s)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", src, got, want)
		}
	}
}

// TestSlash checks the detection of a / in a topic's level.
func TestSlash(t *testing.T) {
	s := Scope{Open: true, Types: map[string]Type{"topic": TypeLevels}}
	for text, want := range map[string]string{
		`x/${event.topic}`: "event.topic holds a /", `x/${"a/b"}/y`: `"a/b" holds a /`, `${event.topic[1]}/${event.n ?? "a/b"}`: `"a/b" holds a /`,
		`${event.on ? "a" : "b/c"}`: `"b/c" holds a /`, `${event.a + "/" + event.b}`: `"/" holds a /`,
		`x/${event.topic[1]}`: "", `x/${split(event.name, "/")[0]}`: "", `x/${replace(event.name, "/", "-")}`: "", `a/b/${event.n}`: "", `${event.topic[1] == "a/b" ? "x" : "y"}`: "",
	} {
		tmpl, err := ParseTemplate(text, s)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := tmpl.Slash(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
