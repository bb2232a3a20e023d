package api

import (
	"slices"
	"strconv"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// plans are what would happen if a site died now, by site.
type plans struct {
	at    time.Time
	index uint64 // of the declared network that they were made for
	sites map[failover.SiteID]planned
}

type planned struct {
	recoverable, unrecoverable int
	memory, storage            int64 // bytes that are lacking
	rto                        map[failover.StructureID]time.Duration
}

func evaluate(s *failover.State, now time.Time) plans {
	out := plans{at: now, index: s.NetworkVersion, sites: map[failover.SiteID]planned{}}
	for _, id := range s.Network.SiteIDs() {
		out.sites[id] = summed(s, failover.PlanFor(s, failover.Loss{Site: id}, now))
	}
	return out
}

func summed(s *failover.State, p failover.Plan) planned {
	n := planned{recoverable: len(p.Assignments), rto: map[failover.StructureID]time.Duration{}}
	unknown := map[failover.StructureID]bool{}
	for _, a := range p.Assignments {
		takes, ok := untilOwned(s, a)
		unknown[a.Structure] = unknown[a.Structure] || !ok
		n.rto[a.Structure] = max(n.rto[a.Structure], takes)
	}
	for structure := range unknown {
		if unknown[structure] {
			delete(n.rto, structure) // a part of it would promise too much
		}
	}
	for _, l := range p.LeftOut {
		if Needed(l) {
			n.unrecoverable++
		}
		switch l.Reason.Code {
		case failover.CodeNoMemory:
			n.memory += lacks(l.Reason)
		case failover.CodeNoStorage:
			n.storage += lacks(l.Reason)
		}
	}
	return n
}

// untilOwned is how long after the first silence a guest would be restored and taken over: the
// restore begins with prepare B, and no guest is taken over before its commit delay. A warm copy
// stands there. False without a measured rate.
func untilOwned(s *failover.State, a failover.Assignment) (time.Duration, bool) {
	restore := a.Estimate
	if a.Warm == "" && restore == 0 {
		return 0, false
	}
	if a.Warm != "" {
		restore = 0
	}
	return max(s.Network.CommitDelay(a.Guest), s.Network.PolicyOf(a.Guest).PrepareB.D()+restore), true
}

// lacks is what a reason says is missing at the target that came closest.
func lacks(r failover.Reason) int64 {
	need, _ := strconv.ParseInt(r.Args["need"], 10, 64) // the planner writes numbers
	have, _ := strconv.ParseInt(r.Args["have"], 10, 64)
	return max(0, need-have)
}

// Needed says whether a guest that a plan leaves out should have been saved:
// not when the network declares that it stays.
func Needed(l failover.LeftOut) bool {
	return !slices.Contains([]string{
		failover.CodePriority4, failover.CodeMode, failover.CodeNoConsent, failover.CodeExposure, failover.CodeInOperation,
	}, l.Reason.Code)
}

func (v scrape) plans(p plans) {
	for id, n := range p.sites {
		site := string(id)
		v.gauge("plan_recoverable_guests", float64(n.recoverable), site)
		v.gauge("plan_unrecoverable_guests", float64(n.unrecoverable), site)
		v.gauge("plan_capacity_shortfall_bytes", float64(n.memory), site, "memory")
		v.gauge("plan_capacity_shortfall_bytes", float64(n.storage), site, "storage")
		for structure, takes := range n.rto {
			v.gauge("plan_estimated_rto_seconds", takes.Seconds(), site, string(structure))
		}
	}
	v.gauge("plan_last_evaluation_timestamp_seconds", unixSeconds(p.at))
}
