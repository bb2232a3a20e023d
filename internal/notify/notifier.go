package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Pauses of the notifier. The leader looks often; the others only guard it.
const (
	leaderEvery = 2 * time.Second
	guardEvery  = 10 * time.Second
	// digestFor is how long after its moment a digest is still worth sending.
	digestFor = 24 * time.Hour
	// partialAfter is how long no leader is heard before that is told: an election is no news.
	partialAfter = time.Minute
	// alonePause is how much longer each further agent of a cut-off group waits: without a log
	// nobody can say that it was told, so that more than one is the exception.
	alonePause = 5 * time.Minute
)

// aloneKey is the key in this agent's own book. The log never has it.
const aloneKey = "alone"

// Log is what the notifier needs of the replicated log.
type Log interface {
	State() *failover.State
	Propose(ctx context.Context, c failover.Command) (failover.Stamp, error)
}

// Notifier decides what leaves by this agent's channels, and records it. Step belongs to one
// goroutine; Take may be called beside it.
type Notifier struct {
	Site   failover.SiteID
	Log    Log
	Local  func() failover.LocalView
	Wall   func() time.Time // the network's time
	Outbox *Outbox
	Logger *slog.Logger
	// Book is the file of what this agent told while it heard no leader.
	Book string

	ways atomic.Pointer[ways]

	shared, own *planner
	mine        map[string]failover.Notice // the book of Book; nil: not read yet
	sending     map[string]*sending        // by message
	asleep      map[string]time.Time       // by message: when all channels were last quiet
	alone       time.Time                  // since when no leader is heard
}

// ways are the channels as they are configured now.
type ways struct {
	channels map[string]way
	digest   Weekly
	loc      *time.Location
	began    time.Time // they count from then
}

type way struct {
	sender Sender
	quiet  Window
	least  Urgency
	test   time.Duration // see Channel.TestEvery
}

// sending is a message that this agent has in hand.
type sending struct {
	due   Due
	begun time.Time
}

// Take takes a configuration over. It has been checked.
func (n *Notifier) Take(c Config, e Edge) error {
	w := ways{channels: map[string]way{}, loc: time.Local, began: e.Now()}
	var err error
	if c.Timezone != "" {
		if w.loc, err = time.LoadLocation(c.Timezone); err != nil {
			return err
		}
	}
	if w.digest, err = ParseWeekly(orDefault(c.Digest, DefaultDigest)); err != nil {
		return err
	}
	for name, ch := range c.Channels {
		s, err := NewSender(ch, e)
		if err != nil {
			return fmt.Errorf("channel %s: %w", name, err)
		}
		quiet, err := ParseWindow(ch.Quiet)
		if err != nil {
			return fmt.Errorf("channel %s: %w", name, err)
		}
		w.channels[name] = way{sender: s, quiet: quiet, least: Urgency(orDefault(string(ch.Least), string(Info))), test: ch.TestEvery.D()}
	}
	n.ways.Store(&w)
	return n.Outbox.drop(ResultDropped, func(_ Message, channel string) bool { _, ok := w.channels[channel]; return !ok })
}

func orDefault(v, otherwise string) string {
	if v == "" {
		return otherwise
	}
	return v
}

// Channels returns the names of the channels, in order.
func (n *Notifier) Channels() []string {
	if w := n.ways.Load(); w != nil {
		return network.SortedKeys(w.channels)
	}
	return nil
}

// Views returns how each channel goes, for status and doctor.
func (n *Notifier) Views() []failover.ChannelView {
	var out []failover.ChannelView
	names := n.Channels()
	stats := n.Outbox.Stats(names)
	for _, name := range names {
		s := stats[name]
		out = append(out, failover.ChannelView{Name: name, Waiting: s.Waiting, Failing: message.Clean(s.Why), Since: s.Since})
	}
	return out
}

