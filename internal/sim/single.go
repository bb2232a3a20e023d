package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Call is one outside call that the target's worker makes in a failover.
type Call struct {
	Boundary string // "nuage-moulin: restore: poll task"
	Where    string // "pve:fabrique"
}

// Single is one thing that goes wrong once, at one call.
type Single struct {
	Name  string
	Fault lab.Fault     // its effect strikes the call; Where and Match are set by the scenario
	Skew  time.Duration // or: the wall clock of the target's agent jumps
	// Stuck are the words of which one must be in the reason if the operation
	// ends with a person. None: the guest must be served unaided.
	Stuck []string
	// Again says that effects may be had again: a restore after a crash, or of an
	// older restore point.
	Again bool
}

// Singles returns the faults of the table: every effect of the lab's catalogue,
// some with several figures.
func Singles() []Single {
	status := func(code int, text string) Single {
		return Single{Name: fmt.Sprintf("status %d %s", code, text), Fault: lab.Fault{Effect: lab.EffectStatus, Status: code, Text: text}}
	}
	plain := func(e lab.Effect) Single { return Single{Name: string(e), Fault: lab.Fault{Effect: e}} }
	out := []Single{
		{Name: "delay", Fault: lab.Fault{Effect: lab.EffectDelay, Delay: 20 * time.Second}},
		plain(lab.EffectHang), plain(lab.EffectDropReply), plain(lab.EffectTwice), plain(lab.EffectHTML), plain(lab.EffectTruncate),
		status(401, "Authentication failed!"),
		status(500, "can't lock file '/var/lock/qemu-server/lock-91000.conf' - got timeout"),
		status(500, "got timeout"), status(503, "Service Unavailable"), status(595, "Connection refused"), status(596, "Broken pipe"),
		{
			Name: "status 403", Fault: lab.Fault{Effect: lab.EffectStatus, Status: 403, Text: "Permission check failed (/vms/91000, VM.Allocate)"},
			Stuck: []string{"Permission check failed"},
		},
		{Name: "clock ahead", Skew: 3 * time.Hour},
		{Name: "clock behind", Skew: -3 * time.Hour},
		{Name: "crash-host", Fault: lab.Fault{Effect: lab.EffectCrashHost}, Again: true},
		{Name: "kill-task", Fault: lab.Fault{Effect: lab.EffectKillTask}, Again: true},
		{Name: "fill-storage", Fault: lab.Fault{Effect: lab.EffectFillStorage}, Again: true, Stuck: []string{"No space left", "write_data_callback failed", "out of space"}},
		{Name: "lose-snapshot", Fault: lab.Fault{Effect: lab.EffectLoseSnapshot}, Again: true},
		{Name: "corrupt-snapshot", Fault: lab.Fault{Effect: lab.EffectCorruptSnapshot}, Again: true},
		{Name: "wrong-key", Fault: lab.Fault{Effect: lab.EffectWrongKey}, Again: true, Stuck: []string{"wrong key - manifest's key"}},
		{Name: "revoke-token", Fault: lab.Fault{Effect: lab.EffectRevokeToken}, Again: true, Stuck: []string{"401"}},
	}
	return slices.DeleteFunc(append(out, moreSingles()...), func(s Single) bool {
		return s.Fault.Effect != "" && !slices.Contains(lab.Effects(), s.Fault.Effect)
	})
}

// moreSingles are the effects that only some versions of the lab have, by name.
func moreSingles() []Single {
	row := func(effect, text string, d time.Duration, stuck ...string) Single {
		return Single{
			Name:  strings.TrimSpace(effect + " " + text),
			Fault: lab.Fault{Effect: lab.Effect(effect), Text: text, Delay: d},
			Again: len(stuck) > 0, Stuck: stuck,
		}
	}
	held := func(what string) Single {
		s := row("hold-lock", what, 20*time.Second)
		s.Again = true // what was accepted fails in its task
		return s
	}
	return []Single{
		row("lose-key", "", 0, "no encryption key file found", "missing key"),
		row("skew-clock", "", -10*time.Minute), row("skew-clock", "", 3*time.Hour),
		row("stall-host", "", 0, "no answer"),
		row("revoke-privilege", "VM.PowerMgmt", 0, "VM.PowerMgmt"), row("revoke-privilege", "VM.Allocate", 0, "VM.Allocate"),
		row("offline-storage", "", 0, "is not online"),
		held("91000"), held("storage:local-zfs"),
		row("lose-quorum", "", 0), row("backend-down", "", 0), row("proxy-cut", "", 0), row("backend-closed", "", 0),
	}
}

// Ending is what came of an operation under a single fault.
type Ending struct {
	Calls []Call // of the target's worker, up to the end
	Stuck string // the reason, if a person was needed once
	Freed int    // requests that the root helper granted
}

// settle is how long a run goes on after its operation has ended: DNS follows,
// and what should not happen gets its chance.
const settle = 6 * time.Second

// SingleFault is the main job of the small network with one fault at the n-th
// call of the target's worker; n < 0: none. If that needs a person, the person
// removes the cause and retries, and it must end well. into gets the ending.
func SingleFault(kind network.GuestType, n int, f Single, into *Ending) Scenario {
	p := &singleRun{n: n, fault: f, into: into}
	return Scenario{
		Name: fmt.Sprintf("%s at call %d", f.Name, n),
		Prepare: func(o *Options) {
			o.Places, o.Leader = Small, "temoin"
			if kind == network.CT {
				o.Places = SmallCT
			}
			o.Timing.Commit = 20 * time.Second
		},
		Plan: func(w *World) {
			p.w = w
			w.at(0, func() { w.kill(lost) })
			w.strike = p.strike
			w.at(time.Second, p.follow)
		},
		Until: Warm + 45*time.Minute,
		Check: p.check,
	}
}

