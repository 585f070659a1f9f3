package bus

// This file is how the simulated bus opens, crashes and is restarted.

import (
	"context"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/bustest"
)

func (s *sim) open() {
	s.life++
	s.faults, s.opened = false, time.Now()
	o := s.options
	o.FS = &slowFS{Disk: s.disk, seed: s.seed}
	if s.life > 1 && !s.calm && s.chance(25) {
		n := 1 + s.rnd.IntN(6)
		s.faults = true
		s.disk.FailIn(n, s.chance(50))
		b, err := Open(context.Background(), o)
		if err == nil {
			s.log("open in spite of a failure at operation %d", n)
			s.healDisk()
			s.bus = b
			if !s.over {
				s.model.reopened()
			}
			return
		}
		s.log("open refused: %v", err)
		if s.chance(30) && o.Durability == 0 { // the machine goes down again
			s.disk = s.disk.PowerCut()
			o.FS = &slowFS{Disk: s.disk, seed: s.seed}
		}
		s.healDisk()
	}
	b, err := Open(context.Background(), o)
	if err != nil {
		s.fail("a bus opens on a healthy disk, whatever happened before: %v", err)
		d := bustest.NewDisk(1)
		b, _ = Open(context.Background(), Options{FS: d})
	}
	s.bus = b
	s.opened = time.Now()
	s.log("open, life %d: sequences %d to %d", s.life, b.journal.First(), b.journal.Durable())
	if s.life > 1 && !s.over {
		s.model.reopened()
	}
}

// crash ends the process or the machine, now.
func (s *sim) crash() {
	if s.life >= s.lives {
		return
	}
	old := s.bus
	synctest.Wait() // nothing is ready to run, but a sync may be under way
	s.model.scan(old)
	what := "kill"
	if s.chance(70) {
		what = "power cut"
		s.disk = s.disk.PowerCut()
	} else {
		s.disk = s.disk.Kill()
	}
	s.log("%s", what)
	for _, c := range s.clients {
		c.lostConnection()
	}
	s.ending = true
	s.end(old)
	s.ending = false
	if what == "power cut" && s.options.Durability > 0 {
		s.over, s.later = true, nil // it may have taken anything; but the bus opens
		s.open()
		return
	}
	switch {
	case !s.calm && s.chance(15):
		s.model.corrupt()
	case !s.calm && s.chance(25):
		s.vandalize()
	}
	later := s.later
	s.later = nil
	s.open()
	s.checkFiles()
	if s.over {
		return
	}
	for _, check := range later {
		check()
	}
	s.checkRetained()
}

// restart closes the bus as an upgrade does.
func (s *sim) restart() {
	s.log("restart")
	for _, c := range s.clients {
		if s.chance(50) && c.conn != nil && !c.busy {
			c.disconnect(false, c.expiry)
		}
		c.lostConnection()
	}
	s.end(s.bus)
	s.healDisk()
	if !s.calm && s.chance(30) {
		s.vandalize()
	}
	s.open()
	s.checkFiles()
	if !s.over {
		s.checkRetained()
	}
}

// end closes a bus and collects what its clients received last.
func (s *sim) end(old *Bus) {
	closed := make(chan error, 1)
	go func() { closed <- old.Close() }()
	<-closed
	synctest.Wait()
	s.poll()
	s.model.scan(old)
	s.collect(true)
	for _, c := range s.clients {
		c.check()
		c.closed()
	}
	for _, w := range s.model.wills {
		w.ended()
	}
}