// Step looks at State once and proposes at most one record.
func (n *Notifier) Step(ctx context.Context, now time.Time) time.Time {
	n.open()
	s, w := n.Log.State(), n.ways.Load()
	if _, member := s.Members[n.Site]; s.Network == nil || !member || len(w.channels) == 0 {
		return now.Add(guardEvery)
	}
	local := n.Local()
	v := view{s: s, st: failover.Explain(s, local, n.Wall()), wall: n.Wall(), loc: w.loc}
	n.stepAlone(v, w, now)
	if !local.HasLeader {
		return now.Add(guardEvery)
	}
	n.stepShared(ctx, v, w, now)
	if local.IsLeader || len(n.sending) > 0 {
		return now.Add(leaderEvery)
	}
	return now.Add(guardEvery)
}

func (n *Notifier) open() {
	if n.shared != nil {
		return
	}
	n.shared, n.own, n.sending, n.mine = newPlanner(), newPlanner(), map[string]*sending{}, map[string]failover.Notice{}
	n.asleep = map[string]time.Time{}
	if n.ways.Load() == nil {
		n.ways.Store(&ways{loc: time.UTC})
	}
	b, err := os.ReadFile(n.Book)
	if err == nil {
		err = json.Unmarshal(b, &n.mine)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.Logger.Warn("what was told without a leader is not known", "err", err)
	}
}

// stepShared tells what State holds, as far as it is this agent's turn.
func (n *Notifier) stepShared(ctx context.Context, v view, w *ways, now time.Time) {
	conds := Conditions(v.s, v.st)
	if at := w.digest.Last(v.wall.In(w.loc)); !at.IsZero() && v.wall.Sub(at) < digestFor {
		year, week := at.ISOWeek()
		conds = append(conds, Condition{
			Key: "digest", Reason: failover.Reason{Code: failover.CodeDigest, Args: map[string]string{"network": v.st.Network}},
			Urgency: Info, Quiet: true, Stage: year*100 + week,
		})
	}
	due := n.shared.due(conds, v.s.Told, v.wall, now)
	n.tidy(v.s, due)
	turn := time.Duration(rank(v.s, n.Site)) * takeover
	for _, d := range due {
		id := d.id()
		begun := n.sending[id]
		switch {
		case begun != nil && n.record(ctx, begun, now):
			return // one outside call per step
		case begun != nil:
		case !w.awake(d, v.wall):
			n.asleep[id] = now
		case now.Sub(n.shared.since(d, v.wall, now)) >= turn && now.Sub(n.asleep[id]) >= turn:
			n.sending[id] = &sending{due: d, begun: now}
			n.queue(v.compose(d), w, v.wall, now)
		}
	}
}

// since is when a message became due, as far as this agent knows.
func (p *planner) since(d Due, wall, now time.Time) time.Time {
	switch d.Kind {
	case Over:
		return p.gone[d.Key].Add(settle)
	case Reminder:
		return now.Add(-wall.Sub(d.First.Add(reminders[d.Stage-1])))
	}
	return p.seen[d.Key].Add(d.Hold)
}

// tidy forgets what is not due any more: it was recorded, or it has passed. What another
// agent has told need not leave here too.
func (n *Notifier) tidy(s *failover.State, due []Due) {
	is := map[string]bool{}
	for _, d := range due {
		is[d.id()] = true
	}
	for id := range n.sending {
		if !is[id] {
			delete(n.sending, id)
			n.Outbox.forget(id)
		}
	}
	maps.DeleteFunc(n.asleep, func(id string, _ time.Time) bool { return !is[id] })
	err := n.Outbox.drop(ResultElsewhere, func(m Message, _ string) bool {
		told, ok := s.Told[m.Key]
		return ok && !m.Partial && m.Kind != Test && m.Kind != Over && told.By != n.Site && told.Stage >= m.Stage
	})
	n.complain(err)
}

// awake says whether any channel takes the message now. While all of them are quiet nothing
// is begun: what is still so in the morning is told then.
func (w *ways) awake(d Due, wall time.Time) bool {
	for _, c := range w.channels {
		if c.takes(d.Kind, d.Urgency, d.Reason.Code) && !c.heldUntil(d.Urgency, wall.In(w.loc)).After(wall) {
			return true
		}
	}
	return false
}

