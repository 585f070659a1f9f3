package timer

import (
	"strings"
	"testing"
	"time"

	"github.com/adhocore/gronx"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := location(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestCronIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                  `"" has 0 fields, not 5`,
		"* * * *":           `"* * * *" has 4 fields, not 5`,
		"* * * * * *":       `"* * * * * *" has 6 fields, not 5`,
		"60 * * * *":        `minute "60": "60" is not a number from 0 to 59`,
		"5,99 * * * *":      `minute "5,99": "99" is not a number from 0 to 59`,
		"0 24 * * *":        `hour "24": "24" is not a number from 0 to 23`,
		"0 0 0 * *":         `day of the month "0": "0" is not a number from 1 to 31`,
		"0 0 * 13 *":        `month "13": "13" is not a number from 1 to 12`,
		"0 0 * * 8":         `day of the week "8": "8" is not a number from 0 to 7`,
		"0 0 * * mon-foo":   `day of the week "mon-foo": "foo" is not a number from 0 to 7`,
		"mon * * * *":       `minute "mon": "mon" is not a number from 0 to 59`,
		"*/0 * * * *":       `minute "*/0": the step "0" is not a number from 1 to 59`,
		"*/ * * * *":        `minute "*/": the step "" is not a number from 1 to 59`,
		"*/60 * * * *":      `minute "*/60": the step "60" is not a number from 1 to 59`,
		"9-5 * * * *":       `minute "9-5": the range 9-5 ends before it begins`,
		"0 0 * * fri-sun":   `day of the week "fri-sun": the range fri-sun ends before it begins; Sunday at the end of a range is 7`,
		"1,,2 * * * *":      `minute "1,,2": "" is not a number from 0 to 59`,
		"+5 * * * *":        `minute "+5": "+5" is not a number from 0 to 59`,
		"-5 * * * *":        `minute "-5": "" is not a number from 0 to 59`,
		"1-2-3 * * * *":     `minute "1-2-3": "2-3" is not a number from 0 to 59`,
		"0 0 * * 5#6":       `day of the week "5#6": "6" is not a number from 1 to 5`,
		"0 0 99w * *":       `day of the month "99w": "99" is not a number from 1 to 31`,
		"0 0 ? * *":         `day of the month "?": "?" is not a number from 1 to 31`,
		"0 0 30 2 *":        `"0 0 30 2 *" never occurs: there is no such date`,
		"0 0 31 4,6,9,11 *": `"0 0 31 4,6,9,11 *" never occurs: there is no such date`,
		"@reboot":           "@reboot is not a time",
		"@every 5m":         "@every is not a time of the clock",
		"@fortnightly":      `unknown name "@fortnightly"; there are @hourly, @daily, @weekly, @monthly and @yearly`,
		"TZ=0 * * * * *":    `"TZ=0 * * * * *" has 6 fields, not 5`,
	} {
		_, err := parseCron(text, time.UTC)
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestCronNext(t *testing.T) {
	for _, c := range []struct{ name, expr, zone, after, want string }{
		{"every minute", "* * * * *", "UTC", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"},
		{"not the same again", "0 7 * * *", "UTC", "2026-01-01T07:00:00Z", "2026-01-02T07:00:00Z"},
		{"a moment before", "0 7 * * *", "UTC", "2026-01-01T06:59:59.999Z", "2026-01-01T07:00:00Z"},
		{"work days", "0 7 * * mon-FRI", "UTC", "2026-01-02T07:00:00Z", "2026-01-05T07:00:00Z"},
		{"Sunday is 7", "0 0 * * 6-7", "UTC", "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"},
		{"from a minute on", "5/20 * * * *", "UTC", "2026-01-01T00:05:00Z", "2026-01-01T00:25:00Z"},
		{"day of the month or of the week", "0 0 13 * fri", "UTC", "2026-01-09T00:00:00Z", "2026-01-13T00:00:00Z"},
		{"last day", "0 0 L * *", "UTC", "2026-02-01T00:00:00Z", "2026-02-28T00:00:00Z"},
		{"last Friday", "0 0 * * fril", "UTC", "2026-01-01T00:00:00Z", "2026-01-30T00:00:00Z"},
		{"second Friday", "0 0 * * 5#2", "UTC", "2026-01-01T00:00:00Z", "2026-01-09T00:00:00Z"},
		{"leap day", "0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"leap day after 2096", "0 0 29 2 *", "Europe/Berlin", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00+01:00"},
		{"the last day of a leap year", "@daily", "Europe/Berlin", "2096-12-31T12:00:00Z", "2097-01-01T00:00:00+01:00"},
		{"in a zone", "@daily", "Asia/Kolkata", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00+05:30"},
		{"skipped: right after the change", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T03:00:00+02:00"},
		{"and back to normal", "30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-30T02:30:00+02:00"},
		{"skipped: several come as one", "*/10 2,3 * * *", "Europe/Berlin", "2026-03-29T00:59:00Z", "2026-03-29T03:00:00+02:00"},
		{"then on", "*/10 2,3 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29T03:10:00+02:00"},
		{"twice: the first", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T02:30:00+02:00"},
		{"twice: not the second", "30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T02:30:00+01:00"},
		{"twice: started in the second", "30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", "2026-10-26T02:30:00+01:00"},
		{"the hour after the repeated one", "0 3 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T03:00:00+01:00"},
		{"each minute of both", "*/30 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00+01:00"},
		{"each minute around the skipped", "*/30 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T03:00:00+02:00"},
		{"midnight that is skipped", "@daily", "America/Santiago", "2026-09-05T12:00:00Z", "2026-09-06T01:00:00-03:00"},
		{"half an hour of daylight saving", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", "2026-10-04T02:30:00+11:00"},
		{"a day that was skipped", "0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", "2011-12-31T00:00:00+14:00"},
	} {
		cr, err := parseCron(c.expr, zone(t, c.zone))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		after, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := cr.next(after).Format(time.RFC3339); got != c.want {
			t.Errorf("%s: %s after %s: got %s, want %s", c.name, c.expr, c.after, got, c.want)
		}
	}
}

// An expression with * as its hour ticks at every matching minute of the zone's clock: compare with
// a walk over all minutes.
func TestCronFollowsTheClock(t *testing.T) {
	for z, changes := range map[string][]string{
		"Europe/Berlin":       {"2026-03-28", "2026-10-24"},
		"Australia/Lord_Howe": {"2026-04-04", "2026-10-03"}, // by half an hour
	} {
		loc := zone(t, z)
		for _, change := range changes {
			begin, _ := time.ParseInLocation(time.DateOnly, change, loc)
			for _, expr := range []string{"*/15 * * * *", "7 */2 * * *", "0 * 4-25 * *"} {
				c, err := parseCron(expr, loc)
				if err != nil {
					t.Fatal(err)
				}
				g := gronx.New()
				next := c.next(begin)
				for m := begin.Add(time.Minute); m.Before(begin.Add(30 * time.Hour)); m = m.Add(time.Minute) {
					due, err := g.IsDue(strings.ToUpper(c.expr), m)
					if err != nil {
						t.Fatal(err)
					}
					if due != next.Equal(m) {
						t.Fatalf("%s in %s: %v is due: %v, next is %v", expr, z, m, due, next)
					}
					if due {
						next = c.next(m)
					}
				}
			}
		}
	}
}

func FuzzCron(f *testing.F) {
	for _, s := range []string{"*/5 * * * *", "0 7 l * 1-5", "5 4 15w jan-mar sun#2", "@daily", "0 0 29 2 1"} {
		f.Add(s)
	}
	after := time.Date(2026, 3, 28, 13, 14, 15, 16, time.UTC)
	loc := zone(f, "Europe/Berlin")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCron(text, loc)
		if err != nil {
			return
		}
		next := c.next(after)
		if next.IsZero() || !next.After(after) || next.Second() != 0 || next.Sub(after) > 9*366*24*time.Hour {
			t.Fatalf("%q: next is %v", text, next)
		}
	})
}
