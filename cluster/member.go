package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raoull/worldwidewelsh/failover"
)

var (
	// ErrAlreadyBootstrapped says that this agent already has a log.
	ErrAlreadyBootstrapped = errors.New("already bootstrapped")

	// ErrSiteTaken says that a site already has a member with another server id.
	ErrSiteTaken = errors.New("the site already has a member")
)

// Suffrage says whether a member votes.
type Suffrage string

// Suffrages. A site that has only a mobile uplink should not vote: its line
// would cost elections.
const (
	Voter    Suffrage = "voter"
	Nonvoter Suffrage = "nonvoter"
)

// Member is one server of the raft configuration.
type Member struct {
	Site     failover.SiteID // "" while State does not name it yet
	ServerID string
	Address  string
	Suffrage Suffrage
}

// promoteLag is how many entries a member may be behind to become a voter, and
// promotePoll how often that is looked at.
const (
	promoteLag  = 100
	promotePoll = 50 * time.Millisecond
)

// Bootstrap begins the log of a new network with this agent as its only
// member: once, by an explicit word of a person, on one agent. generation must
// be above that of every log the network ever had (0 = 1, for the first). It
// may be repeated after it was interrupted; on an agent that has a log it
// fails with ErrAlreadyBootstrapped.
func (n *Node) Bootstrap(ctx context.Context, generation uint64) error {
	self := raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(n.id), Address: raft.ServerAddress(n.cfg.Advertise)}
	err := n.wait(ctx, n.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{self}}))
	if errors.Is(err, raft.ErrCantBootstrap) && !n.halfBootstrapped() {
		return fmt.Errorf("bootstrap %s: %w", n.cfg.Network, ErrAlreadyBootstrapped)
	}
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) {
		return fmt.Errorf("bootstrap %s: %w", n.cfg.Network, err)
	}
	_, err = n.Propose(ctx, failover.Bootstrap{Network: n.cfg.Network, Generation: generation})
	if _, raced := errors.AsType[*failover.RejectedError](err); err != nil && !raced {
		return fmt.Errorf("bootstrap %s: %w", n.cfg.Network, err)
	}
	return n.record(ctx, failover.SetMember{Site: n.cfg.Site, ServerID: n.id, Address: n.cfg.Advertise, Voter: true})
}

// halfBootstrapped says whether an earlier Bootstrap of this agent was
// interrupted: alone in the configuration, and no member recorded.
func (n *Node) halfBootstrapped() bool {
	servers := n.raft.GetConfiguration().Configuration().Servers
	return len(servers) == 1 && servers[0].ID == raft.ServerID(n.id) && len(n.State().Members) == 0
}

func (n *Node) record(ctx context.Context, c failover.Command) error {
	if _, err := n.Propose(ctx, c); err != nil {
		return fmt.Errorf("record member: %w", err)
	}
	return nil
}

// Members returns the raft configuration as this agent has it (perhaps not
// committed yet), ordered by server id.
func (n *Node) Members() []Member {
	sites := map[string]failover.SiteID{}
	for site, m := range n.State().Members {
		sites[m.ServerID] = site
	}
	var members []Member
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		m := Member{Site: sites[string(s.ID)], ServerID: string(s.ID), Address: string(s.Address), Suffrage: Nonvoter}
		if s.Suffrage == raft.Voter {
			m.Suffrage = Voter
		}
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ServerID, b.ServerID) })
	return members
}

// AddMember brings a member to the wanted address and suffrage; only the
// leader can, else ErrNoLeader. A new voter first follows without a vote until
// it has caught up, so that it never weakens the quorum; if ctx ends before
// that, it stays a non-voter and AddMember may be repeated. One site has one
// member: ErrSiteTaken if State names another for it.
func (n *Node) AddMember(ctx context.Context, site failover.SiteID, serverID, addr string, want Suffrage) error {
	if site == "" || serverID == "" || addr == "" || want != Voter && want != Nonvoter {
		return fmt.Errorf("add member %q: site, server id, address and suffrage (voter, nonvoter) are needed", site)
	}
	release, err := n.changeMembers(ctx)
	if err != nil {
		return fmt.Errorf("add member %s: %w", site, err)
	}
	defer release()
	if old, ok := n.State().Members[site]; ok && old.ServerID != serverID {
		return fmt.Errorf("add member %s: it is server %s; remove that one first: %w", site, old.ServerID, ErrSiteTaken)
	}
	if err := n.admit(ctx, site, raft.ServerID(serverID), raft.ServerAddress(addr), want); err != nil {
		return fmt.Errorf("add member %s: %w", site, err)
	}
	return nil
}

