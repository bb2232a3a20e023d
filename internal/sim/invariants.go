package sim

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

// checker holds the invariants that need the world outside State. What one
// state shows (S1, S4, S6, S10 and parts of others) failover.Check says, which
// the log calls for every entry.
type checker struct {
	w        *World
	err      error
	compared time.Time // when the nodes' states were

	proved   map[string]bool               // site/vmid of copies that answered their check
	starts   map[string]int                // accepted starts per site/vmid
	restores map[string]int                // accepted restores per site
	content  map[failover.SiteID]string    // what a server's answers were last checked for
	behind   map[failover.SiteID]time.Time // since when a server in contact differs from the log

	truth     *truth
	ledger    *ledger
	newest    failover.Epoch                 // that was given to any guest
	admitted  map[string]bool                // op/index of the entries that admitted guests
	shown     map[failover.GuestID]string    // site/vmid of the copy that was last served
	ranOn     map[failover.GuestID]bool      // its home copy ran when it became another site's, and has since
	lives     int                            // restores of guests that run meanwhile
	calls     map[string]int                 // of programs, by their token
	foreign   map[string]bool                // site/vmid of guests that a person made, or took into their own hands
	byHand    map[string]bool                // site/vmid of home guests that a person stopped
	contact   map[failover.SiteID]time.Time  // sites that count as cut off, in contact since
	aloneAt   map[failover.SiteID]uint64     // the entry that a site knew when it was cut off
	replaced  map[failover.Place]bool        // copies that people have deleted for want of room
	asked     map[string]bool                // operation and guest of which people were asked to
	branches  map[failover.GuestID]leftAway  // what failbacks that kept the copy at home have left elsewhere
	left      map[failover.Place]bool        // copies that failbacks have left, and may have shut down
	unsettled map[failover.Place]time.Time   // copies that came home, or stood down, since then: they do not start with their host
	parked    map[failover.GuestID]bool      // whose home copy a person keeps off beside another one, and from starting with its host
	stood     map[string]bool                // site/vmid of home copies that an agent has shut down at a return; true: it was seen off
	handled   map[string]bool                // site/vmid of copies that a person started or deleted
	alone     map[failover.SiteID]time.Time  // since when it is cut off, and
	together  map[failover.SiteID]time.Time  // when it last was no more
	lonelyOff map[failover.HostID][]int      // guests that were shut down because their site was
	calledOff map[failover.SiteID]time.Time  // when an admitted rescue there was cancelled
	heldAlone map[failover.GuestID]time.Time // when an operation last held one that was shut down so
	dropped   map[failover.Place]time.Time   // when its removal or fork was given up
	forks     map[failover.Place]bool        // copies that are guests of their own, and nobody's concern
	stopped   map[string]time.Time           // op/guest: when a run was stuck or cancelled
	offers    map[string]shownOffer          // op/hash: what a person was shown
	jumps     map[failover.SiteID]time.Time  // when a wall clock was last moved by a step
	thaws     map[failover.SiteID]time.Time  // when a frozen agent last went on
}

func newChecker(w *World) *checker {
	return &checker{
		w: w, proved: map[string]bool{}, starts: map[string]int{}, restores: map[string]int{},
		content: map[failover.SiteID]string{}, behind: map[failover.SiteID]time.Time{},
		truth: newTruth(w), ledger: newLedger(w), admitted: map[string]bool{}, shown: map[failover.GuestID]string{}, ranOn: map[failover.GuestID]bool{},
		calls: map[string]int{}, foreign: map[string]bool{}, byHand: map[string]bool{}, left: map[failover.Place]bool{}, branches: map[failover.GuestID]leftAway{}, unsettled: map[failover.Place]time.Time{}, parked: map[failover.GuestID]bool{},
		contact: map[failover.SiteID]time.Time{}, aloneAt: map[failover.SiteID]uint64{}, replaced: map[failover.Place]bool{}, asked: map[string]bool{},
		stood: map[string]bool{}, handled: map[string]bool{}, forks: map[failover.Place]bool{}, heldAlone: map[failover.GuestID]time.Time{}, dropped: map[failover.Place]time.Time{},
		alone: map[failover.SiteID]time.Time{}, together: map[failover.SiteID]time.Time{}, lonelyOff: map[failover.HostID][]int{}, calledOff: map[failover.SiteID]time.Time{}, stopped: map[string]time.Time{}, offers: map[string]shownOffer{},
		jumps: map[failover.SiteID]time.Time{}, thaws: map[failover.SiteID]time.Time{},
	}
}

