package failover

import (
	"fmt"
	"slices"
	"time"
)

// Outlook is what a plan would leave behind: how full its targets would be, and what a second
// loss would mean then.
type Outlook struct {
	Targets []TargetOutlook `json:"targets,omitempty"`
	Second  []SecondLoss    `json:"second_loss,omitempty"`
}

// TargetOutlook is one site that a plan sends guests to. Sizes are bytes.
type TargetOutlook struct {
	Site        SiteID `json:"site"`
	Guests      int    `json:"guests"`
	MemoryTotal int64  `json:"memory_total,omitempty"`
	MemoryUsed  int64  `json:"memory_used"`    // now
	MemoryThen  int64  `json:"memory_then"`    // with the plan's guests
	StorageFree int64  `json:"storage_free"`   // now
	StorageThen int64  `json:"storage_then"`   // free, with the plan's guests
	Rate        int64  `json:"rate,omitempty"` // of past restores there, bytes/s; 0 = none was measured
}

// SecondLoss is what would not find a place if one more site were lost.
type SecondLoss struct {
	Site    SiteID    `json:"site"`
	Guests  int       `json:"guests"` // that run there then and should be saved
	LeftOut []LeftOut `json:"left_out,omitempty"`
}

// OutlookOf tells what a plan would leave behind if it were carried out now.
func OutlookOf(s *State, p Plan, now time.Time) Outlook {
	var out Outlook
	if s.Network == nil || len(p.Assignments) == 0 {
		return out
	}
	after := s.withPlan(p)
	for _, site := range s.Network.SiteIDs() {
		guests := 0
		for _, a := range p.Assignments {
			if a.Target == site {
				guests++
			}
		}
		if guests == 0 {
			continue
		}
		now, then := s.Readiness[site].Ready, after.Readiness[site].Ready
		out.Targets = append(out.Targets, TargetOutlook{
			Site: site, Guests: guests, MemoryTotal: now.MemoryTotal, MemoryUsed: now.MemoryTotal - now.MemoryFree,
			MemoryThen: now.MemoryTotal - then.MemoryFree, StorageFree: now.StorageFree, StorageThen: then.StorageFree, Rate: now.Rate,
		})
	}
	out.Second = after.secondLosses(p.Loss.Site, now)
	return out
}

// withPlan is the state in which a plan's guests run where they are meant to, and its site is
// lost. Nothing but planning may be asked of it.
func (s *State) withPlan(p Plan) *State {
	out := s.Clone()
	for _, a := range p.Assignments {
		pl := out.Guests[a.Guest]
		pl.Owner, pl.Host, pl.Phase, pl.Op = a.Target, a.Host, PhaseAway, ""
		out.Guests[a.Guest] = pl
		r := out.Readiness[a.Target]
		r.Ready.MemoryFree -= a.Memory
		r.Ready.StorageFree -= a.Point.Size
		out.Readiness[a.Target] = r
	}
	id, lost := SiteDomain(p.Loss.Site), CauseLost
	if p.Loss.Host != "" {
		id, lost = HostDomain(p.Loss.Host), CauseHostDown
	}
	d := out.Domains[id]
	d.Cause = lost
	out.Domains[id] = d
	return out
}

// secondLosses plans the loss of every further site that guests are away at. What is away already
// has no backups of its own yet: a person would place it anew from the replicas of its home.
func (s *State) secondLosses(lost SiteID, now time.Time) []SecondLoss {
	hosting := map[SiteID]bool{}
	for g, p := range s.Guests {
		hosting[p.Owner] = hosting[p.Owner] || p.Owner != s.Network.Home(g)
	}
	var out []SecondLoss
	for _, site := range s.Network.SiteIDs() {
		if site == lost || !hosting[site] {
			continue
		}
		loss := Loss{Site: site, ByHand: true}
		pl := newPlanner(s, loss, now, nil)
		second := SecondLoss{Site: site}
		for _, g := range pl.order(pl.concerned()) {
			if r := pl.excluded(g); !r.IsZero() {
				continue // it would stay whatever the room
			}
			second.Guests++
			if _, r := pl.place(g); !r.IsZero() {
				second.LeftOut = append(second.LeftOut, LeftOut{Guest: g, Priority: s.Network.Guests[g].Priority, Reason: r})
			}
		}
		out = append(out, second)
	}
	return out
}

// remindAfter is how long guests may be away before the status reminds of them.
const remindAfter = 24 * time.Hour

// awayReminder says that guests have been away from home for long: what is meant to last for a
// night must not be forgotten.
func (e explainer) awayReminder() []Reason {
	var longest GuestID
	n := 0
	for _, g := range sortedKeys(e.s.Guests) {
		if e.s.AtHome(g) || e.s.Guests[g].Owner == "" {
			continue
		}
		n++
		if longest == "" || e.s.Guests[g].Since.At.Before(e.s.Guests[longest].Since.At) {
			longest = g
		}
	}
	if n == 0 || e.now.Sub(e.s.Guests[longest].Since.At) < remindAfter {
		return nil
	}
	days := e.now.Sub(e.s.Guests[longest].Since.At) / (24 * time.Hour)
	return []Reason{because(CodeAwayLong, "guests", fmt.Sprint(n), "guest", string(longest), "site", string(e.s.Guests[longest].Owner), "days", fmt.Sprint(int64(days)))}
}

// secondLossNotices warns, while guests are away, of a further loss that not all of them would
// survive.
func (e explainer) secondLossNotices() []Reason {
	away := slices.ContainsFunc(sortedKeys(e.s.Guests), func(g GuestID) bool {
		return e.s.Guests[g].Owner != e.s.Network.Home(g)
	})
	if !away {
		return nil
	}
	var out []Reason
	for _, second := range e.s.secondLosses("", e.now) {
		if len(second.LeftOut) > 0 {
			out = append(out, because(CodeSecondLoss, "site", string(second.Site), "guests", fmt.Sprint(second.Guests), "left", fmt.Sprint(len(second.LeftOut))))
		}
	}
	return out
}