func (n *Node) admit(ctx context.Context, site failover.SiteID, id raft.ServerID, addr raft.ServerAddress, want Suffrage) error {
	at, err := n.configIndex()
	if err != nil {
		return err
	}
	now, known := n.server(id)
	votes := known && now.Suffrage == raft.Voter
	switch {
	case votes && want == Nonvoter:
		err = n.change(ctx, n.raft.DemoteVoter(id, at, n.cfg.Timing.Attempt))
		votes = false
	case votes && now.Address != addr:
		err = n.change(ctx, n.raft.AddVoter(id, addr, at, n.cfg.Timing.Attempt))
	case !known || now.Address != addr:
		err = n.change(ctx, n.raft.AddNonvoter(id, addr, at, n.cfg.Timing.Attempt))
	}
	if err != nil {
		return err
	}
	member := failover.SetMember{Site: site, ServerID: string(id), Address: string(addr), Voter: votes}
	if err := n.record(ctx, member); err != nil || votes || want == Nonvoter {
		return err
	}
	return n.promote(ctx, member)
}

// promote gives a follower its vote as soon as it has caught up.
func (n *Node) promote(ctx context.Context, m failover.SetMember) error {
	id := raft.ServerID(m.ServerID)
	if err := n.awaitFollower(ctx, id); err != nil {
		return fmt.Errorf("it follows, but has no vote yet: %w", err)
	}
	at, err := n.configIndex()
	if err != nil {
		return err
	}
	if err := n.change(ctx, n.raft.AddVoter(id, raft.ServerAddress(m.Address), at, n.cfg.Timing.Attempt)); err != nil {
		return err
	}
	m.Voter = true
	return n.record(ctx, m)
}

// SetSuffrage gives a member of the group its vote, or takes it; only the
// leader can, and takes none from itself. It refuses to take a vote that the
// remaining voters cannot do without just now (ErrNeeded).
func (n *Node) SetSuffrage(ctx context.Context, site failover.SiteID, want Suffrage) error {
	m, ok := n.State().Members[site]
	switch {
	case n.leading() == nil:
		return fmt.Errorf("change the vote of %s: %w", site, failover.ErrNoLeader)
	case !ok:
		return fmt.Errorf("change the vote of %s: no such member", site)
	case want == Nonvoter && m.ServerID == n.id:
		return fmt.Errorf("change the vote of %s: it leads; stop its agent and ask the next leader", site)
	case want == Nonvoter:
		if err := n.maySpare(m.ServerID); err != nil {
			return fmt.Errorf("change the vote of %s: %w", site, err)
		}
	}
	return n.AddMember(ctx, site, m.ServerID, m.Address, want)
}

// ErrNeeded says that without a voter no majority of the others would answer.
var ErrNeeded = errors.New("the other voters would have no majority")

// maySpare says whether the group can lose a voter: whether a majority of those
// that remain is heard. Raft itself would take the change, and then stand still.
func (n *Node) maySpare(serverID string) error {
	heard := n.trans.heard()
	voters, answer := 0, 0
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter || string(s.ID) == serverID {
			continue
		}
		voters++
		p, ok := heard[s.ID]
		if string(s.ID) == n.id || ok && time.Since(p.Heard) < 2*n.cfg.Timing.Heartbeat {
			answer++
		}
	}
	if answer < voters/2+1 {
		return fmt.Errorf("%d of %d answer: %w", answer, voters, ErrNeeded)
	}
	return nil
}

