package agent

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// stopEvery is how often an agent that is cut off looks for guests that it is to stop.
const stopEvery = 15 * time.Second

// StopAlone shuts guests down whose structures want that while their site is cut off
// (on_isolation: stop), each once: who starts one again means it. In contact again it has
// those started that are still its site's. It makes one call per step.
type StopAlone struct {
	Site   failover.SiteID
	Log    failover.Log
	Hosts  map[failover.HostID]*proxmox.PVE // this site's, of which it may shut guests down
	Alone  func() bool                      // no leader is heard
	Clock  *LogClock
	Logger *slog.Logger

	since   time.Time // alone since; zero: in contact
	heard   uint64    // index of State then
	known   bool      // it was in contact, or alone, before this step
	touched map[failover.GuestID]bool
	stopped map[failover.GuestID]failover.Copy // asked to shut down by this agent, and not looked at since it is in contact
	owing   map[failover.GuestID]bool          // in contact: who may have been shut down, and was not looked at since
	queue   []failover.Copy                    // still to be looked at
	look    int                                // how often the first of them was looked at: its next call follows from that
	due     time.Time
}

// Step makes one call for one guest.
func (a *StopAlone) Step(ctx context.Context, now time.Time) time.Time {
	s := a.Log.State()
	if s.Network == nil {
		return now.Add(idle)
	}
	ctx, cancel := context.WithTimeout(failover.WithActor(ctx, "agent:"+string(a.Site)), callTimeout)
	defer cancel()
	if !a.Alone() {
		return a.inContact(ctx, s, now)
	}
	if a.since.IsZero() || s.Index != a.heard { // what has come since was told by the others: a contact too short to be seen
		a.heard = s.Index
		a.since, a.known, a.touched, a.queue, a.look, a.due = now, true, map[failover.GuestID]bool{}, nil, 0, time.Time{}
	}
	if len(a.queue) == 0 {
		if now.Before(a.due) {
			return now.Add(min(idle, a.due.Sub(now))) // is it still alone?
		}
		a.due = now.Add(stopEvery)
		for _, c := range s.StopsAlone(a.Site, now.Sub(a.since), a.Clock.Now(s, now)) {
			if !a.touched[c.Guest] && a.Hosts[c.Host] != nil {
				a.queue = append(a.queue, c)
			}
		}
		if len(a.queue) == 0 {
			return now.Add(idle)
		}
	}
	goOn := false
	switch c := a.queue[0]; a.look {
	case 0:
		goOn = a.mayStop(ctx, s, c)
	case 1:
		goOn = a.runs(ctx, s, c)
	default:
		a.stop(ctx, s, c)
	}
	if a.look++; !goOn {
		a.queue, a.look = a.queue[1:], 0
	}
	return now
}

// runs says whether a guest runs. One that is off is not asked to shut down: Proxmox takes that of
// a VM, and it would look as if this agent had put it off.
func (a *StopAlone) runs(ctx context.Context, s *failover.State, c failover.Copy) bool {
	st, err := a.Hosts[c.Host].GuestStatus(ctx, proxmox.Kind(s.Network.Guests[c.Guest].Type), c.VMID)
	if err != nil && proxmox.KindOf(err) != proxmox.NotFound {
		a.Logger.Warn("guest not looked at, whose structure wants it stopped", "guest", c.Guest, "err", err)
		return false // at the next round again
	}
	a.touched[c.Guest] = err != nil || !st.Running()
	return !a.touched[c.Guest]
}

// mayStop says whether this agent has not shut a guest down since the last that it shared
// with the others: whoever started it after that means it.
func (a *StopAlone) mayStop(ctx context.Context, s *failover.State, c failover.Copy) bool {
	pve := a.Hosts[c.Host]
	tasks, err := pve.Tasks(ctx, proxmox.TaskFilter{VMID: c.VMID})
	if err != nil {
		a.Logger.Warn("guest not looked at, whose structure wants it stopped", "guest", c.Guest, "err", err)
		return false // at the next round again
	}
	mine, ok := ownShutdown(tasks, pve.TokenID())
	a.touched[c.Guest] = ok && mine.UPID.Start.After(s.Clock)
	return !a.touched[c.Guest]
}

// stop shuts a guest down cleanly.
func (a *StopAlone) stop(ctx context.Context, s *failover.State, c failover.Copy) {
	pve, kind := a.Hosts[c.Host], proxmox.Kind(s.Network.Guests[c.Guest].Type)
	log := a.Logger.With("guest", c.Guest, "host", c.Host, "id", c.VMID)
	upid, err := pve.Shutdown(ctx, kind, c.VMID, shutdownWithin)
	switch proxmox.KindOf(err) {
	case "", proxmox.OutcomeUnknown:
		if a.stopped == nil {
			a.stopped = map[failover.GuestID]failover.Copy{}
		}
		a.touched[c.Guest], a.stopped[c.Guest] = true, c
		log.Warn("guest is shut down: its site is cut off, and its structure wants that", "task", upid.String())
	case proxmox.NotRunning, proxmox.NotFound:
		a.touched[c.Guest] = true
	default:
		log.Warn("guest not shut down, whose structure wants it stopped", "err", err)
	}
}

