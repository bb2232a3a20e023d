package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
)

// rebuildRequest is the request of `wwwctl cluster recover`: the person types
// the network's name and every member that is given up.
type rebuildRequest struct {
	Network string            `json:"network"`
	Lost    []failover.SiteID `json:"lost"`
}

// leaderlessFor is how long this agent must have heard no leader before it may
// be made the only member: an election takes seconds.
const leaderlessFor = time.Minute

// askWithin bounds the question to each other member whether it lives.
const askWithin = 3 * time.Second

// rebuild gives up the group for good and begins a new one with what this agent
// knows. Nobody gets here by accident: the group must have no leader, those who
// still answer must be no majority and know no more than this agent, and the
// person must name the network and every member that does not answer.
func (d *daemon) rebuild(ctx context.Context, q rebuildRequest) (string, error) {
	if err := d.mayRebuild(ctx, q); err != nil {
		return "", err
	}
	d.again(&againError{why: "its group is rebuilt", do: func() error {
		if err := d.prepareRebuild(nil, "the log of "+string(d.conf.Site)); err != nil {
			return err
		}
		return cluster.CommitRebuild(d.conf.DataDir)
	}})
	return fmt.Sprintf("%s begins the group anew; wwwctl status in some seconds", d.conf.Site), nil
}

func (d *daemon) prepareRebuild(snapshot []byte, cause string) error {
	_, err := cluster.Rebuild{
		Dir: d.conf.DataDir, Network: d.conf.Network, Site: d.conf.Site, Address: d.conf.Advertise.String(),
		From: snapshot, Cause: cause, Actor: "local", Now: time.Now(),
	}.Prepare()
	return err
}

func (d *daemon) mayRebuild(ctx context.Context, q rebuildRequest) error {
	s := d.node.State()
	since, heard := d.node.LastContact()
	if !heard {
		since = time.Since(d.start)
	}
	_, leads := d.node.Lead()
	switch {
	case q.Network != d.conf.Network:
		return fmt.Errorf("this is network %s: its name must be typed", d.conf.Network)
	case d.authority.get() == nil:
		return errors.New("this agent does not hold the authority's key: run this where a voter is, " +
			"or restore a snapshot into an empty data directory (wwwctl cluster snapshot restore)")
	case leads || since < d.leaderless:
		return fmt.Errorf("the group has a leader, or had one %s ago: it is not lost. wwwctl cluster peers", since.Round(time.Second))
	}
	answer, more := d.askMembers(ctx, s)
	voters := 0
	for site := range answer {
		if s.Members[site].Voter {
			voters++
		}
	}
	if self := s.Members[d.conf.Site]; self.Voter {
		voters++
	}
	if need := s.Voters()/2 + 1; voters >= need {
		return fmt.Errorf("%d of %d voters live: that is a majority, they will choose a leader. "+
			"Repair the links between them: wwwctl cluster peers", voters, s.Voters())
	}
	if more != "" {
		return fmt.Errorf("%s lives and knows more of the log than this agent: run this there", more)
	}
	var lost []failover.SiteID
	for site := range s.Members {
		if !answer[site] && site != d.conf.Site {
			lost = append(lost, site)
		}
	}
	slices.Sort(lost)
	slices.Sort(q.Lost)
	if !slices.Equal(lost, q.Lost) {
		return fmt.Errorf("name every member that does not answer, and no other: --lost %s (you gave %q). "+
			"Each of them that comes back must be emptied before it joins", siteList(lost), siteList(q.Lost))
	}
	return nil
}

func siteList(sites []failover.SiteID) string {
	words := make([]string, len(sites))
	for i, s := range sites {
		words[i] = string(s)
	}
	return strings.Join(words, ",")
}

// askMembers says which other members answer, and whether one of them has a
// later entry than this agent.
func (d *daemon) askMembers(ctx context.Context, s *failover.State) (answer map[failover.SiteID]bool, more string) {
	type word struct {
		site    failover.SiteID
		applied uint64
		err     error
	}
	words := make(chan word, len(s.Members))
	asked := 0
	for site, m := range s.Members {
		if site == d.conf.Site {
			continue
		}
		asked++
		go func() {
			ctx, cancel := context.WithTimeout(ctx, askWithin)
			defer cancel()
			h, err := d.peers.client(m.Address).Health(ctx)
			words <- word{site, h.Applied, err}
		}()
	}
	answer = map[failover.SiteID]bool{}
	for range asked {
		w := <-words
		if w.err != nil {
			continue
		}
		answer[w.site] = true
		if w.applied > s.Index {
			more = string(w.site)
		}
	}
	return answer, more
}
