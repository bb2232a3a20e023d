package notify

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Kind of a message.
type Kind string

// Kinds of messages.
const (
	First    Kind = "first"
	Reminder Kind = "reminder"
	Over     Kind = "over"
	Digest   Kind = "digest"
	Test     Kind = "test"
)

// reminders are when people are told again, after the first time. Then only the digest does.
var reminders = []time.Duration{time.Hour, 6 * time.Hour, 24 * time.Hour}

const (
	// takeover is how long each agent leaves it to the one before it in the order.
	takeover = time.Minute
	// settle is how long something must be gone before people are told that it is over: what
	// comes and goes is one story.
	settle = 2 * time.Minute
)

// Due is a message that should leave.
type Due struct {
	Condition
	Kind  Kind
	First time.Time // when it was told first; zero: never
}

// id names the message among all of this key: the same for all agents.
func (d Due) id() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%d", d.Key, d.Kind, d.Stage, d.First.UnixNano()))
	return hex.EncodeToString(sum[:12])
}

// planner says what is due. It remembers since when this agent has seen each thing, by its
// own clock; what people know is in the book that it is given.
type planner struct {
	seen, gone map[string]time.Time
}

func newPlanner() *planner {
	return &planner{seen: map[string]time.Time{}, gone: map[string]time.Time{}}
}

// due compares what is so with what people were told. wall is the network's time, in which
// the book is written; now is this agent's. The most urgent comes first.
func (p *planner) due(conds []Condition, book map[string]failover.Notice, wall, now time.Time) []Due {
	var out []Due
	is := map[string]bool{}
	for _, c := range conds {
		is[c.Key] = true
		delete(p.gone, c.Key)
		first := earliest(p.seen, c.Key, now)
		if now.Sub(first) < c.Hold {
			continue
		}
		if d, ok := next(c, book, wall); ok {
			out = append(out, d)
		}
	}
	for _, key := range network.SortedKeys(book) {
		n := book[key]
		if is[key] || n.Reason.Code == failover.CodeDigest {
			continue
		}
		if now.Sub(earliest(p.gone, key, now)) >= settle {
			c := Condition{Key: key, Reason: n.Reason, Site: n.Site, Since: n.Since, Urgency: Info, Stage: n.Stage}
			out = append(out, Due{Condition: c, Kind: Over, First: n.First})
		}
	}
	for key := range p.seen {
		if !is[key] {
			delete(p.seen, key)
		}
	}
	for key := range p.gone {
		if _, told := book[key]; !told {
			delete(p.gone, key)
		}
	}
	slices.SortStableFunc(out, func(a, b Due) int {
		return cmp.Or(-cmp.Compare(slices.Index(Urgencies(), a.Urgency), slices.Index(Urgencies(), b.Urgency)), cmp.Compare(a.Key, b.Key))
	})
	return out
}

// earliest returns when a key was entered, entering it now if it was not.
func earliest(m map[string]time.Time, key string, now time.Time) time.Time {
	if _, ok := m[key]; !ok {
		m[key] = now
	}
	return m[key]
}

// next is the message that follows on what people know of a condition.
func next(c Condition, book map[string]failover.Notice, wall time.Time) (Due, bool) {
	n, told := book[c.Key]
	switch {
	case c.Reason.Code == failover.CodeDigest:
		return Due{Condition: c, Kind: Digest}, !told || n.Stage < c.Stage
	case !told:
		return Due{Condition: c, Kind: First}, true
	case c.Quiet || n.Stage >= len(reminders):
		return Due{}, false
	}
	passed := n.Stage
	for passed < len(reminders) && !wall.Before(n.First.Add(reminders[passed])) {
		passed++ // of several that are due, one is enough
	}
	c.Stage = passed
	return Due{Condition: c, Kind: Reminder, First: n.First}, passed > n.Stage
}

// after says when the reminder that follows on a message comes; zero: none.
func after(d Due, now time.Time) time.Time {
	first, stage := d.First, d.Stage
	if first.IsZero() {
		first, stage = now, 0
	}
	if d.Kind == Over || d.Kind == Digest || d.Quiet || stage >= len(reminders) {
		return time.Time{}
	}
	return first.Add(reminders[stage])
}

// rank is the place of a site's agent in the order in which they tell: the leader, then the
// other voters that are not lost, then the rest.
func rank(s *failover.State, site failover.SiteID) int {
	order := func(id failover.SiteID) int {
		switch d := s.Domains[failover.SiteDomain(id)]; {
		case id == s.Leader:
			return 0
		case d.Cause == failover.CauseLost || d.Cause == failover.CauseUnreachable:
			return 3
		case s.Members[id].Voter:
			return 1
		}
		return 2
	}
	ids := network.SortedKeys(s.Members)
	slices.SortStableFunc(ids, func(a, b failover.SiteID) int { return cmp.Compare(order(a), order(b)) })
	return max(0, slices.Index(ids, site))
}
