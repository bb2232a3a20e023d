package notify

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of the queue.
const (
	maxWaiting = 100            // messages per channel
	keepFor    = 24 * time.Hour // what has not left by then is of no use any more
	maxFile    = 64 << 10
)

// pauses between attempts, the last one again and again. Each is short beside an outage of a
// mail server, and long beside the time in which it would call us a nuisance.
var pauses = []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute}

// item is one message on its way by one channel. On disk it is a file of its own, so that a
// crash at any moment costs no other.
type item struct {
	Channel string    `json:"channel"`
	Message Message   `json:"message"`
	NotBy   time.Time `json:"not_before,omitzero"` // held back by quiet hours
	Queued  time.Time `json:"queued"`

	attempts int
	next     time.Time
}

func (i *item) name() string { return i.Message.ID + "." + i.Channel + ".json" }

// Outbox is the queue of what is to leave, in a directory. Safe for concurrent use.
type Outbox struct {
	dir string

	mu    sync.Mutex // over memory only
	items map[string]*item
	left  map[string]map[string]bool // message → channels that have taken it
	stats map[string]*ChannelStat
}

// ChannelStat is how a channel goes.
type ChannelStat struct {
	Waiting  int       // messages in the queue
	Failures int       // attempts in a row that failed
	Since    time.Time // of the first of them
	Why      string
	Success  time.Time // of the last message that was taken
	Results  map[string]int

	tested, trial time.Time // see trial.go
	trialFailed   bool      // the failures are those of trials
}

// Results of a message, as metrics count them.
const (
	ResultSent       = "sent"
	ResultFailed     = "failed"     // an attempt
	ResultExpired    = "expired"    // it waited for a day
	ResultSuperseded = "superseded" // there was newer news of the same
	ResultDropped    = "dropped"    // too many waited
	ResultElsewhere  = "elsewhere"  // another agent has told it
)

// OpenOutbox reads what an earlier run has left. What cannot be read is put aside and said:
// the outbox is usable all the same.
func OpenOutbox(dir string) (*Outbox, error) {
	o := &Outbox{dir: dir, items: map[string]*item{}, left: map[string]map[string]bool{}, stats: map[string]*ChannelStat{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return o, fmt.Errorf("open outbox: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return o, fmt.Errorf("open outbox: %w", err)
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."): // begun and never finished
			errs = append(errs, os.Remove(path))
		case strings.HasSuffix(e.Name(), ".json"):
			i, err := readItem(path)
			if err != nil {
				errs = append(errs, fmt.Errorf("read message: %w", err), os.Rename(path, path+".bad"))
				continue
			}
			o.items[i.name()] = i
		}
	}
	return o, errors.Join(errs...)
}

func readItem(path string) (*item, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes", path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	i := &item{}
	if err := json.Unmarshal(b, i); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if i.Channel == "" || i.name() != filepath.Base(path) {
		return nil, fmt.Errorf("%s is not what its name says", path)
	}
	return i, nil
}

// Put queues a message for a channel, not before a time. Older news of the same leaves the
// queue of that channel. An error says that the disk has not taken it: it is in memory then.
func (o *Outbox) Put(channel string, m Message, notBefore, now time.Time) error {
	i := &item{Channel: channel, Message: m, NotBy: notBefore, Queued: now}
	o.mu.Lock()
	if _, there := o.items[i.name()]; there || o.left[m.ID][channel] {
		o.mu.Unlock()
		return nil
	}
	gone := o.older(i)
	o.items[i.name()] = i
	gone = append(gone, o.overflow(channel)...)
	o.mu.Unlock()
	return errors.Join(o.write(i), o.remove(gone))
}

// older takes what a newer message of the same makes pointless off its channel.
func (o *Outbox) older(n *item) []string {
	var gone []string
	for name, i := range o.items {
		if i.Channel == n.Channel && i.Message.Key == n.Message.Key && i.Message.Kind != Test {
			delete(o.items, name)
			gone = append(gone, name)
			o.stat(i.Channel).Results[ResultSuperseded]++
		}
	}
	return gone
}

// overflow takes off what matters least while too much waits.
func (o *Outbox) overflow(channel string) []string {
	var mine []*item
	for _, i := range o.items {
		if i.Channel == channel {
			mine = append(mine, i)
		}
	}
	if len(mine) <= maxWaiting {
		return nil
	}
	slices.SortFunc(mine, func(a, b *item) int {
		return cmp.Or(cmp.Compare(slices.Index(Urgencies(), a.Message.Urgency), slices.Index(Urgencies(), b.Message.Urgency)),
			a.Queued.Compare(b.Queued), cmp.Compare(a.name(), b.name()))
	})
	var gone []string
	for _, i := range mine[:len(mine)-maxWaiting] {
		delete(o.items, i.name())
		gone = append(gone, i.name())
		o.stat(channel).Results[ResultDropped]++
	}
	return gone
}

// write puts an item on disk: whole, or not at all.
func (o *Outbox) write(i *item) (err error) {
	b, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(o.dir, i.name()), b)
}

