// Package mutants lists sabotages of the production code, each a line or two
// that somebody could write by mistake. The simulator must notice every one of
// them: a mutant that survives is a hole in the simulator or in its invariants.
// `make mutants` builds each with `go test -overlay`, so that the tree stays as
// it is, and hunts for a run that violates an invariant or misses its end.
package mutants

import "slices"

// Mutant is one sabotage. It has more than one edit where a second guard keeps
// the same promise: to take one away shows nothing then.
type Mutant struct {
	Name  string // kebab-case
	Why   string // what the lines protect, in design.md's words
	Edits []Edit
}

// Edit replaces one text of one file.
type Edit struct {
	File string // from the root of the repository
	Old  string // occurs exactly once in the file
	New  string
}

// All returns the mutants in the order of the way of a failover.
func All() []Mutant {
	return slices.Concat(judging(), operations(), hands(), zones(), homecomings(), leavings())
}

func one(name, file, old, changed, why string) Mutant {
	return Mutant{Name: name, Why: why, Edits: []Edit{{File: file, Old: old, New: changed}}}
}

// judging are sabotages of what decides that a site is lost and what to do.
func judging() []Mutant {
	return []Mutant{
		one(
			"commit-at-once", "internal/network/query.go",
			"\t\treturn p.CommitDual.D()\n\t}\n\treturn p.Commit.D()",
			"\t\treturn p.PrepareB.D()\n\t}\n\treturn p.PrepareB.D()",
			"S4: the commit delay",
		),
		one(
			"start-up-grace-is-forgotten", "probes/health.go",
			"!h.begun || at < h.grace",
			"!h.begun",
			"S5: an agent that has just started does not count",
		),
		one(
			"jumped-clocks-count", "probes/health.go",
			"h.jumped = in.Mono + clockPenalty",
			"h.jumped = in.Mono",
			"S5: an agent whose clock jumped does not count",
		),
		one(
			"stale-approvals-count", "failover/apply_op.go",
			"\tcase !op.offers(c.Hash, st.At):\n",
			"\tcase c.Hash == \"\":\n",
			"S10: an approval is of what was shown",
		),
		one(
			"a-taken-id-stops-its-guest", "failover/decide_op.go",
			"\tcase movable && step.Failure == FailTaken:\n",
			"\tcase step.Failure == FailTaken:\n\t\treturn Stick{Op: op.ID, Guest: t.Guest, Reason: note}\n\tcase movable && step.Failure == FailTaken:\n",
			"L1: there is another id",
		),
		one(
			"retry-only-looks-again", "failover/live.go",
			"\tcase left && step.ID == StepStart && step.Failure == FailGone:\n",
			"\tcase left && step.ID == StepStart && step.Failure == FailGone && at == 0:\n",
			"L2: what is told a person to type works",
		),
		one(
			"room-goes-to-the-less-important", "failover/plan.go",
			"\t\thave = 0 // what is left is not for guests of this priority\n",
			"\t\thave = max(0, have)\n",
			"S12: priority p is never left out while p+1 is admitted",
		),
		one(
			"one-voter-is-a-majority", "failover/judge.go",
			"func (s *State) Majority() int { return s.Voters()/2 + 1 }",
			"func (s *State) Majority() int { return 1 }",
			"S4: a majority of all voters",
		),
		one(
			"majority-of-the-reachable", "failover/judge.go",
			"\tfor _, m := range s.Members {\n\t\tif m.Voter {\n\t\t\tn++",
			"\tfor id, m := range s.Members {\n\t\tif r := s.Reports[id]; m.Voter && r.Stamp.Term == s.Term && len(r.Report.Unwell) == 0 {\n\t\t\tn++",
			"S4: a majority of all voters, not of those that are heard",
		),
		{
			Name: "refused-is-silence", Why: "a refused connection means that the address lives",
			Edits: []Edit{
				{"probes/window.go", "\tcase failover.SeenUp, failover.SeenRefused:\n", "\tcase failover.SeenUp:\n"},
				{"probes/window.go", "\tcase failover.SeenDown:\n\t\tif w.missed == 0", "\tcase failover.SeenDown, failover.SeenRefused:\n\t\tif w.missed == 0"},
			},
		},
		one(
			"never-cancelled", "failover/decide.go",
			"\t\tif !ok || !d.seenAgain(v) {",
			"\t\tif ok || !d.seenAgain(v) {",
			"L3: a site that comes back before ownership moved is left as it was",
		),
		one(
			"paused-for-ever-means-not-paused", "failover/decide.go",
			"ok && (p.Until.IsZero() || now.Before(p.Until))",
			"ok && !p.Until.IsZero() && now.After(p.Until)",
			"S10: pause",
		),
		{
			Name: "ask-means-auto", Why: "S10: mode; the decider and the log both keep it",
			Edits: []Edit{
				{"failover/decide.go", "run.Admitted != 0 || !run.Assignment.Automatic {", "run.Admitted != 0 {"},
				{"failover/admit.go", "case !op.Guests[g].Assignment.Automatic:", "case !op.Guests[g].Assignment.Automatic && g == \"\":"},
			},
		},
		one(
			"two-sites-are-no-mass-event", "failover/decide_held.go",
			"\tcase silent+running <= most:",
			"\tcase silent+running <= most+9:",
			"S6: at most K domains at once",
		),
		one(
			"retries-hold-others-up", "failover/decide_held.go",
			"!op.Forced && (!again || id == of):",
			"!op.Forced:",
			"L1, S6: what a person has opened again is no domain that automation is failing over",
		),
		one(
			"diverged-is-not-told", "failover/decide.go",
			"\t\tif p.Phase != PhaseAway || p.Op != \"\" || p.Parked {",
			"\t\tif p.Phase != PhaseHome || p.Op != \"\" || p.Parked {",
			"section 7: the return of the home site is the state diverged",
		),
		{
			Name: "what-ran-on-is-shut-down", Why: "S9: a copy that ran through the isolation is left to its users",
			Edits: []Edit{
				{"failover/copies.go", "case b.Stopped.Index == 0 && s.bootedSince(seen, p):", "case b.Stopped.Index == 0:"},
			},
		},
		{
			Name: "a-structures-host-is-ours", Why: "R23, S9: on a structure's host nothing is stopped unless it says so; the decider asks the log's rule, the invariant its own",
			Edits: []Edit{
				{"failover/return.go", "return ok && (host.Owner == network.OwnerRaoull || s.Network", "return ok && (host.Owner == network.OwnerRaoull || host.Owner != \"\" || s.Network"},
			},
		},
		one(
			"returns-are-not-begun", "failover/return.go",
			"if b == nil || !d.s.standsDown(g) ||", "if b != nil || !d.s.standsDown(g) ||",
			"section 7: what a host has started beside the copy that serves is shut down",
		),
	}
}

