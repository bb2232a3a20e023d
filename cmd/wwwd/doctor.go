package main

import (
	"context"
	"os"
	"sync/atomic"
	"time"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/drive"
	"github.com/raoull/worldwidewelsh/internal/roothelper"
)

// siteDoctor drives the reader of this site's machines and answers the API.
type siteDoctor struct {
	reader *agent.Doctor
	wake   chan struct{}
	named  atomic.Pointer[routerNames]
}

var _ api.Examiner = (*siteDoctor)(nil)

// routerNames is what was wrong with the router's entries at one state, by one round's facts.
type routerNames struct {
	index   uint64
	facts   *doctor.Facts
	reasons []failover.Reason
}

func newSiteDoctor(h *siteHands) *siteDoctor {
	d := h.d
	return &siteDoctor{
		wake: make(chan struct{}, 1),
		reader: &agent.Doctor{
			Site: d.conf.Site, Log: d.node, Clock: d.clock, Every: agent.DoctorEvery, Logger: d.log.With("component", "doctor"),
			Router: func() agent.RouterReader {
				if r := d.probes.tunnels.router; r != nil {
					return r
				}
				return nil
			},
			Helper: roothelper.Client{Path: d.conf.HelperSocket},
			Disk: func() doctor.Disk {
				disk := doctor.Encryption(os.DirFS("/"), d.conf.DataDir)
				disk.Worthless = d.conf.Lab.PlainDisk
				return disk
			},
			Machines: func() agent.Machines {
				m := agent.Machines{}
				if own := h.machines.Load(); own != nil {
					m = *own
				}
				m.Others = h.others()
				return m
			},
		},
	}
}

// run drives the reader until ctx ends.
func (s *siteDoctor) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := s.reader.Log.Changed() // before the step, so that no change is missed
		next := s.reader.Step(ctx, time.Now())
		timer.Reset(max(drive.Rest, time.Until(next)))
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// again begins a round soon: what it reads has changed.
func (s *siteDoctor) again() {
	s.reader.Ask()
	select {
	case s.wake <- struct{}{}:
	default: // it is being woken
	}
}

// Facts implements api.Examiner.
func (s *siteDoctor) Facts() *doctor.Facts { return s.reader.Facts() }

// Leads implements api.Examiner: what the embedded server tells the clients of this site's LAN.
func (s *siteDoctor) Leads(st *failover.State) (out []doctor.Lead) {
	for _, l := range dnsctl.LeadsAt(st, s.reader.Site) {
		out = append(out, doctor.Lead(l))
	}
	return out
}

// names is what is wrong with what the site's router answers its members.
func (s *siteDoctor) names(st *failover.State) []failover.Reason {
	f := s.Facts()
	if f == nil || f.Router == nil {
		return nil
	}
	if n := s.named.Load(); n != nil && n.index == st.Index && n.facts == f {
		return n.reasons // every request asks
	}
	n := &routerNames{index: st.Index, facts: f}
	n.reasons = doctor.RouterReasons(doctor.Input{State: st, Local: failover.LocalView{Site: s.reader.Site}, Facts: f, Leads: s.Leads(st)})
	s.named.Store(n)
	return n.reasons
}

// Refresh implements api.Examiner.
func (s *siteDoctor) Refresh(ctx context.Context) error {
	done := s.reader.Ask()
	select {
	case s.wake <- struct{}{}:
	default: // it is being woken
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