// violated keeps the first violation; the loop ends with it.
func (c *checker) violated(err error) {
	if c.err == nil {
		c.err = err
		c.w.tell("VIOLATION: %v", err)
	}
}

func (c *checker) fail(id, format string, args ...any) {
	c.violated(fmt.Errorf("invariant %s violated: %s", id, fmt.Sprintf(format, args...)))
}

func at(site failover.SiteID, vmid int) string { return string(site) + "/" + strconv.Itoa(vmid) }

// checked notes that a guest has answered its check.
func (c *checker) checked(s *Site, g lab.GuestView) { c.proved[at(s.name, g.ID)] = true }

// committed checks the entries whose truth lies in the world.
func (c *checker) committed(prev, next *failover.State, e Committed) {
	if e.Rejected != nil {
		return
	}
	c.fixed(prev, next)
	switch cmd := e.Command.(type) {
	case failover.StepMoved:
		if cmd.Token.Step == failover.StepRestore && cmd.To == failover.StatusDone {
			c.restored(next, cmd)
		}
		if run := next.Ops[cmd.Token.Op].Guests[cmd.Token.Guest]; cmd.Token.Step == failover.StepLive && cmd.To == failover.StatusDone {
			// Its start was accepted, also when the answer was that of a second request.
			c.starts[at(run.Assignment.Target, run.VMID)]++
		}
		if run := next.Ops[cmd.Token.Op].Guests[cmd.Token.Guest]; cmd.Token.Step == failover.StepCheck && cmd.To == failover.StatusDone && c.doubled(run) {
			c.proved[at(run.Assignment.Target, run.VMID)] = true
		}
		c.homeward(next, cmd)
		c.leftBehind(prev, next, cmd)
	case failover.BeginOp:
		c.byItself(prev, cmd)
		c.drops(prev, next)
		switch op := failover.OpID(fmt.Sprintf("op-%d", e.Stamp.Index)); {
		case cmd.Forced && cmd.Op == "", cmd.Window:
			c.admits(op, e.Stamp.Index)
		case cmd.Forced && prev.Ops[cmd.Op].Phase == failover.OpScheduled: // a person asked for it, and for this time
			c.admits(cmd.Op, e.Stamp.Index)
		}
	case failover.CancelOp:
		c.drops(prev, next)
		if op := prev.Ops[cmd.Op]; admittedRescue(op) {
			c.calledOff[op.Plan.Loss.Site] = c.w.loop.Now()
		}
	case failover.Approve:
		c.admits(cmd.Op, e.Stamp.Index)
		c.approved(next, cmd, e.Stamp.Index)
	case failover.CommitOp:
		c.admits(cmd.Op, e.Stamp.Index)
		if op := next.Ops[cmd.Op]; op.Committed.Index == next.Index {
			c.truth.given(op.Plan.Loss, c.w.opts.Timing.Commit)
			c.truth.counted(op.Domain, op.Votes)
		}
	case failover.Serve:
		run := next.Ops[cmd.Token.Op].Guests[cmd.Token.Guest]
		c.shown[cmd.Token.Guest] = at(run.Assignment.Target, run.VMID)
		if c.doubled(run) {
			c.proved[at(run.Assignment.Target, run.VMID)] = true
		}
		if !c.proved[at(run.Assignment.Target, run.VMID)] {
			c.fail("S2", "%s is shown at %s and its copy %d was never checked", cmd.Token.Guest, run.Assignment.Target, run.VMID)
		}
	case failover.Stick:
		c.stopped[fmt.Sprintf("%s %s", cmd.Op, cmd.Guest)] = c.w.loop.Now()
	case failover.Own:
		c.owned(prev, next, cmd.Token, e.Stamp.Index)
		c.movedWhole(next, cmd.Token)
		c.mayNotStart(next, cmd.Token)
	}
}

func (c *checker) admits(op failover.OpID, index uint64) {
	c.admitted[fmt.Sprintf("%s %d", op, index)] = true
}

