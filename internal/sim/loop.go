package sim

import (
	"container/heap"
	"time"
)

// Loop runs events in the order of (time, sequence) on the caller's goroutine.
type Loop struct {
	now    time.Time
	seq    uint64
	events eventHeap
	count  int
	ended  bool
	// After is called after every event with its name; it may stop the loop.
	After func(name string) error
}

// NewLoop returns a loop that stands at the beginning.
func NewLoop() *Loop { return &Loop{now: Epoch} }

type event struct {
	at   time.Time
	seq  uint64
	name string
	do   func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push is heap.Interface's.
func (h *eventHeap) Push(x any) { *h = append(*h, x.(event)) }

// Pop is heap.Interface's.
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return e
}

// Now returns the virtual time.
func (l *Loop) Now() time.Time { return l.now }

// Events returns how many events have run.
func (l *Loop) Events() int { return l.count }

// At schedules do; a time in the past means now, after what is due already.
// Events without a name are bookkeeping and are not checked.
func (l *Loop) At(at time.Time, name string, do func()) {
	if at.Before(l.now) {
		at = l.now
	}
	l.seq++
	heap.Push(&l.events, event{at: at, seq: l.seq, name: name, do: do})
}

// In schedules do after d.
func (l *Loop) In(d time.Duration, name string, do func()) { l.At(l.now.Add(d), name, do) }

// Stop ends Run after the event that runs now.
func (l *Loop) Stop() { l.ended = true }

// Run runs events until the given time, until After returns an error or an
// event stops it.
func (l *Loop) Run(until time.Time) error {
	for len(l.events) > 0 && !l.events[0].at.After(until) && !l.ended {
		e := heap.Pop(&l.events).(event)
		l.now = e.at
		l.count++
		e.do()
		if l.After != nil && e.name != "" {
			if err := l.After(e.name); err != nil {
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
	name string
	step func(now time.Time) (next time.Time)

	gen   uint64        // of the scheduled event that counts
	due   time.Time     // when it is
	free  time.Time     // when the last step's calls have ended
	cost  time.Duration // of the step that runs
	inRun bool
	woken bool
	dead  bool
}

// NewActor returns an actor that takes its first step at the given time.
func NewActor(l *Loop, name string, first time.Time, step func(time.Time) time.Time) *Actor {
	a := &Actor{loop: l, name: name, step: step}
	a.schedule(first)
	return a
}

func (a *Actor) schedule(at time.Time) {
	if at.Before(a.free) {
		at = a.free
	}
	a.gen++
	gen := a.gen
	a.due = at
	a.loop.At(at, a.name, func() {
		if !a.dead && gen == a.gen {
			a.run()
		}
	})
}

func (a *Actor) run() {
	a.cost, a.inRun, a.woken = 0, true, false
	next := a.step(a.loop.now)
	a.inRun = false
	if a.dead {
		return
	}
	a.free = a.loop.now.Add(a.cost)
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
func (a *Actor) Wake() {
	switch {
	case a.dead:
	case a.inRun:
		a.woken = true
	case a.due.After(a.loop.now) && a.due.After(a.free):
		a.schedule(a.loop.now)
	}
}

// Stop ends the actor.
func (a *Actor) Stop() { a.dead = true }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