// operations are sabotages of the entries of the log.
func operations() []Mutant {
	return []Mutant{
		one(
			"start-before-own", "failover/apply_op.go",
			"StepProtect, StepRestore, StepOwn, StepStart, StepCheck, StepServe, StepRelease}",
			"StepProtect, StepRestore, StepStart, StepOwn, StepCheck, StepServe, StepRelease}",
			"S1, S3: ownership first",
		),
		one(
			"serve-before-check", "failover/apply_op.go",
			"StepOwn, StepStart, StepCheck, StepServe, StepRelease}",
			"StepOwn, StepStart, StepServe, StepCheck, StepRelease}",
			"S2: no copy is shown that was never checked",
		),
		one(
			"restore-points-stay-pinned", "failover/apply_op.go",
			"StepCheck, StepServe, StepRelease}",
			"StepCheck, StepServe}",
			"the restore point's protection is taken back",
		),
		{
			Name: "own-without-admission", Why: "S4: the decider and the log both keep it",
			Edits: []Edit{
				{"failover/apply_step.go", "run.Steps[i].ID != StepOwn || run.Admitted == 0 || run.State", "run.Steps[i].ID != StepOwn || run.State"},
				{"failover/decide_op.go", "step.ID == StepOwn && run.Admitted != 0 && d.sound", "step.ID == StepOwn && d.sound"},
			},
		},
		one(
			"stale-tokens-count", "failover/apply_step.go",
			"if run.Token != t.Index || run.Epoch != t.Epoch {",
			"if run.Epoch != t.Epoch {",
			"S3: every effect carries its token",
		),
		one(
			"epochs-do-not-grow", "failover/apply_step.go",
			"run.Epoch = Epoch{Generation: s.Generation, Index: st.Index}",
			"run.Epoch = Epoch{Generation: s.Generation, Index: 1}",
			"S1: epochs only grow",
		),
		one(
			"retarget-leaves-its-copy", "failover/apply_step.go",
			"\ts.leaveBehind(op, run, c.Assignment, c.Reason, st)\n",
			"\n",
			"before ownership everything is revocable and leaves no residue",
		),
		one(
			"retarget-under-the-old-token", "failover/apply_step.go",
			"run.Assignment, run.VMID, run.Token, run.State, run.Stuck = c.Assignment, id, st.Index, RunActive, Reason{}",
			"run.Assignment, run.VMID, run.State, run.Stuck = c.Assignment, id, RunActive, Reason{}",
			"S3: a new target, a new token",
		),
		one(
			"cancelled-copies-stay", "failover/apply_op.go",
			"\t\t\trun.Steps = pendingSteps(StepCleanup)\n",
			"\t\t\trun.Steps = nil\n",
			"a cancelled countdown is cleaned up",
		),
		one(
			"ids-are-given-twice", "failover/apply_op.go",
			"\t\tids.take(a.Target, id)\n\t\tcursors[a.Target] = id\n",
			"\n",
			"no id is used twice",
		),
		one(
			"zone-change-is-not-counted", "failover/namehold.go",
			"\t\tz.Changed, z.Since = st.Index, st.At\n",
			"\t\tz.Changed, z.Since = max(z.Changed, 1), st.At\n",
			"L5: every server converges",
		),
		one(
			"state-is-edited-in-place", "failover/apply_op.go",
			"\treturn op.edit(), nil\n",
			"\treturn op, nil\n",
			"Apply is deterministic and leaves older states alone",
		),
	}
}