// owned: S1, an epoch is born with this very entry and is greater than all that
// were given before; S4, somebody admitted the guest; S3, its copy is there, off.
func (c *checker) owned(prev, next *failover.State, t failover.Token, index uint64) {
	run, epoch := next.Ops[t.Op].Guests[t.Guest], next.Guests[t.Guest].Epoch
	if epoch == prev.Guests[t.Guest].Epoch && index < next.Index {
		return // a proposal that was made twice
	}
	if want := (failover.Epoch{Generation: next.Generation, Index: index}); epoch != want || !c.newest.Less(epoch) {
		c.fail("S1", "%s is given epoch %s at %s, the newest was %s", t.Guest, epoch, want, c.newest)
	}
	c.newest = epoch
	c.ranOn[t.Guest] = c.homeRuns(t.Guest)
	if !c.admitted[fmt.Sprintf("%s %d", t.Op, run.Admitted)] {
		c.fail("S4", "%s is owned by %s and no entry admitted it: %d", t.Guest, run.Assignment.Target, run.Admitted)
	}
	if c.handled[at(run.Assignment.Target, run.VMID)] {
		return // between its restore and this entry a person did something to it: start and check will tell
	}
	if run.Assignment.Live {
		return // it is restored by its start
	}
	if g, ok := c.w.copyOf(run); !ok || g.Running && !run.Assignment.Keep.Stays() {
		c.fail("S3", "%s becomes %s's, whose copy %d exists=%t and runs=%t", t.Guest, run.Assignment.Target, run.VMID, ok, g.Running)
	}
}

// restored checks that a restore that is reported done is: ours, off, complete.
func (c *checker) restored(s *failover.State, m failover.StepMoved) {
	run := s.Ops[m.Token.Op].Guests[m.Token.Guest]
	if c.handled[at(run.Assignment.Target, run.VMID)] {
		return // it was, before a person did something to it
	}
	g, ok := c.w.copyOf(run)
	if !ok || g.Lock != "" || g.Running || g.Restored != run.Assignment.Point.Volid {
		c.fail("L2", "%s is reported restored as %s: exists=%t lock=%q running=%t from %q, want %q",
			m.Token.Guest, at(run.Assignment.Target, run.VMID), ok, g.Lock, g.Running, g.Restored, run.Assignment.Point.Volid)
	}
}

var (
	startPath   = regexp.MustCompile(`^/nodes/[^/]+/(?:qemu|lxc)/(\d+)/status/start$`)
	guestPath   = regexp.MustCompile(`^/nodes/[^/]+/(?:qemu|lxc)/(\d+)(/.*)?$`)
	forced      = regexp.MustCompile(`"force":\s*(1|true|"1")`)
	livePath    = regexp.MustCompile(`"live-restore":1,.*"vmid":(\d+)`) // keys in order
	restorePath = regexp.MustCompile(`^/nodes/[^/]+/(?:qemu|lxc)$`)
)

// effect checks a request that changed something: S3, S7, S8, S9.
func (c *checker) effect(s *Site, where string, req *http.Request, path string, status int, body []byte) {
	if restorePath.MatchString(path) && forced.Match(body) {
		c.fail("S7", "a restore at %s was asked for with force: %s", s.name, body)
	}
	if strings.HasPrefix(where, "pbs:") {
		c.stored(s, req.Method, path)
	}
	if strings.HasPrefix(where, "home:") {
		c.atHome(s, req, path, status)
		return
	}
	if !strings.HasPrefix(where, "pve:") || status != http.StatusOK {
		return
	}
	if m := startPath.FindStringSubmatch(path); m != nil {
		c.started(s, number(m[1]))
		return
	}
	if restorePath.MatchString(path) && req.Method == http.MethodPost {
		c.restores[string(s.name)]++
		c.restoredOver(s)
		if m := livePath.FindSubmatch(body); m != nil {
			c.lives++
			c.started(s, number(string(m[1])))
		}
		return
	}
	m := guestPath.FindStringSubmatch(path)
	switch {
	case m == nil:
	case m[2] == "/agent/ping":
	case m[2] == "/status/shutdown" && c.stoppedAlone(s, raoullHost(s.name), number(m[1])):
	case c.w.opts.Homeward && (m[2] == "/status/shutdown" || m[2] == "/config"): // of a copy that comes home
	case req.Method == http.MethodDelete && m[2] == "":
		c.deleted(s, number(m[1]))
	default:
		c.fail("S9", "%s %s of %s: no step does that", req.Method, path, s.name)
	}
}

func number(s string) int {
	n, _ := strconv.Atoi(s) // the expression matched digits only
	return n
}

