package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// clusterCommand dispatches to the verbs about the group itself.
func clusterCommand(a *app, fs *flag.FlagSet) runner {
	lost := fs.String("lost", "", "recover: `SITE,SITE` that are given up, every one that does not answer")
	return func(ctx context.Context, args []string) error {
		if len(args) == 0 {
			return usagef("want peers, set, remove, step-down, snapshot or recover")
		}
		rest := args[1:]
		switch args[0] {
		case "peers":
			return a.peersView(ctx, rest)
		case "set":
			if err := need(rest, 2, 2, "SITE and voter or nonvoter"); err != nil {
				return err
			}
			return a.setMember(ctx, rest[0], rest[1])
		case "remove":
			if err := need(rest, 1, 1, "the site"); err != nil {
				return err
			}
			return a.setMember(ctx, rest[0], api.SetRemoved)
		case "step-down":
			return a.stepDown(ctx, rest)
		case "snapshot":
			return a.snapshot(ctx, rest)
		case "recover":
			return a.recoverGroup(ctx, rest, *lost)
		}
		return usagef("want peers, set, remove, step-down, snapshot or recover, not %q", args[0])
	}
}

func (a *app) setMember(ctx context.Context, site, set string) error {
	req := api.MemberRequest{Site: failover.SiteID(site), Set: set}
	if a.g.dryRun {
		a.say("would make %s %s", site, set)
		return nil
	}
	switch set {
	case api.SetVoter:
	case api.SetNonvoter:
		a.say("%s keeps watching and restoring; its vote no longer counts, and a majority is one of fewer.", site)
	case api.SetRemoved:
		a.say("The agent of %s leaves the group and its certificate is refused for good;\nit comes back with an empty /var/lib/www and a token only.", site)
	default:
		return usagef("want voter or nonvoter, not %q", set)
	}
	if set != api.SetVoter {
		if err := a.askName(ctx, site); err != nil {
			return err
		}
		req.Confirm = site
	}
	_, err := request(ctx, a, func(ctx context.Context) (struct{}, error) { return struct{}{}, a.client.SetMember(ctx, req) })
	if err != nil {
		return err
	}
	a.printf("%s is %s now\n", site, set)
	return nil
}

func (a *app) stepDown(ctx context.Context, args []string) error {
	if err := need(args, 0, 0, ""); err != nil {
		return err
	}
	if a.g.dryRun {
		a.say("would have the leader's agent restart")
		return nil
	}
	if err := a.askYes(ctx, "Have the leader's agent restart, so that another leads?"); err != nil {
		return err
	}
	done, err := request(ctx, a, a.client.StepDown)
	if err != nil {
		return err
	}
	if a.structured() != "" {
		return a.print(accepted(done))
	}
	a.printf("%s steps down; another leads in some seconds: wwwctl cluster peers\n", done.Leader)
	return nil
}

func (a *app) snapshot(ctx context.Context, args []string) error {
	if err := need(args, 2, 2, "save, inspect or restore, and the FILE"); err != nil {
		return err
	}
	switch file := args[1]; args[0] {
	case "save":
		return a.saveSnapshot(ctx, file)
	case "inspect":
		s, _, err := readSnapshot(file)
		if err != nil {
			return err
		}
		return a.print(a.snapshotView(s))
	case "restore":
		return a.restoreSnapshot(ctx, file)
	}
	return usagef("want snapshot save, inspect or restore, not %q", args[0])
}

func (a *app) saveSnapshot(ctx context.Context, file string) error {
	got, err := request(ctx, a, a.client.Snapshot)
	if err != nil {
		return err
	}
	s, err := cluster.DecodeSnapshot(got.Snapshot)
	if err != nil {
		return fail(exitFailure, "WWW-3013", "endpoint", a.client.Endpoint(), "why", err.Error())
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fail(exitFailure, "WWW-3014", "why", err.Error())
	}
	_, err = f.Write(got.Snapshot)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(file) // half written
		return fail(exitFailure, "WWW-3014", "why", err.Error())
	}
	a.printf("%s: state of generation %d up to entry %d, %d bytes\n", file, s.Generation, s.Index, len(got.Snapshot))
	a.say("no secret is in it; names, addresses and phone numbers are")
	return nil
}

