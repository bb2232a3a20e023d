package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// againError ends the agent's run so that it begins anew in the same process,
// after a pause and whatever is to be done while nothing is open.
type againError struct {
	why   string
	pause time.Duration
	do    func() error
}

func (e *againError) Error() string { return "start again: " + e.why }

// stepDownPause is long enough for the others to have another leader (7 s in 99
// of 100 cases with the default timing), so that this agent follows it.
const stepDownPause = 9 * time.Second

// again ends this run; the answer to whoever asked leaves first.
func (d *daemon) again(e *againError) {
	select {
	case d.restart <- e:
	default: // it is under way
	}
}

// awaitRestart ends the run when somebody asked for it.
func (d *daemon) awaitRestart(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case e := <-d.restart:
		d.log.Warn("the agent starts again", "why", e.why)
		return e
	}
}

// StepDownHere has this agent stop leading: it stops, and comes back when the
// others had time to choose. Raft's own transfer of leadership is not used.
func (a access) StepDownHere(context.Context) error {
	if err := a.d.node.CanStepDown(); errors.Is(err, cluster.ErrNeeded) {
		return api.NotNow(err.Error())
	} else if err != nil {
		return err
	}
	a.d.again(&againError{why: "it steps down as leader", pause: stepDownPause})
	return nil
}

// StepDown has whoever leads step down.
func (a access) StepDown(ctx context.Context) (failover.SiteID, error) {
	if _, leads := a.d.node.Lead(); leads {
		return a.d.conf.Site, a.StepDownHere(ctx)
	}
	site, addr := a.d.leader()
	if addr == "" {
		return "", failover.ErrNoLeader
	}
	return site, a.d.peers.client(addr).StepDownHere(ctx)
}

// leader returns who leads, as this agent knows it.
func (d *daemon) leader() (failover.SiteID, string) {
	addr := d.node.LeaderAddr()
	for site, m := range d.node.State().Members {
		if m.Address == addr {
			return site, addr
		}
	}
	return "", addr
}

// SetMember changes a member here, or has the leader do it.
func (a access) SetMember(ctx context.Context, site failover.SiteID, set string) error {
	err := a.SetMemberHere(ctx, site, set)
	if !errors.Is(err, failover.ErrNoLeader) {
		return err
	}
	_, addr := a.d.leader()
	if addr == "" || addr == a.d.conf.Advertise.String() {
		return err
	}
	return a.d.peers.client(addr).SetMemberHere(ctx, api.MemberOrder{Site: site, Set: set, Actor: failover.ActorOf(ctx)})
}

// SetMemberHere changes a member if this agent leads. Who is expelled has its
// certificates revoked: else it could come back by itself.
func (a access) SetMemberHere(ctx context.Context, site failover.SiteID, set string) error {
	d := a.d
	m, known := d.node.State().Members[site]
	if !known {
		return &failover.RejectedError{Reason: failover.Reason{
			Code: failover.CodeUnknownSite, Args: map[string]string{"site": string(site)},
		}}
	}
	var err error
	if set == api.SetRemoved {
		err = d.node.RemoveMember(ctx, site)
		if err == nil {
			_, err = d.backend().Propose(ctx, failover.RevokeAgent{ServerID: m.ServerID, Site: site, Reason: "it left the group"})
		}
	} else {
		err = d.node.SetSuffrage(ctx, site, cluster.Suffrage(set))
	}
	_, rejected := errors.AsType[*failover.RejectedError](err)
	switch {
	case err == nil, rejected, errors.Is(err, failover.ErrNoLeader), errors.Is(err, failover.ErrUnknown), errors.Is(err, context.DeadlineExceeded):
		return err
	case m.ServerID == d.id:
		return api.NotNow(fmt.Sprintf("%s leads just now: wwwctl cluster step-down, then again", site))
	}
	return api.NotNow(err.Error())
}

// Leave expels the agent that calls, unless it has work that nobody else has.
func (a access) Leave(ctx context.Context, who api.Actor) error {
	if _, err := a.d.member(who); err != nil {
		// It was expelled before and did not learn it: what is left of that is done.
		_, err := a.d.backend().Propose(ctx, failover.RevokeAgent{ServerID: who.ServerID, Site: who.Site, Reason: "it left the group"})
		return err
	}
	if err := mayLeave(a.d.node.State(), who.Site); err != nil {
		return err
	}
	return a.SetMemberHere(ctx, who.Site, api.SetRemoved)
}

// mayLeave says whether a site holds nothing that the others need its agent for.
func mayLeave(s *failover.State, site failover.SiteID) error {
	var held []string
	for id, p := range s.Guests {
		if p.Owner == site && s.Network != nil && s.Network.Home(id) != site {
			held = append(held, string(id))
		}
	}
	for id, op := range s.Ops {
		if op.Phase.Ended() {
			continue
		}
		for _, run := range op.Guests {
			if run.Assignment.Target == site {
				held = append(held, string(id))
				break
			}
		}
	}
	if len(held) == 0 {
		return nil
	}
	slices.Sort(held)
	return api.NotNow(fmt.Sprintf("%s holds what is away from home or under way: %s; bring it home or end it first", site, strings.Join(held, ", ")))
}

// leave asks the leader to expel this agent, and destroys the authority's key here.
func (d *daemon) leave(ctx context.Context) error {
	if err := mayLeave(d.node.State(), d.conf.Site); err != nil {
		return err
	}
	if _, leads := d.node.Lead(); leads {
		return api.NotNow("this agent leads just now: wwwctl cluster step-down, then again")
	}
	err := failover.ErrNoLeader
	for _, addr := range d.whoExpels() {
		if err = d.peers.client(addr).Leave(ctx); err == nil || isExpelled(err) {
			return d.forgetAuthority()
		}
	}
	return err
}

// whoExpels lists whom to ask to be expelled: the leader; where none is heard,
// all others: an agent that the first try took out of the group, and whose answer
// was lost, hears no leader any more.
func (d *daemon) whoExpels() []string {
	if _, addr := d.leader(); addr != "" {
		return []string{addr}
	}
	var all []string
	members := d.node.State().Members
	for _, site := range slices.Sorted(maps.Keys(members)) {
		if site != d.conf.Site {
			all = append(all, members[site].Address)
		}
	}
	return all
}

// isExpelled says whether another agent refuses our certificate, as it refuses a
// revoked one: with this alert of TLS, which has no type of its own.
func isExpelled(err error) bool { return strings.Contains(err.Error(), "tls: bad certificate") }