// singleRun is a run of SingleFault.
type singleRun struct {
	w       *World
	n       int
	fault   Single
	into    *Ending
	retried bool
	ended   bool
}

// strike is asked before each call of a worker which fault strikes it.
func (p *singleRun) strike(s *Site, where, boundary string) (lab.Fault, bool) {
	p.into.Calls = append(p.into.Calls, Call{Boundary: boundary, Where: where})
	if len(p.into.Calls)-1 != p.n {
		return lab.Fault{}, false
	}
	p.w.tell("fault: %s at %q", p.fault.Name, boundary)
	if p.fault.Fault.Effect == "" {
		s.skew = p.fault.Skew
		return lab.Fault{}, false
	}
	f := p.fault.Fault
	f.Where, f.Times = where, 1
	return f, true
}

// follow looks whether the operation has ended, and is the person who helps.
func (p *singleRun) follow() {
	w := p.w
	again := func() { w.loop.In(time.Second, "follow", p.follow) }
	op, ok := w.mainOp()
	switch {
	case !ok || !op.Phase.Ended():
		again()
	case op.Phase == failover.OpStuck && !p.retried:
		p.retried = true
		p.into.Stuck = stuckReason(op)
		w.loop.In(settle, "person", func() {
			w.tell("a person removes the cause and retries %s", op.ID)
			w.healMachines()
			w.propose(failover.RetryOp{Op: op.ID})
			again()
		})
	default:
		p.ended, p.into.Freed = true, w.freed
		w.loop.In(settle, "settled", w.loop.Stop)
	}
}

func stuckReason(op failover.Operation) string {
	var out []string
	for _, g := range sortedKeys(op.Guests) {
		if run := op.Guests[g]; run.State == failover.RunStuck {
			out = append(out, run.Stuck.Code+" "+run.Stuck.Args["step"]+": "+run.Stuck.Args["note"])
		}
	}
	return strings.Join(out, "; ")
}

// mainOp is the operation that brings the lost site's guests elsewhere.
func (w *World) mainOp() (failover.Operation, bool) {
	s := w.log.Last()
	for _, id := range sortedKeys(s.Ops) {
		if s.Ops[id].Kind == failover.KindFailover && s.Ops[id].Plan.Loss.Site == lost {
			return s.Ops[id], true
		}
	}
	return failover.Operation{}, false
}

// healMachines undoes what faults did to the machines.
func (w *World) healMachines() {
	w.faults.Clear()
	for _, id := range w.ids {
		s := w.sites[id]
		if s.raoull != nil {
			s.raoull.Heal()
		}
		if s.pbs != nil {
			s.pbs.Heal()
		}
	}
}

// check: served in the end, by one copy; a person was needed for a reason that
// fits, or not at all.
func (p *singleRun) check(w *World) error {
	if !p.ended {
		op, _ := w.mainOp()
		return fmt.Errorf("the operation has not ended: %s", op.Phase)
	}
	if err := w.failedOver(lost); err != nil {
		return err
	}
	if n := len(w.sites["fabrique"].raoull.Guests()); n != 1 {
		return fmt.Errorf("the target has %d copies, want 1", n)
	}
	if !p.fault.Again && !p.retried {
		if err := w.once(); err != nil {
			return err
		}
	}
	if !p.retried {
		return nil
	}
	for _, words := range p.fault.Stuck {
		if strings.Contains(p.into.Stuck, words) {
			return nil
		}
	}
	return fmt.Errorf("it was stuck with %q, want one of %q", p.into.Stuck, p.fault.Stuck)
}

// CrashInRecovery is the main job of the small network whose target loses power
// in mid-restore, and whose agent dies, besides, at the n-th boundary of its
// work after that; n < 0: never. seen collects the boundaries.
func CrashInRecovery(kind network.GuestType, n int, seen *Boundaries) Scenario {
	const polling = 6 // the call in the middle of the restore at which power fails
	crash := Single{Name: "crash-host", Fault: lab.Fault{Effect: lab.EffectCrashHost}, Again: true}
	s := SingleFault(kind, polling, crash, &Ending{})
	s.Name = fmt.Sprintf("crash at boundary %d of a recovery", n)
	plan, check := s.Plan, s.Check
	down := false
	s.Plan = func(w *World) {
		plan(w)
		strike := w.strike
		w.strike = func(s *Site, where, boundary string) (lab.Fault, bool) {
			f, struck := strike(s, where, boundary)
			down = down || struck
			return f, struck
		}
		w.crash = func(site failover.SiteID, boundary string) bool {
			if !down || site == lost || !strings.Contains(boundary, " nuage") {
				return false
			}
			seen.List = append(seen.List, boundary)
			return len(seen.List)-1 == n
		}
	}
	s.Check = func(w *World) error {
		if err := check(w); err != nil {
			return err
		}
		if w.freed == 0 {
			return fmt.Errorf("the root helper was not needed: the restore was not cut")
		}
		return nil
	}
	return s
}