// hands are sabotages of what touches Proxmox.
func hands() []Mutant {
	return []Mutant{
		one(
			"wrong-vlan", "internal/agent/restore.go",
			"proxmox.OverrideNets(*m.archive, host.Restore.Bridge, j.run.Assignment.VLAN)",
			"proxmox.OverrideNets(*m.archive, host.Restore.Bridge, j.run.Assignment.VLAN+1)",
			"S11: no guest on a foreign VLAN",
		),
		one(
			"onboot-is-kept", "internal/proxmox/restore.go",
			"params := map[string]any{\"vmid\": r.VMID, \"storage\": r.Storage, \"onboot\": 0}",
			"params := map[string]any{\"vmid\": r.VMID, \"storage\": r.Storage, \"onboot\": 1}",
			"no copy starts by itself",
		),
		one(
			"force", "internal/proxmox/restore.go",
			"\tu, err := p.task(ctx, call{op: r.op(), method: http.MethodPost",
			"\tparams[\"force\"] = 1\n\tu, err := p.task(ctx, call{op: r.op(), method: http.MethodPost",
			"S7: never force over a copy that is not ours and dead",
		),
		one(
			"start-without-the-leaders-word", "internal/agent/run.go",
			"\tif err := j.w.e.Log.Confirm(ctx, j.w.token); err != nil {",
			"\tif err := j.w.e.Log.Confirm(ctx, j.w.token); false && err != nil {",
			"S3: the leader confirms what cannot be taken back",
		),
		one(
			"half-a-restore-is-done", "internal/agent/restore.go",
			"\tcase t.OK():\n\t\tm.phase = restoreVerify\n",
			"\tcase !t.Running:\n\t\tm.phase = restoreVerify\n",
			"a restore is done when its task ended well",
		),
		one(
			"a-locked-copy-is-whole", "internal/agent/restore.go",
			"\tcase m.stub:\n\t\tm.phase = restoreTasks\n\t\treturn j.now, nil\n",
			"\tcase m.stub:\n\t\treturn j.now, &outcome{}\n",
			"the done-check looks at the world",
		),
		one(
			"a-copy-that-ran-is-deleted", "internal/agent/gate.go",
			"\tif i < 0 {\n",
			"\tif i < len(tasks) {\n",
			"S7: what users may have written into is left to a person",
		),
		one(
			"every-copy-is-ours", "internal/agent/restore.go",
			"\treturn ok && m.Network == want.Network && m.Guest == want.Guest && m.Op == want.Op",
			"\treturn ok && m.Network == want.Network || !c.Bare()",
			"S7: what is not ours is left alone",
		),
	}
}

// zones are sabotages of DNS.
func zones() []Mutant {
	return []Mutant{
		one(
			"dns-follows-the-owner", "dnsctl/desired.go",
			"site := b.s.Guests[g].Serving",
			"site := b.s.Guests[g].Owner",
			"S2: only a checked copy is shown",
		),
		one(
			"dns-stays-at-home", "dnsctl/desired.go",
			"site := b.s.Guests[g].Serving",
			"site := b.spec.Home(g)",
			"L5: DNS follows",
		),
		one(
			"dns-says-nothing", "dnsctl/desired.go",
			"site := b.s.Guests[g].Serving",
			"site := b.s.Guests[g].Serving[:0]",
			"S2: never an empty set",
		),
		one(
			"updates-without-the-fence", "dnsctl/update.go",
			"\t\tm.Used([]dns.RR{dns.Copy(fence)}) // Used changes the record it is given\n",
			"",
			"S2: a decision is written only over the one that its writer has seen",
		),
		one(
			"updates-leave-names-out", "dnsctl/writer.go",
			"w.update, w.err = NewUpdater(w.ex, w.server, w.goal.Apex(), w.goal.Token, w.changes.All())",
			"w.update, w.err = NewUpdater(w.ex, w.server, w.goal.Apex(), w.goal.Token, w.changes.All()[len(w.changes.All())/2:])",
			"S2: what is written under a decision is all of it",
		),
	}
}
