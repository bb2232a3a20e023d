package sim

import (
	"time"
)

// Loop runs events in the order of (time, sequence) on the caller's goroutine.
type Loop struct {
	now     time.Time
	seq     uint64
	events  []*event // a heap
	count   int
	ended   bool
	skipped time.Duration
	// After is called after every event with its name, and whether it was the
	// step of an actor; it may stop the loop.
	After func(name string, step bool) error
}

// NewLoop returns a loop that stands at the beginning.
func NewLoop() *Loop { return &Loop{now: Epoch} }

// event is something that happens at a time, counted from Epoch.
type event struct {
	at   time.Duration
	seq  uint64
	pos  int // in the heap; -1: not in it
	name string
	step bool // of an actor
	do   func()
}

func (e *event) before(o *event) bool {
	if e.at != o.at {
		return e.at < o.at
	}
	return e.seq < o.seq
}

// Now returns the virtual time.
func (l *Loop) Now() time.Time { return l.now }

// Since returns how long the simulation has lasted.
func (l *Loop) Since() time.Duration { return l.now.Sub(Epoch) }

// Events returns how many events have run.
func (l *Loop) Events() int { return l.count }

// Skipped returns how much of the time has been passed over by Skip.
func (l *Loop) Skipped() time.Duration { return l.skipped }

// At schedules do; a time in the past means now, after what is due already.
// Events without a name are bookkeeping and are not checked.
func (l *Loop) At(at time.Time, name string, do func()) {
	l.put(&event{pos: -1, name: name, do: do}, at)
}

// In schedules do after d.
func (l *Loop) In(d time.Duration, name string, do func()) { l.At(l.now.Add(d), name, do) }

// put schedules an event, or moves it if it waits already.
func (l *Loop) put(e *event, at time.Time) {
	if at.Before(l.now) {
		at = l.now
	}
	l.seq++
	e.at, e.seq = at.Sub(Epoch), l.seq
	if e.pos < 0 {
		e.pos = len(l.events)
		l.events = append(l.events, e)
	}
	l.up(e.pos)
	l.down(e.pos)
}

func (l *Loop) up(i int) {
	e := l.events[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !e.before(l.events[parent]) {
			break
		}
		l.set(i, l.events[parent])
		i = parent
	}
	l.set(i, e)
}

func (l *Loop) down(i int) {
	e := l.events[i]
	for {
		child := 2*i + 1
		if child >= len(l.events) {
			break
		}
		if child+1 < len(l.events) && l.events[child+1].before(l.events[child]) {
			child++
		}
		if !l.events[child].before(e) {
			break
		}
		l.set(i, l.events[child])
		i = child
	}
	l.set(i, e)
}

func (l *Loop) set(i int, e *event) { l.events[i], e.pos = e, i }

// drop takes an event out of the heap.
func (l *Loop) drop(e *event) {
	i, last := e.pos, len(l.events)-1
	if i < 0 {
		return
	}
	moved := l.events[last]
	l.events[last] = nil
	l.events = l.events[:last]
	e.pos = -1
	if i < last {
		l.set(i, moved)
		l.up(i)
		l.down(moved.pos)
	}
}

// Skip lets time pass in which nothing happens: whatever is scheduled comes
// that much later. The caller answers for it that nothing would have happened.
func (l *Loop) Skip(d time.Duration) {
	l.now = l.now.Add(d)
	l.skipped += d
	for _, e := range l.events { // the same for all: their order stays
		e.at += d
	}
}

// Stop ends Run after the event that runs now.
func (l *Loop) Stop() { l.ended = true }

// Run runs events until the given time, until After returns an error or an
// event stops it.
func (l *Loop) Run(until time.Time) error {
	end := until.Sub(Epoch)
	for len(l.events) > 0 && l.events[0].at <= end && !l.ended {
		e := l.events[0]
		l.drop(e)
		l.now = Epoch.Add(e.at)
		l.count++
		e.do()
		if l.After != nil && e.name != "" {
			if err := l.After(e.name, e.step); err != nil {
				return err
			}
		}
	}
	if l.now.Before(until) && !l.ended {
		l.now = until
	}
	return nil
}

// Actor is something with its own next time: a stepper and what drives it. Its
// steps never overlap; what a step's calls cost delays the next one.
type Actor struct {
	loop *Loop
	step func(now time.Time) (next time.Time)

	event event
	free  time.Time     // when the last step's calls have ended
	late  time.Time     // until when it may have to catch up with what happened during a long call
	cost  time.Duration // of the step that runs
	inRun bool
	woken bool
	dead  bool
}

// longCall is one whose end things may have changed by.
const longCall = 5 * time.Second

// NewActor returns an actor that takes its first step at the given time.
func NewActor(l *Loop, name string, first time.Time, step func(time.Time) time.Time) *Actor {
	a := &Actor{loop: l, step: step}
	a.event = event{pos: -1, name: name, step: true, do: a.run}
	a.schedule(first)
	return a
}

// Name returns the actor's name.
func (a *Actor) Name() string { return a.event.name }

func (a *Actor) schedule(at time.Time) { a.loop.put(&a.event, later(at, a.free)) }

func (a *Actor) run() {
	a.cost, a.inRun, a.woken = 0, true, false
	next := a.step(a.loop.now)
	a.inRun = false
	if a.dead {
		return
	}
	a.free = a.loop.now.Add(a.cost)
	if a.cost > longCall {
		a.late = a.free.Add(2 * longCall)
	}
	if a.woken {
		next = a.loop.now
	}
	// A stepper that always has something to do leaves the processor to the
	// others, as the driver makes it in production.
	a.schedule(later(next, a.loop.now.Add(time.Millisecond)))
}

// Charge makes the step that runs cost d: the actor does nothing else before.
func (a *Actor) Charge(d time.Duration) { a.cost += d }

// Wake has the actor step as soon as it is free.
func (a *Actor) Wake() { a.WakeWithin(0) }

// WakeWithin has it step after d at the latest.
func (a *Actor) WakeWithin(d time.Duration) {
	at := a.loop.now.Add(d)
	switch due := a.event.at; {
	case a.dead:
	case a.inRun:
		a.woken = true
	case due > at.Sub(Epoch) && due > a.free.Sub(Epoch):
		a.schedule(at)
	}
}

// Stop ends the actor.
func (a *Actor) Stop() {
	a.dead = true
	a.loop.drop(&a.event)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
