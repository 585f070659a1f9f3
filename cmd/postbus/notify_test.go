package main

import (
	"context"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdogInterval(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0}, {"60000000", "", time.Minute}, {"60000000", strconv.Itoa(os.Getpid()), time.Minute},
		{"60000000", "1", 0}, {"x", "", 0}, {"-1", "", 0},
	} {
		env := map[string]string{"WATCHDOG_USEC": c.usec, "WATCHDOG_PID": c.pid}
		if got := watchdogInterval(func(name string) string { return env[name] }); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestReportAlive: a program that is stuck is silent.
func TestReportAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		stuck, told := make(chan struct{}), 0
		ended := make(chan struct{})
		go func() {
			reportAlive(ctx, time.Minute, func() {
				if told == 3 {
					<-stuck
				}
			}, func() { told++ })
			close(ended)
		}()
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if told != 3 {
			t.Errorf("told %d times in a minute, want 3", told)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if told != 3 {
			t.Errorf("told %d times, although it is stuck", told)
		}
		close(stuck)
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if told < 4 {
			t.Error("it does not go on")
		}
		cancel()
		<-ended
		reportAlive(context.Background(), 0, nil, nil)
	})
}
