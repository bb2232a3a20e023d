package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
	"github.com/raoull/worldwidewelsh/internal/lab/nameserver"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Whom a step is struck by, beside its agent and the leader.
const (
	machineDies     moment = "machine-dies"     // the machine at which the step works loses its power, with it the agent that lives there, and boots again
	storeDies       moment = "store-dies"       // the PBS beside the agent that works ends, and is started again
	sourceDies      moment = "source-dies"      // the PBSs of the other sites, which the step pulls from
	namesSilent     moment = "names-silent"     // no name server of the zone says anything for a while
	machineGone     moment = "machine-gone"     // the target's machine dies for good: an act of its own for each step
	operatorPauses  moment = "operator-pauses"  // a person pauses every site, and resumes a while later
	operatorRetries moment = "operator-retries" // a person types wwwctl op retry, of which there is nothing to try again
	operatorCancels moment = "operator-cancels" // a person takes the operation back: an act of its own for each step
)

const (
	// machineOff is shorter than the silence after which others prepare for a loss: that is another story.
	machineOff = 5 * time.Second
	storeOff   = 5 * time.Second
	namesOff   = 4 * time.Second
	pauseFor   = 3 * time.Second
)

// cast is a row of rounds that is played in a lab of its own, at each site in turn.
type cast struct {
	name   string
	rounds [][]moment
	needed [][]moment // at one of each of these every step must be struck, at any site
	apart  [][]moment // the rounds of a story that is played once, each in a lab of its own; nil: one lab for all
}

// casts are those who die in each story.
func casts() []cast {
	return []cast{
		{
			name: "agents", rounds: [][]moment{{workerClaimed, leaderDone}, {workerActed}, {leaderActed}},
			needed: [][]moment{{workerClaimed, workerActed}, {leaderActed, leaderDone}},
		},
		{
			name: "others", // what was struck in an operation at one site is spared at the next
			rounds: [][]moment{
				{machineDies, operatorRetries, operatorPauses},
				{storeDies, sourceDies, operatorRetries, operatorPauses, namesSilent, machineDies},
				{operatorRetries, operatorPauses, namesSilent, storeDies, sourceDies, machineDies},
			},
			apart:  [][]moment{{machineDies}, {storeDies, sourceDies}, {operatorRetries, operatorPauses, namesSilent}},
			needed: [][]moment{{machineDies}, {storeDies}, {sourceDies}, {namesSilent}, {operatorPauses, operatorRetries}},
		},
	}
}

// alone is the cast of one kind of victim.
func alone(name string, m moment) []cast {
	return []cast{{name: name, rounds: [][]moment{{m}}, needed: [][]moment{{m}}}}
}

// labs are the casts of a story that are played, each in a lab of its own.
func (st story) labs() []cast {
	var out []cast
	for _, c := range st.cast() {
		if c.apart == nil || !st.once || *stepsCase != "" {
			out = append(out, c)
			continue
		}
		for i, round := range c.apart {
			one := cast{name: fmt.Sprintf("%s-%d", c.name, i+1), rounds: [][]moment{round}}
			for _, n := range c.needed {
				if slices.Contains(round, n[0]) {
					one.needed = append(one.needed, n)
				}
			}
			out = append(out, one)
		}
	}
	return out
}