func readSnapshot(file string) (*failover.State, []byte, error) {
	info, err := os.Stat(file)
	if err == nil && info.Size() > 512<<20 {
		err = fmt.Errorf("%s: larger than any snapshot", file)
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, nil, fail(exitFailure, "WWW-3014", "why", err.Error())
	}
	s, err := cluster.DecodeSnapshot(b)
	if err != nil {
		return nil, nil, fail(exitFailure, "WWW-3014", "why", file+": "+err.Error())
	}
	return s, b, nil
}

// snapshotSummary is what a person wants to know before they use a snapshot.
type snapshotSummary struct {
	Network    string             `json:"network"`
	Generation uint64             `json:"generation"`
	Index      uint64             `json:"index"`
	At         time.Time          `json:"at"`
	Members    []failover.SiteID  `json:"members"`
	Guests     int                `json:"guests"`
	Away       []failover.GuestID `json:"away"`
	Open       []failover.OpID    `json:"open_operations"`
}

func (a *app) snapshotView(s *failover.State) view {
	sum := snapshotSummary{Generation: s.Generation, Index: s.Index, At: s.Clock, Guests: len(s.Guests), Away: []failover.GuestID{}, Open: []failover.OpID{}}
	if s.Network != nil {
		sum.Network = s.Network.Network
	}
	for site := range s.Members {
		sum.Members = append(sum.Members, site)
	}
	for id, p := range s.Guests {
		if s.Network != nil && p.Owner != s.Network.Home(id) {
			sum.Away = append(sum.Away, id)
		}
	}
	for id, op := range s.Ops {
		if !op.Phase.Ended() {
			sum.Open = append(sum.Open, id)
		}
	}
	slices.Sort(sum.Members)
	slices.Sort(sum.Away)
	slices.Sort(sum.Open)
	t := table{cols: cols("NETWORK", "GENERATION", "ENTRY", "AT", "MEMBERS", "GUESTS", "AWAY", "OPEN")}
	t.add(c(dash(sum.Network)), c(fmt.Sprint(sum.Generation)), c(fmt.Sprint(sum.Index)), c(a.show.date(sum.At)), c(fmt.Sprint(len(sum.Members))),
		c(fmt.Sprint(sum.Guests)), c(fmt.Sprint(len(sum.Away))), c(fmt.Sprint(len(sum.Open))))
	return view{kind: "SnapshotSummary", data: sum, table: t}
}

// restoreSnapshot begins a network on an agent that belongs to none, with the
// state of a file.
func (a *app) restoreSnapshot(ctx context.Context, file string) error {
	s, b, err := readSnapshot(file)
	if err != nil {
		return err
	}
	name := file
	if s.Network != nil {
		name = s.Network.Network
	}
	a.say("A new group begins with what %s says of %s (%s): generation %d, everything paused.\n"+
		"Do this only if every agent of the old group is lost for good. If one lives: wwwctl cluster recover there.", file, name, a.show.date(s.Clock), s.Generation+1)
	if a.g.dryRun {
		return nil
	}
	if err := a.askName(ctx, name); err != nil {
		return err
	}
	text, err := request(ctx, a, func(ctx context.Context) (string, error) {
		return a.client.Verb(ctx, "/v1/onboard/restore", map[string][]byte{"snapshot": b})
	})
	if err != nil {
		return err
	}
	a.printf("%s\n", text)
	return a.awaitLeader(ctx)
}

// recoverGroup is the way out when the majority is lost for good.
func (a *app) recoverGroup(ctx context.Context, args []string, lost string) error {
	if err := need(args, 0, 0, ""); err != nil {
		return err
	}
	if lost == "" {
		return usagef("--lost is missing: name every member that is lost for good, as in --lost moulin,halle; wwwctl cluster peers lists them")
	}
	a.say("This gives up the group for good and begins a new one with what this agent alone knows:\n"+
		"  given up: %s. Their agents are refused from then on, whatever they know.\n"+
		"  What the group agreed on last and this agent never heard is lost.\n"+
		"  Every other agent that lives must be emptied and join again with a token.\n"+
		"  Automatic failover is paused, and no open operation moves until you have confirmed it.", lost)
	if a.g.dryRun {
		return nil
	}
	name := a.g.confirm
	if name == "" {
		var err error
		if name, err = a.ask(ctx, "Type the name of the network to go on: ", "use --confirm=NETWORK"); err != nil {
			return err
		}
	}
	body := map[string]any{"network": name, "lost": strings.Split(lost, ",")}
	text, err := request(ctx, a, func(ctx context.Context) (string, error) { return a.client.Verb(ctx, "/v1/cluster/recover", body) })
	if err != nil {
		return err
	}
	a.printf("%s\n", text)
	return nil
}