// CanStepDown says whether this agent leads and the others can choose another
// leader without it just now.
func (n *Node) CanStepDown() error {
	if n.leading() == nil {
		return fmt.Errorf("step down: %w", failover.ErrNoLeader)
	}
	heard := n.trans.heard()
	voters, others := 0, 0
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if p, ok := heard[s.ID]; ok && string(s.ID) != n.id && time.Since(p.Heard) < 2*n.cfg.Timing.Heartbeat {
			others++
		}
	}
	if need := voters/2 + 1; others < need {
		return fmt.Errorf("step down: %d of the other voters answer, and %d are needed to choose a leader: %w", others, need, ErrNeeded)
	}
	return nil
}

// RemoveMember takes a site's member out of the group; only the leader can,
// and not itself: stop its agent first, and ask the next leader. Nothing ever
// removes a member by itself, however long it is silent.
func (n *Node) RemoveMember(ctx context.Context, site failover.SiteID) error {
	release, err := n.changeMembers(ctx)
	if err != nil {
		return fmt.Errorf("remove member %s: %w", site, err)
	}
	defer release()
	m, ok := n.State().Members[site]
	switch {
	case !ok:
		return fmt.Errorf("remove member %s: no such member", site)
	case m.ServerID == n.id:
		return fmt.Errorf("remove member %s: it leads; stop its agent and ask the next leader", site)
	}
	if err := n.maySpare(m.ServerID); m.Voter && err != nil {
		return fmt.Errorf("remove member %s: %w", site, err)
	}
	at, err := n.configIndex()
	if err != nil {
		return fmt.Errorf("remove member %s: %w", site, err)
	}
	if _, known := n.server(raft.ServerID(m.ServerID)); known {
		if err := n.change(ctx, n.raft.RemoveServer(raft.ServerID(m.ServerID), at, n.cfg.Timing.Attempt)); err != nil {
			return fmt.Errorf("remove member %s: %w", site, err)
		}
	}
	return n.record(ctx, failover.RemoveMember{Site: site})
}

// changeMembers demands leadership and makes changes follow one another.
func (n *Node) changeMembers(ctx context.Context) (release func(), err error) {
	if n.leading() == nil {
		return nil, failover.ErrNoLeader
	}
	select {
	case n.changing <- struct{}{}:
		return func() { <-n.changing }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-n.ctx.Done():
		return nil, errClosed
	}
}

func (n *Node) change(ctx context.Context, f raft.IndexFuture) error {
	switch err := n.wait(ctx, f); {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", failover.ErrNoLeader, err)
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrRaftShutdown), errors.Is(err, raft.ErrAbortedByRestore):
		return fmt.Errorf("%w: %w", failover.ErrUnknown, err) // the change may be in somebody's log
	case err != nil:
		return err
	}
	return n.fsm.waitFor(ctx, f.Index())
}

func (n *Node) server(id raft.ServerID) (raft.Server, bool) {
	servers := n.raft.GetConfiguration().Configuration().Servers
	i := slices.IndexFunc(servers, func(s raft.Server) bool { return s.ID == id })
	if i < 0 {
		return raft.Server{}, false
	}
	return servers[i], true
}

// configIndex is the index of the committed configuration, for raft's compare
// and set. It stands in an entry that this node applied or in its newest
// snapshot; raft v1.7.3 does not tell it (GetConfiguration().Index() is 0).
func (n *Node) configIndex() (uint64, error) {
	at := n.fsm.configIndex()
	snaps, err := n.snaps.List()
	if err != nil {
		return 0, fmt.Errorf("list snapshots: %w", err)
	}
	for _, s := range snaps {
		at = max(at, s.ConfigurationIndex)
	}
	return at, nil
}

// awaitFollower returns when the member's log is nearly as long as what is
// committed, as it told in answer to a recent heartbeat.
func (n *Node) awaitFollower(ctx context.Context, id raft.ServerID) error {
	tick := time.NewTicker(promotePoll)
	defer tick.Stop()
	for {
		p, heard := n.trans.heard()[id]
		switch {
		case n.leading() == nil:
			return failover.ErrNoLeader
		case heard && time.Since(p.Heard) < n.cfg.Timing.Heartbeat && p.LastIndex+promoteLag >= n.raft.CommitIndex() && p.LastIndex > 0:
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-n.ctx.Done():
			return errClosed
		}
	}
}
