// Package mutants lists sabotages of the production code, each a line or two
// that somebody could write by mistake. The simulator must notice every one of
// them: a mutant that survives is a hole in the simulator or in its invariants.
// `make mutants` builds each with `go test -overlay`, so that the tree stays as
// it is, and hunts for a run that violates an invariant or misses its end.
package mutants

// Mutant is one sabotage.
type Mutant struct {
	Name string // kebab-case
	File string // from the root of the repository
	Old  string // occurs exactly once in the file
	New  string
	Why  string // what the line protects, in design.md's words
}

// All returns the mutants in the order of the way of a failover.
func All() []Mutant {
	return []Mutant{
		// Judging and deciding.
		{
			"commit-at-once", "internal/network/query.go",
			"\t\treturn p.CommitDual.D()\n\t}\n\treturn p.Commit.D()",
			"\t\treturn p.PrepareB.D()\n\t}\n\treturn p.PrepareB.D()",
			"S4: the commit delay",
		},
		{
			"one-voter-is-a-majority", "failover/judge.go",
			"func (s *State) Majority() int { return s.Voters()/2 + 1 }",
			"func (s *State) Majority() int { return 1 }",
			"S4: a majority of all voters",
		},
		{
			"majority-of-the-reachable", "failover/judge.go",
			"\t\tif m.Voter {\n\t\t\tn++\n\t\t}\n\t}\n\treturn n\n}\n\n// judge holds",
			"\t\tif _, heard := s.Reports[m.Site]; m.Voter && heard {\n\t\t\tn++\n\t\t}\n\t}\n\treturn n\n}\n\n// judge holds",
			"S4: a majority of all voters, not of the reachable",
		},
		{
			"refused-is-silence", "failover/judge.go",
			"\t\tif o.Seen != SeenDown {\n\t\t\tv.Dark, perPath[o.Path] = false, false",
			"\t\tif o.Seen != SeenDown && o.Seen != SeenRefused {\n\t\t\tv.Dark, perPath[o.Path] = false, false",
			"a refused connection means that the address lives",
		},
		{
			"never-cancelled", "failover/decide.go",
			"\t\tif !ok || !d.seenAgain(v) {",
			"\t\tif ok || !d.seenAgain(v) {",
			"L3: a site that comes back before ownership moved is left as it was",
		},
		{
			"paused-for-ever-means-not-paused", "failover/decide.go",
			"ok && (p.Until.IsZero() || now.Before(p.Until))",
			"ok && !p.Until.IsZero() && now.After(p.Until)",
			"S10: pause",
		},
		{
			"ask-means-auto", "failover/decide.go",
			"run.State != RunActive || run.Admitted != 0 || !run.Assignment.Automatic || d.paused(g)",
			"run.State != RunActive || run.Admitted != 0 || d.paused(g)",
			"S10: mode",
		},
		{
			"two-sites-are-no-mass-event", "failover/decide.go",
			"\tif n := d.troubled(); n > d.s.Network.Policy.MaxDomains {",
			"\tif n := d.troubled(); n > 9 {",
			"S6: at most K domains at once",
		},
		{
			"diverged-is-not-told", "failover/decide.go",
			"\t\tif p.Phase != PhaseAway || p.Op != \"\" {",
			"\t\tif p.Phase != PhaseHome || p.Op != \"\" {",
			"section 7: the return of the home site is the state diverged",
		},
		// Operations.
		{
			"start-before-own", "failover/apply_op.go",
			"StepProtect, StepRestore, StepOwn, StepStart, StepCheck, StepServe, StepRelease}",
			"StepProtect, StepRestore, StepStart, StepOwn, StepCheck, StepServe, StepRelease}",
			"S1, S3: ownership first",
		},
		{
			"serve-before-check", "failover/apply_op.go",
			"StepOwn, StepStart, StepCheck, StepServe, StepRelease}",
			"StepOwn, StepStart, StepServe, StepCheck, StepRelease}",
			"S2: no copy is shown that was never checked",
		},
		{
			"restore-points-stay-pinned", "failover/apply_op.go",
			"StepCheck, StepServe, StepRelease}",
			"StepCheck, StepServe}",
			"the restore point's protection is taken back",
		},
		{
			"own-without-admission", "failover/apply_step.go",
			"if run.Steps[i].ID != StepOwn || run.Admitted == 0 || run.State != RunActive {",
			"run.Admitted = max(run.Admitted, 1)\n\tif run.Steps[i].ID != StepOwn || run.State != RunActive {",
			"S4 in the log; the decider keeps it too",
		},
		{
			"stale-tokens-count", "failover/apply_step.go",
			"if run.Token != t.Index || run.Epoch != t.Epoch {",
			"if run.Epoch != t.Epoch {",
			"S3: every effect carries its token",
		},
		{
			"epochs-do-not-grow", "failover/apply_step.go",
			"run.Epoch = Epoch{Generation: s.Generation, Index: st.Index}",
			"run.Epoch = Epoch{Generation: s.Generation, Index: 1}",
			"S1: epochs only grow",
		},
		{
			"retarget-leaves-its-copy", "failover/apply_step.go",
			"\ts.leaveBehind(op, run, c.Reason, st)\n",
			"\n",
			"before ownership everything is revocable and leaves no residue",
		},
		{
			"retarget-under-the-old-id", "failover/apply_step.go",
			"run.Assignment, run.VMID, run.Token, run.State, run.Stuck = c.Assignment, id, st.Index, RunActive, Reason{}",
			"run.Assignment, run.VMID, run.State, run.Stuck = c.Assignment, id, RunActive, Reason{}",
			"S3: a new target, a new token",
		},
		{
			"cancelled-copies-stay", "failover/apply_op.go",
			"\t\t\trun.Steps = pendingSteps(StepCleanup)\n",
			"\t\t\trun.Steps = nil\n",
			"a cancelled countdown is cleaned up",
		},
		{
			"ids-are-given-twice", "failover/apply_op.go",
			"\tids.take(a.Target, id)\n\tcursors[a.Target] = id\n",
			"\n",
			"no id is used twice",
		},
		{
			"zone-change-is-not-counted", "failover/apply_step.go",
			"\t\t\tz.Changed = index\n",
			"\t\t\tz.Changed = max(z.Changed, 1)\n",
			"L5: every server converges",
		},
		{
			"state-is-edited-in-place", "failover/apply_op.go",
			"\treturn op.edit(), nil\n",
			"\treturn op, nil\n",
			"Apply is deterministic and leaves older states alone",
		},
		// The hands.
		{
			"wrong-vlan", "internal/agent/restore.go",
			"proxmox.OverrideNets(*m.archive, host.Restore.Bridge, j.run.Assignment.VLAN)",
			"proxmox.OverrideNets(*m.archive, host.Restore.Bridge, j.run.Assignment.VLAN+1)",
			"S11: no guest on a foreign VLAN",
		},
		{
			"onboot-is-kept", "internal/proxmox/restore.go",
			"params := map[string]any{\"vmid\": r.VMID, \"storage\": r.Storage, \"onboot\": 0}",
			"params := map[string]any{\"vmid\": r.VMID, \"storage\": r.Storage, \"onboot\": 1}",
			"no copy starts by itself",
		},
		{
			"force", "internal/proxmox/restore.go",
			"\treturn p.restore(ctx, r, params)\n}\n\n// RestoreOverStub",
			"\tparams[\"force\"] = 1\n\treturn p.restore(ctx, r, params)\n}\n\n// RestoreOverStub",
			"S7: never force over a copy that is not ours and dead",
		},
		{
			"start-without-the-leaders-word", "internal/agent/run.go",
			"\tif err := j.w.e.Log.Confirm(ctx, j.w.token); err != nil {",
			"\tif err := j.w.e.Log.Confirm(ctx, j.w.token); false && err != nil {",
			"S3: the leader confirms what cannot be taken back",
		},
		{
			"half-a-restore-is-done", "internal/agent/restore.go",
			"\tcase t.OK():\n\t\tm.phase = restoreVerify\n",
			"\tcase !t.Running:\n\t\tm.phase = restoreVerify\n",
			"a restore is done when its task ended well",
		},
		{
			"a-locked-copy-is-whole", "internal/agent/restore.go",
			"\tcase j.ours(c) && c.Lock() == \"\":\n\t\tm.phase = restoreVerify\n\t\treturn j.now, nil\n\tcase c.Bare() || c.Lock() == \"create\":",
			"\tcase j.ours(c):\n\t\treturn j.now, &outcome{}\n\tcase c.Bare() || c.Lock() == \"create\":",
			"the done-check looks at the world",
		},
		// DNS.
		{
			"dns-follows-the-owner", "dnsctl/desired.go",
			"b.public(name, b.s.Guests[g].Serving)",
			"b.public(name, b.s.Guests[g].Owner)",
			"S2: only a checked copy is shown",
		},
		{
			"dns-stays-at-home", "dnsctl/desired.go",
			"b.public(name, b.s.Guests[g].Serving)",
			"b.public(name, b.spec.Home(g))",
			"L5: DNS follows",
		},
		{
			"dns-says-nothing", "dnsctl/desired.go",
			"b.public(name, b.s.Guests[g].Serving)",
			"_ = b.s.Guests[g].Serving",
			"S2: never an empty set",
		},
	}
}
