package agent

import (
	"context"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// verifyPoll is the pause between two looks at a verification.
const verifyPoll = 2 * time.Second

// verification is what a Readiness has its PBS check: one restore point at a
// time, since it reads the same disks as a restore does.
type verification struct {
	task  string // of the PBS; "" = none runs
	volid string
	poll  time.Time       // when to look at it next
	asked map[string]bool // volids, as long as a loss lasts
	warm  map[string]bool // volids asked for on behalf of warm copies
	// news: one was found well of which the log has not been told.
	news bool
	// well are volids that were verified and found well: a sync that comes again overwrites what
	// the PBS has noted of its newest snapshot, and nothing of its content.
	well map[string]bool
}

// verify makes one call towards the verification of the restore points that a
// failover would take, from prepare A on (design section 6). It returns when it
// wants to be called next; zero: there is nothing to verify. One that ends badly
// has the next round begin at once, so that the point gives way to the next older
// one before it is restored. Good news waits until there is nothing more to verify,
// or for the next round: each reads every listing of the PBS, which is busy.
func (r *Readiness) verify(ctx context.Context, s *failover.State, now time.Time) time.Time {
	v := &r.verifying
	if v.task != "" {
		if now.Before(v.poll) {
			return v.poll
		}
		return r.pollVerification(ctx, now)
	}
	p, ok := r.unverified(s)
	if !ok {
		if p, ok = r.unverifiedWarm(s); !ok {
			if v.news {
				r.begun = time.Time{}
				return now
			}
			return time.Time{}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if v.asked != nil {
		v.asked[p.Volid] = true
	}
	id, err := proxmox.ParseVolid(p.Volid)
	if err != nil {
		r.Logger.Warn("restore point not verified", "volid", p.Volid, "err", err)
		return now
	}
	task, err := r.PBS.Verify(ctx, proxmox.Snapshot{NS: p.Namespace, Kind: id.Kind, ID: id.VMID, Time: id.Time})
	if err != nil {
		// Not verified is usable, too, and shown as such: once is enough.
		r.Logger.Warn("restore point not verified", "volid", p.Volid, "err", err)
		return now
	}
	r.Logger.Info("restore point is being verified", "volid", p.Volid)
	v.task, v.volid, v.poll = task, p.Volid, now.Add(verifyPoll)
	return v.poll
}

func (r *Readiness) pollVerification(ctx context.Context, now time.Time) time.Time {
	v := &r.verifying
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	t, err := r.PBS.Task(ctx, v.task)
	switch {
	case proxmox.KindOf(err) == proxmox.NotFound: // its log is gone: the listing tells the rest
	case err != nil || t.Running:
		v.poll = now.Add(verifyPoll)
		return v.poll
	}
	r.Logger.Info("restore point verified", "volid", v.volid, "result", t.Exit)
	if v.well == nil {
		v.well = map[string]bool{}
	}
	well := err == nil && t.OK()
	v.well[v.volid], v.news = well, well
	v.task, v.volid = "", ""
	if !well {
		r.begun = time.Time{}
	}
	return now
}

// unverified returns the next restore point that a failover of a lost site would
// take here, that this PBS has not verified, and that was not asked for yet.
func (r *Readiness) unverified(s *failover.State) (failover.RestorePoint, bool) {
	lost := false
	for _, site := range s.Network.SiteIDs() {
		d := s.Domains[failover.SiteDomain(site)]
		if d.Cause != failover.CauseLost || d.Level < failover.LevelPrepareA {
			continue
		}
		lost = true
		if r.verifying.asked == nil {
			r.verifying.asked = map[string]bool{}
		}
		// Guests that are in an operation already have their point: it is being restored.
		for _, a := range failover.PlanFor(s, failover.Loss{Site: site}, s.Clock).Assignments {
			if a.Target == r.Site && !a.Point.Verified && a.Point.Volid != "" && !r.verifying.asked[a.Point.Volid] {
				return a.Point, true
			}
		}
	}
	if !lost {
		r.verifying.asked = nil
	}
	return failover.RestorePoint{}, false
}
