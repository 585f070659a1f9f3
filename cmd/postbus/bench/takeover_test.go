package bench

// This file tests that Takeover finds a broker's faults when clients return, and nothing without a
// fault.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// returning is a small run of Takeover with many connections.
func returning(url, mode string, qos int) TakeoverOptions {
	o := TakeoverOptions{Options: loaded(url), Mode: mode, Others: 3, IntervalMin: 2 * time.Millisecond, IntervalMax: 20 * time.Millisecond, Seed: 7}
	o.QoS, o.Rate, o.Count, o.Idle = qos, 4000, 1000, 2*time.Second
	return o
}

func eachMode(f func(mode string, qos int)) {
	f(ModeTakeover, 1)
	f(ModeTakeover, 2)
	f(ModeReconnect, 1)
	f(ModeReconnect, 2)
	f(ModeGroup, 1)
}

func TestTakeoverFindsFaults(t *testing.T) {
	eachMode(func(mode string, qos int) {
		for _, c := range faultCases {
			t.Run(fmt.Sprintf("%s/qos %d/%s", mode, qos, c.fault), func(t *testing.T) {
				t.Parallel()
				_, url := newFake(t, &fake{fault: every(c.fault)})
				o := returning(url, mode, qos)
				if c.fault == "" {
					o.Rounds = 3
				}
				r, err := Takeover(t.Context(), o)
				// Two members of a group each get one half: of a repeated event each gets one copy,
				// and a swapped one is late for neither.
				want := c.missed > 0 || c.repeated > 0 && mode != ModeGroup
				if want != errors.Is(err, ErrLost) || !want && err != nil || want != (len(r.Bad) == 1) {
					t.Errorf("error %v; ErrLost expected: %v; %+v", err, want, r)
				}
				if c.fault == "drop" && r.Missed != 10 || c.fault == "swap" && mode != ModeGroup && r.Disordered == 0 ||
					c.fault == "repeat" && mode != ModeGroup && r.Wrong == 0 {
					t.Errorf("unnoticed: %+v", r)
				}
				if r.Acknowledged != 1000*uint64(r.Rounds) || r.Refused+r.LeftOpen+r.SessionsLost > 0 || r.Takeovers < 4 || r.ConnectTime.Count != uint64(r.Takeovers) {
					t.Errorf("%+v", r)
				}
			})
		}
	})
}

func TestTakeoverJudgesWhatReturns(t *testing.T) {
	for _, c := range []struct {
		name  string
		mode  string
		qos   int
		f     *fake
		wrong func(TakeoverResult) bool // nil: no fault
	}{
		{"loses what came meanwhile", ModeReconnect, 1, &fake{skips: true}, func(r TakeoverResult) bool { return r.Missed > 0 }},
		{"loses what came meanwhile, QoS 2", ModeReconnect, 2, &fake{skips: true}, func(r TakeoverResult) bool { return r.Missed > 0 }},
		{"loses what came for a member meanwhile", ModeGroup, 1, &fake{skips: true}, func(r TakeoverResult) bool { return r.Missed > 0 }},
		{"redelivers", ModeTakeover, 1, &fake{rewinds: true}, nil},
		{"redelivers in a group", ModeGroup, 1, &fake{rewinds: true, noDup: true}, nil},
		{"redelivers without DUP", ModeTakeover, 1, &fake{rewinds: true, noDup: true}, func(r TakeoverResult) bool { return r.Wrong > 0 }},
		{"sends again at QoS 2", ModeReconnect, 2, &fake{rewinds: true}, func(r TakeoverResult) bool { return r.Wrong > 0 }},
		{"forgets sessions", ModeTakeover, 1, &fake{forget: true}, func(r TakeoverResult) bool { return r.SessionsLost > 0 && r.Bad[0].SessionsLost > 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, url := newFake(t, c.f)
			r, err := Takeover(t.Context(), returning(url, c.mode, c.qos))
			if c.wrong == nil && (err != nil || r.Repeated == 0) || c.wrong != nil && (!errors.Is(err, ErrLost) || !c.wrong(r)) {
				t.Errorf("%v: %+v", err, r)
			}
		})
	}
}

func TestTakeoverNamesTheFlag(t *testing.T) {
	for want, o := range map[string]TakeoverOptions{
		`--mode "x"`:          {Mode: "x"},
		"needs --qos 1":       {Mode: ModeGroup, Options: Options{QoS: 2}},
		"--qos 3":             {Options: Options{QoS: 3}},
		"--sessions":          {Sessions: -1},
		"--others 5000":       {Others: 5000},
		"--interval: write a": {IntervalMin: 2, IntervalMax: 1},
	} {
		if _, err := Takeover(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// A gap is found in the properties of MQTT 5, among any others.
func TestGapIsSeen(t *testing.T) {
	user := func(k, v string) []byte { return appendString(appendString([]byte{0x26}, k), v) }
	for _, c := range []struct {
		name       string
		properties []byte
		gap, bad   bool
	}{
		{"none", nil, false, false},
		{"gap", user("gap", "3"), true, false},
		{"behind all others", bytes.Join([][]byte{{1, 1}, {2, 0, 0, 0, 9}, {3, 0, 1, 'x'}, {8, 0, 1, 'y'}, {9, 0, 1, 0}, {0x0B, 0x81, 1}, {0x23, 0, 1}, user("gaps", "1"), user("gap", "3")}, nil), true, false},
		{"another", user("gaps", "1"), false, false},
		{"cut short", user("gap", "3")[:6], false, true},
		{"unknown", []byte{0x7F}, false, true},
		{"an endless number", []byte{0x0B, 0x80}, false, true},
	} {
		b := append(appendLength(nil, len(c.properties)), c.properties...)
		gap, payload, err := readProperties(append(b, "payload"...))
		if (err != nil) != c.bad || gap != c.gap || !c.bad && string(payload) != "payload" {
			t.Errorf("%s: %v %q %v", c.name, gap, payload, err)
		}
	}
	if _, _, err := readProperties([]byte{200}); !errors.Is(err, errMalformed) {
		t.Error(err)
	}
	near, far := net.Pipe()
	defer far.Close()
	c := newConn(context.Background(), near)
	defer c.close()
	c.v5 = true
	body := append(appendString(nil, "t"), byte(len(user("gap", "3"))))
	body = append(append(body, user("gap", "3")...), make([]byte, headSize)...)
	c.w = copy(c.buf, append(appendLength([]byte{typePublish}, len(body)), body...))
	s := newSubscriber(newCheck(0, 1))
	if err := s.take(c); err != nil || s.check.counts != (Counts{Received: 1, Gaps: 1}) {
		t.Errorf("%v: %+v", err, s.check.counts)
	}
	if err := lost("takeover", "x", s.check.counts, 0); err == nil || !strings.Contains(err.Error(), "1 gaps reported") {
		t.Error(err)
	}
}

func TestMosquittoTakeovers(t *testing.T) {
	t.Parallel()
	url, _ := startMosquitto(t)
	eachMode(func(mode string, qos int) {
		o := returning(url, mode, qos)
		o.V5 = true
		if r, err := Takeover(t.Context(), o); err != nil || r.Disordered+r.Wrong > 0 {
			t.Errorf("%s, QoS %d: %+v %v", mode, qos, r, err)
		}
	})
}
