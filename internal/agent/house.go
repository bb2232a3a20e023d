package agent

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// houseEvery is how often an agent that is cut off looks at its own site.
const houseEvery = 20 * time.Second

// House looks at this site's own machines while the agent is cut off, so that
// what it says of them needs nobody else. It makes one call per step, and
// changes nothing.
type House struct {
	Site  failover.SiteID
	Log   failover.Log
	Hosts map[failover.HostID]*proxmox.PVE // this site's, as far as it may look at them
	PBS   *proxmox.PBS
	Alone func() bool // no leader is heard
	Clock *LogClock

	queue []func(context.Context)
	round failover.House
	begun time.Time
	view  atomic.Pointer[failover.House]
}

// View returns what was last seen, nil while the agent is in contact or has not looked yet.
func (h *House) View() *failover.House { return h.view.Load() }

// Step makes one call of a round.
func (h *House) Step(ctx context.Context, now time.Time) time.Time {
	if !h.Alone() {
		h.queue, h.begun = nil, time.Time{}
		h.view.Store(nil)
		return now.Add(idle)
	}
	s := h.Log.State()
	if s.Network == nil {
		return now.Add(idle)
	}
	if len(h.queue) == 0 {
		if due := h.begun.Add(houseEvery); now.Before(due) {
			return due
		}
		h.begin(s, now)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if len(h.queue) > 0 {
		work := h.queue[0]
		h.queue = h.queue[1:]
		work(ctx)
	}
	if len(h.queue) > 0 {
		return now
	}
	done := h.round
	done.At = h.Clock.Now(s, now)
	h.view.Store(&done)
	return h.begun.Add(houseEvery)
}

// begin plans a round's calls: the lists of each host, and the backup server.
func (h *House) begin(s *failover.State, now time.Time) {
	h.begun, h.round = now, failover.House{NoStore: h.PBS == nil}
	want := s.HouseGuests(h.Site)
	for _, host := range network.SortedKeys(want) {
		pve := h.Hosts[host]
		if pve == nil {
			h.round.Unknown = append(h.round.Unknown, host)
			continue
		}
		runs := map[int]bool{}
		silent := false
		for _, kind := range []proxmox.Kind{proxmox.VM, proxmox.CT} {
			h.queue = append(h.queue, func(ctx context.Context) {
				guests, err := pve.Guests(ctx, kind)
				silent = silent || err != nil
				for _, g := range guests {
					runs[g.ID] = g.Status == "running"
				}
				switch {
				case kind != proxmox.CT:
				case silent:
					h.round.Silent = append(h.round.Silent, host)
				default:
					for _, c := range want[host] {
						h.round.See(c.Guest, runs[c.VMID])
					}
				}
			})
		}
	}
	if h.PBS != nil {
		h.queue = append(h.queue, func(ctx context.Context) {
			_, err := h.PBS.Version(ctx)
			h.round.Store = err == nil
		})
	}
}