// ownShutdown finds the newest shutdown that a token asked for.
func ownShutdown(tasks []proxmox.TaskStatus, token string) (proxmox.TaskStatus, bool) {
	var own []proxmox.TaskStatus
	for _, t := range tasks {
		if t.UPID.Auth == token {
			own = append(own, t)
		}
	}
	return newestOf(own, "shutdown")
}

// inContact has the guests started again, once after each isolation and each start of the
// agent, of which the last thing that happened to them is that this agent shut them down. Who
// is held by an operation then has its turn when that lets it go.
func (a *StopAlone) inContact(ctx context.Context, s *failover.State, now time.Time) time.Time {
	if !a.since.IsZero() || !a.known {
		a.since, a.known, a.owing, a.queue, a.look, a.due = time.Time{}, true, nil, nil, 0, now.Add(idle)
		return a.due // State may still be what it was when the line was cut
	}
	if len(a.queue) == 0 {
		if now.Before(a.due) {
			return a.due
		}
		a.due = now.Add(idle)
		a.owed(s)
	}
	if len(a.queue) == 0 {
		return a.due
	}
	c := a.queue[0]
	next, err := a.startAgain(ctx, c)
	if err != nil {
		a.Logger.Warn("not known whether this guest is to be started again", "guest", c.Guest, "err", err)
		return now.Add(2 * time.Second)
	}
	if a.look++; !next {
		a.queue, a.look = a.queue[1:], 0
	}
	return now
}

// owed queues the guests that may be started now of those at which nobody has looked since
// the site is in contact.
func (a *StopAlone) owed(s *failover.State) {
	if a.owing == nil {
		a.owes(s)
	}
	for _, g := range network.SortedKeys(a.owing) {
		p := s.Guests[g]
		if p.Owner != a.Site || a.Hosts[p.Host] == nil {
			a.settled(g)
			continue
		}
		if s.MayStartAgain(g, p.Epoch) == nil {
			a.queue = append(a.queue, failover.Copy{Guest: g, Place: p.Now()})
		}
	}
}

// owes collects at whom it has to look: the guests whose structures want them stopped, and those
// that it has stopped, whatever the network has come to want of them meanwhile.
func (a *StopAlone) owes(s *failover.State) {
	a.owing = map[failover.GuestID]bool{}
	for g, p := range s.Guests {
		if s.Network.Structures[s.Network.Guests[g].Structure].OnIsolation == "stop" && p.Owner == a.Site {
			a.owing[g] = true
		}
	}
	for _, g := range network.SortedKeys(a.stopped) {
		if c := a.stopped[g]; s.Guests[g].Host == "" {
			a.Logger.Warn("guest was shut down for the isolation of its site, and the network has it no more: it stays off until somebody starts it", "guest", g, "host", c.Host, "id", c.VMID)
			delete(a.stopped, g)
			continue
		}
		a.owing[g] = true
	}
}

// settled says of a guest that it is as it should be since the isolation.
func (a *StopAlone) settled(g failover.GuestID) {
	delete(a.owing, g)
	delete(a.stopped, g)
}

// Owes says, of an agent in contact, whether it has yet to look at a guest that it may have to
// start again.
func (a *StopAlone) Owes() bool {
	s := a.Log.State()
	for g := range a.owing {
		if p := s.Guests[g]; p.Owner == a.Site && s.MayStartAgain(g, p.Epoch) == nil {
			return true
		}
	}
	return a.owing == nil
}

// startAgain looks whether the last that happened to a guest is that this agent shut it down,
// and if so has it started with the next call.
func (a *StopAlone) startAgain(ctx context.Context, c failover.Copy) (next bool, err error) {
	if a.look > 0 {
		_, err := a.Log.Propose(ctx, failover.StartAgain{Guest: c.Guest, Epoch: c.Epoch})
		if _, rejected := errors.AsType[*failover.RejectedError](err); rejected {
			return false, nil // an operation has been quicker: it is looked at again
		}
		if err == nil {
			a.settled(c.Guest)
		}
		return false, err
	}
	pve := a.Hosts[c.Host]
	tasks, err := pve.Tasks(ctx, proxmox.TaskFilter{VMID: c.VMID})
	mine, ours := ownShutdown(tasks, pve.TokenID())
	last, _ := newestOf(tasks, "shutdown", "stop", "start", "reboot")
	if next = ours && last.UPID == mine.UPID; err == nil && !next {
		a.settled(c.Guest)
	}
	return next, err
}