// takes says whether a message is for this channel. What is over is news for those who were
// told, although it is not urgent any more.
func (c way) takes(kind Kind, u Urgency, code string) bool {
	if kind == Over {
		u = urgencyOf(code)
	}
	return u.atLeast(c.least)
}

// heldUntil is when quiet hours let a message through.
func (c way) heldUntil(u Urgency, t time.Time) time.Time {
	if u == Urgent {
		return t
	}
	return c.quiet.Until(t)
}

// queue gives a message to every channel that is for it.
func (n *Notifier) queue(m Message, w *ways, wall, now time.Time) {
	for _, name := range network.SortedKeys(w.channels) {
		c := w.channels[name]
		if c.takes(m.Kind, m.Urgency, m.Code) {
			held := c.heldUntil(m.Urgency, wall.In(w.loc)).Sub(wall)
			n.complain(n.Outbox.Put(name, m, now.Add(held), now))
		}
	}
}

// record writes into the log that a message has left, once it has by all channels, or by one
// after a while. It says whether it proposed something.
func (n *Notifier) record(ctx context.Context, s *sending, now time.Time) bool {
	left, waiting := n.Outbox.ways(s.due.id(), now)
	if left == 0 || len(waiting) > 0 && now.Sub(s.begun) < takeover {
		return false
	}
	d := s.due
	_, err := n.Log.Propose(failover.WithActor(ctx, "agent:"+string(n.Site)), failover.Told{
		Key: d.Key, By: n.Site, Reason: d.Reason, Site: d.Site, Since: d.Since, Stage: d.Stage, Over: d.Kind == Over, Failed: waiting,
	})
	if _, refused := errors.AsType[*failover.RejectedError](err); err != nil && !refused {
		n.Logger.Debug("what was told is not recorded yet", "key", d.Key, "err", err)
	}
	return true
}

// stepAlone tells that this agent is cut off, and that it is not any more.
func (n *Notifier) stepAlone(v view, w *ways, now time.Time) {
	var conds []Condition
	if v.st.Local.HasLeader {
		n.alone = time.Time{}
	} else {
		if n.alone.IsZero() {
			n.alone = now
		}
		conds = append(conds, n.partial(v, now))
	}
	for _, d := range n.own.due(conds, n.mine, v.wall, now) {
		n.queue(v.compose(d), w, v.wall, now)
		if d.Kind == Over {
			delete(n.mine, d.Key)
		} else {
			first := d.First
			if first.IsZero() {
				first = v.wall
			}
			n.mine[d.Key] = failover.Notice{Reason: d.Reason, Site: d.Site, Since: d.Since, Stage: d.Stage, First: first, By: n.Site}
		}
		b, err := json.Marshal(n.mine)
		if err == nil {
			err = writeWhole(n.Book, b)
		}
		n.complain(err)
	}
}

// partial is the one thing that an agent without a leader knows for sure. The first of those
// that reach each other tells it.
func (n *Notifier) partial(v view, now time.Time) Condition {
	group := append(slices.Clone(v.st.Local.Reachable), n.Site)
	slices.Sort(group)
	group = slices.Compact(group)
	reaches := ""
	for _, id := range v.st.Local.Reachable {
		if reaches != "" {
			reaches += ", "
		}
		reaches += string(id)
	}
	silent := now.Sub(n.alone)
	if age := v.st.Local.LastContact; age > silent {
		silent = age
	}
	since := v.wall.Add(-silent)
	return Condition{
		Key: aloneKey, Site: n.Site, Since: since, Urgency: Urgent,
		Hold: partialAfter + time.Duration(slices.Index(group, n.Site))*alonePause,
		Reason: failover.Reason{Code: failover.CodePartial, Args: map[string]string{
			"site": string(n.Site), "since": v.clock(since), "reaches": reaches,
		}},
	}
}

func (n *Notifier) complain(err error) {
	if err != nil {
		n.Logger.Warn("queue of messages on disk", "err", err, "dir", filepath.Dir(n.Book))
	}
}