// writeWhole writes a file so that a crash leaves the old one or the new one.
func writeWhole(path string, b []byte) error {
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(dir, "."+name)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (o *Outbox) remove(names []string) error {
	var errs []error
	for _, name := range names {
		if err := os.Remove(filepath.Join(o.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// next returns the message of a channel that is due first, the most urgent before all others,
// or when there will be one.
func (o *Outbox) next(channel string, now time.Time) (i *item, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at = now.Add(keepFor)
	for _, c := range o.items {
		if c.Channel != channel {
			continue
		}
		when := c.next
		if c.NotBy.After(when) {
			when = c.NotBy
		}
		if when.After(now) {
			if when.Before(at) {
				at = when
			}
			continue
		}
		if i == nil || c.before(i) {
			i = c
		}
	}
	return i, at
}

func (i *item) before(o *item) bool {
	return cmp.Or(-cmp.Compare(slices.Index(Urgencies(), i.Message.Urgency), slices.Index(Urgencies(), o.Message.Urgency)),
		i.Queued.Compare(o.Queued), cmp.Compare(i.name(), o.name())) < 0
}

// sent takes a message off the queue that its channel has taken.
func (o *Outbox) sent(i *item, now time.Time) error {
	o.mu.Lock()
	delete(o.items, i.name())
	if o.left[i.Message.ID] == nil {
		o.left[i.Message.ID] = map[string]bool{}
	}
	o.left[i.Message.ID][i.Channel] = true
	o.stat(i.Channel).succeed(now)
	o.mu.Unlock()
	return o.remove([]string{i.name()})
}

// failed has a message wait for its next attempt, or gives it up.
func (o *Outbox) failed(i *item, why error, now time.Time) error {
	o.mu.Lock()
	s := o.stat(i.Channel)
	s.trialFailed = false
	s.fail(why, now)
	i.next = now.Add(pauses[min(i.attempts, len(pauses)-1)])
	i.attempts++
	if now.Sub(i.Queued) < keepFor {
		o.mu.Unlock()
		return nil
	}
	delete(o.items, i.name())
	s.Results[ResultExpired]++
	o.mu.Unlock()
	return o.remove([]string{i.name()})
}

// succeed ends every failure: a message was taken.
func (s *ChannelStat) succeed(now time.Time) {
	s.Success, s.Failures, s.Since, s.Why, s.trialFailed = now, 0, time.Time{}, "", false
	s.Results[ResultSent]++
}

func (s *ChannelStat) fail(why error, now time.Time) {
	if s.Failures == 0 {
		s.Since = now
	}
	s.Failures, s.Why = s.Failures+1, why.Error()
	s.Results[ResultFailed]++
}

// drop takes off what need not leave any more: without says which.
func (o *Outbox) drop(result string, without func(Message, string) bool) error {
	o.mu.Lock()
	var gone []string
	for name, i := range o.items {
		if without(i.Message, i.Channel) {
			delete(o.items, name)
			gone = append(gone, name)
			o.stat(i.Channel).Results[result]++
		}
	}
	o.mu.Unlock()
	return o.remove(gone)
}

// forget drops what is known of the ways of a message: it is in the log now.
func (o *Outbox) forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.left, id)
}

// ways says by how many channels a message has left and which still have it. Those that hold
// it back for quiet hours count as neither.
func (o *Outbox) ways(id string, now time.Time) (left int, waiting []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range o.items {
		if i.Message.ID == id && !i.NotBy.After(now) {
			waiting = append(waiting, i.Channel)
		}
	}
	slices.Sort(waiting)
	return len(o.left[id]), waiting
}

// tried counts a test that went beside the queue.
func (o *Outbox) tried(channel string, err error, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.stat(channel)
	if err != nil {
		s.trialFailed = false
		s.fail(err, now)
		return
	}
	s.succeed(now)
}

func (o *Outbox) stat(channel string) *ChannelStat {
	if o.stats[channel] == nil {
		o.stats[channel] = &ChannelStat{Results: map[string]int{}}
	}
	return o.stats[channel]
}

// Stats returns how each of some channels goes.
func (o *Outbox) Stats(channels []string) map[string]ChannelStat {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[string]ChannelStat{}
	for _, name := range channels {
		s := *o.stat(name)
		s.Results = map[string]int{ResultSent: s.Results[ResultSent], ResultFailed: s.Results[ResultFailed]}
		for k, n := range o.stat(name).Results {
			s.Results[k] = n
		}
		for _, i := range o.items {
			if i.Channel == name {
				s.Waiting++
			}
		}
		out[name] = s
	}
	return out
}