// runAt finds the run that an id at a site belongs to, in the newest state.
func (c *checker) runAt(s *Site, vmid int) (op failover.Operation, run failover.GuestRun, ok bool) {
	state := c.w.log.Last()
	for _, id := range sortedKeys(state.Ops) {
		if kind := state.Ops[id].Kind; kind == failover.KindWake || kind == failover.KindRemoval {
			continue // what it starts, or removes, is a copy that another one has restored
		}
		for _, g := range sortedKeys(state.Ops[id].Guests) {
			r := state.Ops[id].Guests[g]
			if state.Ops[id].Kind == failover.KindTidy && r.Source.Of != "" && !r.Source.Unstarted {
				continue // the copy is kept: only its restore point is let go
			}
			if r.Assignment.Keep == failover.KeepBack && !r.Owned() {
				continue // its copy was there before
			}
			if r.Assignment.Target == s.name && r.VMID == vmid && r.Token > run.Token { // ids of warm copies come again
				op, run, ok = state.Ops[id], r, true
			}
		}
	}
	return op, run, ok
}

// started: S3, nothing starts but the copy of the newest owner.
func (c *checker) started(s *Site, vmid int) {
	op, run, ok := c.runAt(s, vmid)
	p := c.w.log.Last().Guests[run.Assignment.Guest]
	switch {
	case !ok:
		c.fail("S3", "start of %s, which no operation restored", at(s.name, vmid))
	case !run.Owned() || p.Owner != s.name || p.Epoch != run.Epoch:
		c.fail("S3", "start of %s for %s of %s: owner %s epoch %s, run epoch %s", at(s.name, vmid), run.Assignment.Guest, op.ID, p.Owner, p.Epoch, run.Epoch)
	}
	if !c.revived(failover.Place{Site: s.name, Host: raoullHost(s.name), VMID: vmid}) {
		c.wanted(s, op, run, vmid)
	}
	c.starts[at(s.name, vmid)]++
}

// wordAge is how old the leader's word may be when something is done that
// cannot be taken back (design section 5), and a call.
const wordAge = 3 * time.Second

// wanted: S3, nothing is done for a run whose token was taken back for longer
// than the leader's word counts.
func (c *checker) wanted(s *Site, op failover.Operation, run failover.GuestRun, vmid int) {
	since, ok := c.stopped[fmt.Sprintf("%s %s", op.ID, run.Assignment.Guest)]
	if now := c.w.loop.Now(); ok && run.State == failover.RunStuck && now.Sub(since) > wordAge {
		c.fail("S3", "start or removal of %s for %s of %s, which is stuck for %s", at(s.name, vmid), run.Assignment.Guest, op.ID, now.Sub(since))
	}
}

// deleted: S7, nothing is deleted but copies of ours that never ran.
func (c *checker) deleted(s *Site, vmid int) {
	if c.removed(s, vmid) {
		return
	}
	op, run, ok := c.runAt(s, vmid)
	p := c.w.log.Last().Guests[run.Assignment.Guest]
	if ok {
		c.wanted(s, op, run, vmid)
	}
	switch {
	case c.foreign[at(s.name, vmid)]:
		c.fail("S7", "deletion of %s, which a person made", at(s.name, vmid))
	case !ok && !c.wasTried(s, vmid):
		c.fail("S7", "deletion of %s, which is no copy of ours", at(s.name, vmid))
	case ok && run.Source.Unstarted: // its starts were refused
		c.neverWritten(run.Assignment.Guest, targetOf(run))
		delete(c.starts, at(s.name, vmid)) // ids of warm copies come again
	case c.starts[at(s.name, vmid)] > 0:
		c.fail("S7", "deletion of %s, which has run", at(s.name, vmid))
	case ok && run.Owned() || p.Owner == s.name && p.VMID == vmid:
		c.fail("S7", "deletion of %s, which owns %s", at(s.name, vmid), run.Assignment.Guest)
	}
}

// freed: S7, the root helper takes locks off stubs of ours only, which own
// nothing and have never run.
func (c *checker) freed(s *Site, vmid int) {
	if _, run, ok := c.runAt(s, vmid); ok && run.Owned() || c.starts[at(s.name, vmid)] > 0 || !ok && !c.wasTried(s, vmid) {
		c.fail("S7", "the root helper was asked about %s, which is no stub of ours", at(s.name, vmid))
	}
}

func (c *checker) wasTried(s *Site, vmid int) bool {
	state := c.w.log.Last()
	for _, op := range state.Ops {
		for _, run := range op.Guests {
			for _, t := range run.Tried {
				if t.Target == s.name && t.VMID == vmid {
					return true
				}
			}
		}
	}
	return false
}

// restoredOver: no effect is repeated. A guest's restore that ended well is not begun
// again under the same id.
func (c *checker) restoredOver(s *Site) {
	for _, g := range s.raoull.Guests() {
		run, _, ok := c.copyOf(s, g)
		again := restoresAgain(run) // what was deleted, or broke, is restored once more
		if ok && run.Owned() && !again && g.Lock == "create" && !run.Assignment.Live {
			c.fail("S3", "%s is restored over", at(s.name, g.ID))
		}
	}
}

