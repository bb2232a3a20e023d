package notify

import (
	"fmt"
	"strings"
	"time"
)

// Window is a part of the day, on the clock of the people who are told. It may pass midnight.
type Window struct{ from, to int } // minutes of the day; equal: never

// ParseWindow reads HH:MM-HH:MM; an empty text is a window that never is.
func ParseWindow(text string) (Window, error) {
	if text == "" {
		return Window{}, nil
	}
	from, to, ok := strings.Cut(text, "-")
	a, err1 := minuteOfDay(from)
	b, err2 := minuteOfDay(to)
	if !ok || err1 != nil || err2 != nil || a == b {
		return Window{}, fmt.Errorf("%q is not a part of the day such as 22:00-07:00", text)
	}
	return Window{a, b}, nil
}

func minuteOfDay(text string) (int, error) {
	t, err := time.Parse("15:04", text)
	return t.Hour()*60 + t.Minute(), err
}

// Until returns the end of the window that t stands in, or t itself outside of it.
func (w Window) Until(t time.Time) time.Time {
	at := t.Hour()*60 + t.Minute()
	inside := w.from <= at && at < w.to
	if w.from > w.to {
		inside = at >= w.from || at < w.to
	}
	if !inside {
		return t
	}
	end := time.Date(t.Year(), t.Month(), t.Day(), w.to/60, w.to%60, 0, 0, t.Location())
	if !end.After(t) {
		end = time.Date(t.Year(), t.Month(), t.Day()+1, w.to/60, w.to%60, 0, 0, t.Location())
	}
	return end
}

// Weekly is a moment of the week.
type Weekly struct {
	Day    time.Weekday
	minute int
	never  bool
}

// DefaultDigest is when the digest comes.
const DefaultDigest = "monday 09:00"

// ParseWeekly reads "monday 09:00", or "off".
func ParseWeekly(text string) (Weekly, error) {
	if text == "off" {
		return Weekly{never: true}, nil
	}
	name, clock, _ := strings.Cut(text, " ")
	minute, err := minuteOfDay(clock)
	for day := time.Sunday; day <= time.Saturday && err == nil; day++ {
		if strings.ToLower(day.String()) == name {
			return Weekly{Day: day, minute: minute}, nil
		}
	}
	return Weekly{}, fmt.Errorf("%q is neither a moment of the week such as %s nor off", text, DefaultDigest)
}

// Last returns the newest such moment that is not after t; zero if there is none.
func (w Weekly) Last(t time.Time) time.Time {
	if w.never {
		return time.Time{}
	}
	back := (int(t.Weekday()) - int(w.Day) + 7) % 7
	at := time.Date(t.Year(), t.Month(), t.Day()-back, w.minute/60, w.minute%60, 0, 0, t.Location())
	if at.After(t) {
		at = at.AddDate(0, 0, -7)
	}
	return at
}