// moments are all of a cast.
func (c cast) moments() []moment {
	var out []moment
	for _, m := range slices.Concat(c.rounds...) {
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// wanted says whether something of a story may be struck by a cast.
func (st story) wanted(c cast) bool {
	for _, a := range st.acts {
		for _, step := range a.steps {
			if slices.ContainsFunc(c.moments(), func(m moment) bool { return m.concerns(step) && a.matches(step, m) }) {
				return true
			}
		}
	}
	return false
}

// Steps that work at a PBS, beside their agent; those that pull from others' PBSs; and those around which
// names are published.
var (
	storeSteps = []failover.StepID{
		failover.StepProtect, failover.StepRestore, failover.StepLive, failover.StepRelease, failover.StepCleanup,
		failover.StepReady, failover.StepBackup, failover.StepPull, failover.StepVerify,
		failover.StepSeal, failover.StepSealVerify, failover.StepSealCopy, failover.StepUnseal, failover.StepUnsealCopy,
	}
	sourceSteps = []failover.StepID{failover.StepReady, failover.StepPull, failover.StepSealCopy}
	namesSteps  = []failover.StepID{failover.StepCheck, failover.StepServe, failover.StepAfter}
	// runningSteps are those at which the copy that serves, or is about to, runs.
	runningSteps = []failover.StepID{
		failover.StepStart, failover.StepLive, failover.StepCheck, failover.StepWhole, failover.StepServe, failover.StepAfter,
		failover.StepRelease, failover.StepSettle,
	}
	// atStore are those that work at the PBS alone: what dies is its machine.
	atStore = []failover.StepID{
		failover.StepProtect, failover.StepRelease, failover.StepReady, failover.StepPull, failover.StepVerify,
		failover.StepSealVerify, failover.StepSealCopy, failover.StepUnseal, failover.StepUnsealCopy,
	}
)

// concerns says whether a victim matters at a step.
func (m moment) concerns(step failover.StepID) bool {
	switch m {
	case workerClaimed, workerActed, leaderActed:
		return !slices.Contains(leaderSteps, step)
	case storeDies:
		return slices.Contains(storeSteps, step)
	case sourceDies:
		return slices.Contains(sourceSteps, step)
	case namesSilent:
		return slices.Contains(namesSteps, step)
	}
	return true
}

// hostAt is the machine at a site at which a step works.
func (s *stepsLab) hostAt(at string, step failover.StepID) string {
	home := at == s.site && s.act.kind != failover.KindRescue && !s.story.lodged
	if home && !slices.Contains(atStore, step) {
		return "pve-" + at
	}
	return "raoull-" + at
}

// bootsApart is how far apart two starts of a machine lie for the program. A real one needs longer to
// boot, and this lab's none: a copy that runs loses its machine once in such a time.
const bootsApart = 65 * time.Second

// spared says whether a victim of a step is left alone: it was struck in this operation at another site;
// or the copy runs, and its machine has just died, or another step has its turn.
func (s *stepsLab) spared(step failover.StepID, m moment, at string) bool {
	if *stepsCase == "" && m.beside() && s.struck[s.act.name][strike{step, m}] > 0 {
		return true
	}
	if m != machineDies || !s.runs(step, at) {
		return false
	}
	first := slices.IndexFunc(s.act.steps, func(other failover.StepID) bool {
		return slices.Contains(runningSteps, other) && s.times(other, machineDies) < s.times(step, machineDies)
	})
	if time.Since(s.woke) < bootsApart {
		s.passed[strike{step, m}] = true
		return true
	}
	return *stepsCase == "" && slices.Contains(runningSteps, step) && first >= 0
}

// runs says whether a copy that serves, or is about to, runs on the machine at which a step works.
func (s *stepsLab) runs(step failover.StepID, at string) bool {
	serves := string(s.expected[failover.GuestID(s.guests()[0])])
	return slices.Contains(runningSteps, step) || serves == at && at != s.site
}

// times is how often a step was struck at a moment, in whatever act.
func (s *stepsLab) times(step failover.StepID, m moment) int {
	n := 0
	for _, struck := range s.struck {
		n += struck[strike{step, m}]
	}
	return n
}

// blow strikes a victim that is neither an agent nor the leader.
func (s *stepsLab) blow(ctx context.Context, x strike, at string) error {
	switch x.at {
	case machineDies:
		if s.runs(x.step, at) {
			s.woke = time.Now()
		}
		return s.loseMachine(ctx, at, s.hostAt(at, x.step))
	case storeDies:
		return s.loseStores(ctx, at)
	case sourceDies:
		return s.loseStores(ctx, slices.DeleteFunc(s.room.living(), func(name string) bool { return name == at })...)
	case namesSilent:
		return s.silenceNames()
	case operatorPauses:
		s.resume = time.Now().Add(pauseFor)
		return s.types(ctx, "pause", "--reason", "somebody is at work")
	case operatorRetries:
		return s.retriesWhatGoesOn(ctx)
	}
	return fmt.Errorf("nobody is struck at %s", x.at)
}

// retriesWhatGoesOn types wwwctl op retry where somebody is heard and knows the operation: an agent that was
// killed just now may not answer yet, or not have heard of it.
func (s *stepsLab) retriesWhatGoesOn(ctx context.Context) error {
	var last error
	for _, at := range s.room.living() {
		code, says, err := s.byHand(ctx, failover.SiteID(at), "op", "retry", string(s.op), "--yes")
		switch {
		case err != nil || code == refusedCode:
			return err
		case !strings.Contains(says, api.CodeNoAgent) && !strings.Contains(says, api.CodeNotFound):
			return fmt.Errorf("wwwctl op retry of what goes on ends with exit code %d, want %d: %s", code, refusedCode, says)
		}
		last = fmt.Errorf("nobody to ask for a retry: %s", says)
	}
	return last
}

// loseMachine takes the power of a machine for a while. The agent of a site lives on Raoull's.
func (s *stepsLab) loseMachine(ctx context.Context, at, host string) error {
	client := site.NewClient(s.room.dir, at)
	s.dead[host]++
	if err := client.Crash(ctx, host); err != nil {
		return err
	}
	agent := host == "raoull-"+at
	if agent {
		s.room.mute = at
		if err := s.room.children.Kill(agentOf(at)); err != nil {
			return err
		}
	}
	if err := errors.Join(site.Sleep(ctx, machineOff), client.Repair(ctx, host)); err != nil || !agent {
		return err
	}
	s.room.mute = ""
	return s.room.launchAgent(at)
}

// loseStores ends the PBSs of sites for a while.
func (s *stepsLab) loseStores(ctx context.Context, names ...string) error {
	names = slices.DeleteFunc(names, func(name string) bool {
		i, err := s.room.lab.Index(name)
		return err != nil || s.room.lab.Sites[i].Kind == network.Witness
	})
	each := func(do func(*site.Client) error) error {
		var errs []error
		for _, name := range names {
			errs = append(errs, do(site.NewClient(s.room.dir, name)))
		}
		return errors.Join(errs...)
	}
	for _, name := range names {
		s.dead["pbs:"+name]++
	}
	return errors.Join(
		each(func(c *site.Client) error { return c.StopStore(ctx) }), site.Sleep(ctx, storeOff),
		each(func(c *site.Client) error { return c.StartStore(ctx) }))
}

// resumes has the person who has paused resume, once it is time.
func (s *stepsLab) resumes(ctx context.Context) error {
	if s.resume.IsZero() || time.Now().Before(s.resume) {
		return nil
	}
	s.resume = time.Time{}
	return s.types(ctx, "resume")
}

// hush is the silence of the name servers, which goes on while the operation is followed.
type hush struct {
	mu    sync.Mutex
	until time.Time
}

// silenceNames has every name server of the zone say nothing for a while.
func (s *stepsLab) silenceNames() error {
	s.hush.mu.Lock()
	s.hush.until = time.Now().Add(namesOff)
	s.hush.mu.Unlock()
	time.AfterFunc(namesOff, func() {
		s.hush.mu.Lock()
		defer s.hush.mu.Unlock()
		if !time.Now().Before(s.hush.until) { // else another strike has come
			_ = s.names(s.room.fabric.Hear, syscall.SIGCONT) // who has ended meanwhile, with the lab, needs it no more
		}
	})
	return s.names(s.room.fabric.Silence, syscall.SIGSTOP)
}

// names does something to every name server of the zone: those of the agents and those of their own.
func (s *stepsLab) names(do func(site, service string), sig syscall.Signal) error {
	for _, name := range s.room.lab.Names() {
		do(name, "dns")
	}
	var errs []error
	for i := range s.room.lab.NameServers() {
		errs = append(errs, s.room.children.Signal(fmt.Sprintf("dns/ns%d", i+1), sig))
	}
	return errors.Join(errs...)
}

// again is how often something may be asked for at a machine: once, and once more for each time that the
// machine died, or the PBS that a restore there reads from.
func (s *stepsLab) again(what, at, host string) int {
	n := 1 + s.dead[host]
	if what == "qemu" || what == "lxc" {
		n += s.dead["pbs:"+at] + s.dead["raoull-"+at]
	}
	return n
}

// blows is how often something died in the act that a person may have to help over.
func (s *stepsLab) blows() int {
	n := 0
	for _, times := range s.dead {
		n += times
	}
	return n
}

// atConsole is what a person is told to type at the console of a host before anything is tried again.
var atConsole = regexp.MustCompile(`on (?:pve|raoull)-([a-z]+): ((?:(?:umount|qm|pct) [^;]+; )+)(?:then|and) `)

// doesAsTold has a person do at a host what a stuck guest tells them to.
func (s *stepsLab) doesAsTold(ctx context.Context, note string) error {
	told := atConsole.FindStringSubmatch(note)
	if told == nil {
		return nil
	}
	s.say("a person types at the console of the host at %s, as told: %s", told[1], told[2])
	client := site.NewClient(s.room.dir, told[1])
	for command := range strings.SplitSeq(strings.TrimSuffix(told[2], "; "), "; ") {
		words := strings.Fields(command)
		do, known := map[string]string{"unlock": "unlock", "destroy": "delete", "stop": "stop"}[words[1]]
		if words[0] == "umount" {
			continue // nothing is mounted by a host that has booted since
		}
		id, err := strconv.Atoi(words[len(words)-1])
		if err != nil || !known {
			return fmt.Errorf("nobody knows how to type %q: %w", command, err)
		}
		if err := client.Act(ctx, site.Act{Do: do, ID: id}); err != nil { // it may have no name yet
			return err
		}
	}
	return nil
}

// helps has a person do what is told by operations beside that of the act: what removes what a dead
// machine was left with may be stuck with it.
func (s *stepsLab) helps(ctx context.Context) error {
	ops, err := s.ops(ctx)
	if err != nil {
		return nil //nolint:nilerr // who does not answer is asked again
	}
	for _, op := range ops.Items {
		if s.known[op.ID] || op.ID == s.op || op.Phase != failover.OpStuck {
			continue
		}
		s.known[op.ID] = true
		for _, g := range op.Guests {
			if g.State == failover.RunStuck {
				s.stuck[op.ID] = append(s.stuck[op.ID], fmt.Sprintf("%s: %+v", g.Guest, g.Stuck))
				if err := s.doesAsTold(ctx, g.Stuck.Args["note"]); err != nil {
					return err
				}
			}
		}
		if err := s.types(ctx, "op", "retry", string(op.ID)); err != nil {
			return err
		}
	}
	return nil
}

// cast is who dies in a story, each in a lab of its own.
func (st story) cast() []cast {
	if st.casts != nil {
		return st.casts
	}
	return casts()
}

// server is who serves the zone of a story; "": nobody here can.
func (st story) server() string {
	if !st.zone {
		return site.Embedded
	}
	i := slices.IndexFunc(nameserver.Kinds(), func(kind string) bool { return nameserver.Check(kind) == nil })
	if i < 0 {
		return ""
	}
	return nameserver.Kinds()[i]
}

// beside says whether a moment is none of an agent.
func (m moment) beside() bool { return !slices.Contains(casts()[0].moments(), m) }

// ends says whether a moment is no strike beside others: an act of its own ends with it.
func (m moment) ends() bool { return m == operatorCancels || m == machineGone }

// owns says whether a step makes what was prepared the guest.
func owns(step failover.Step) bool {
	return step.ID == failover.StepOwn && step.Status == failover.StatusDone
}

// played says whether an act belongs to what is struck: what leads there always does.
func (a act) played() bool {
	if a.with != nil {
		return a.with.played()
	}
	return a.by == "" || a.matches(a.cancel, a.by)
}

// undone says whether the operation of the act is taken back at the step that it names.
func (a act) undone() bool { return a.cancel != "" && a.by != machineGone }

// at are the sites at which a story is played in turn.
func (st story) at(l *site.Lab) []string {
	return slices.DeleteFunc(l.Names(), func(name string) bool {
		return st.lodged && !slices.ContainsFunc(l.GuestsOf(name), func(g site.Member) bool { return g.Raoull })
	})
}

// matches says whether a step of the act is to be struck at a moment.
func (a act) matches(step failover.StepID, m moment) bool {
	ok, err := path.Match(*stepsCase, path.Join(a.name, string(step), string(m)))
	return *stepsCase == "" || ok && err == nil
}