// restoresAgain says whether a run stands at a restore, which comes again after a copy was deleted
// before its start, or its live restore broke.
func restoresAgain(run failover.GuestRun) bool {
	step, _, left := run.Current()
	return left && step.ID == failover.StepRestore
}

// copyOf finds the run of a copy of ours.
func (c *checker) copyOf(s *Site, g lab.GuestView) (failover.GuestRun, proxmox.Marker, bool) {
	m, ok := proxmox.ParseMarker(g.Config["description"])
	if !ok {
		return failover.GuestRun{}, m, false
	}
	_, run, ok := c.runAt(s, g.ID)
	return run, m, ok
}

// world looks at the machines: S3, S7, S9, S11.
func (c *checker) world() {
	now := c.w.loop.Now()
	for _, id := range c.w.ids {
		s := c.w.sites[id]
		if s.structure == nil || s.burnt {
			continue
		}
		s.structure.Advance(now)
		s.raoull.Advance(now)
		c.homes(s)
		c.addresses(s)
		for _, g := range s.raoull.Guests() {
			c.guest(s, g)
		}
	}
	c.converging(now)
	if now.Sub(c.compared) >= compareEvery {
		c.compared = now
		if err := c.w.log.Compare(); err != nil {
			c.violated(err)
		}
	}
}

// compareEvery is how often the nodes' states are compared: they are large.
const compareEvery = time.Minute

// homes: S9, home guests of a site with power run; S7, they are there.
func (c *checker) homes(s *Site) {
	for n, m := range s.guests {
		c.home(s, guestID(s.place, m), homeID(s.index, n))
		if id := c.w.declared(s, n); id != homeID(s.index, n) { // it came home
			c.home(s, guestID(s.place, m), id)
		}
	}
}

// home: the same for one copy.
func (c *checker) home(s *Site, of failover.GuestID, id int) {
	g, ok := s.structure.Guest(id)
	if !ok && c.replaced[onStructure(s.name, id)] {
		return
	}
	if !ok {
		c.fail("S7", "the home copy %d of %s is gone", id, of)
		return
	}
	switch off, asked := c.stood[at(s.name, g.ID)]; {
	case asked && !g.Running:
		c.stood[at(s.name, g.ID)] = true
	case off && g.Running: // somebody has started it
		delete(c.stood, at(s.name, g.ID))
	}
	if s.own && !g.Running && !c.mayBeLeft(onStructure(s.name, id)) && !c.mayBeUnsettled(s, onStructure(s.name, id)) && !c.stood[at(s.name, g.ID)] && !c.byHand[at(s.name, g.ID)] && !c.parked[of] && !c.forks[onStructure(s.name, id)] && !c.mayBeAlone(s, of, id) && !c.w.mayBeOff(of) {
		c.fail("S9", "the home copy %d of %s was stopped", id, of)
	}
}

// guest: S11, no copy runs on a foreign VLAN; S3, none runs that does not own.
func (c *checker) guest(s *Site, g lab.GuestView) {
	if !g.Running || c.foreign[at(s.name, g.ID)] {
		return
	}
	state := c.w.log.Last()
	_, run, ok := c.runAt(s, g.ID)
	if !ok {
		c.fail("S3", "%s runs and no operation knows it", at(s.name, g.ID))
		return
	}
	p := state.Guests[run.Assignment.Guest]
	// A copy that ran as its guest's owner and was cut off goes on when the guest
	// is given to another (S9), as a home copy does.
	superseded := c.starts[at(s.name, g.ID)] > 0 && run.Owned() && run.Epoch.Less(p.Epoch)
	if (p.Owner != s.name || p.VMID != g.ID) && !superseded {
		c.fail("S3", "%s runs and %s is owned by %s", at(s.name, g.ID), run.Assignment.Guest, at(p.Owner, p.VMID))
	}
	vlan := state.Network.Structures[run.Assignment.Structure].VLAN
	for _, n := range g.Nets {
		if n.Tag != vlan || n.Bridge != bridge {
			c.fail("S11", "%s of %s is on %s vlan %d, not %d", n.Key, at(s.name, g.ID), n.Bridge, n.Tag, vlan)
		}
	}
	if g.Config["onboot"] == "1" {
		c.fail("S9", "%s has onboot set", at(s.name, g.ID))
	}
}
