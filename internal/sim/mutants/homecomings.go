package mutants

// homecomings are sabotages of the way home, and of what is done for guests that live
// elsewhere meanwhile.
func homecomings() []Mutant {
	return []Mutant{
		one(
			"sealed-at-one-site", "failover/failback.go",
			"var sealSteps = []StepID{StepSeal, StepSealVerify, StepSealCopy}",
			"var sealSteps = []StepID{StepSeal, StepSealVerify}",
			"S7: a branch is sealed at two sites before its guest goes on without it",
		),
		one(
			"sealed-copies-are-not-protected", "internal/agent/seal.go",
			"\t\tif err := j.w.e.PBS.Protect(ctx, j.sealed()); err != nil {",
			"\t\tif err := error(nil); err != nil {",
			"S7: no prune takes a sealed branch away",
		),
		one(
			"comes-home-while-it-runs", "failover/failback.go",
			"\tStepReady, StepShutdown, StepBackup,",
			"\tStepReady, StepBackup,",
			"S1: one copy at a time is the guest's",
		),
		one(
			"a-failback-given-up-leaves-home-off", "failover/switchover.go",
			"if run.Left.Found.Index != 0 && run.Left.Ran {",
			"if run.Left.Found.Index != 0 && !run.Left.Ran {",
			"S9: a failback that is given up leaves both copies as they were",
		),
		one(
			"what-a-person-stopped-is-woken", "failover/wake.go",
			"return c, c.Unread == \"\" && !c.Running && c.Booted.After(since)",
			"return c, c.Unread == \"\" && !c.Running",
			"a guest that lives away is started again after its host's start, and once",
		),
		one(
			"failovers-lead-home", "failover/plan.go",
			"if !p.loss.Local && t == p.s.Network.Home(g) {",
			"if p.loss.Local && t == p.s.Network.Home(g) {",
			"a failover leads home only by a person's choice of a copy: the one that was left stands there",
		),
		one(
			"what-comes-home-does-not-start-with-its-host", "failover/failback.go",
			"run.Left.OnBoot = s.Guests[a.Guest].OnBoot",
			"run.Left.OnBoot = false",
			"what comes home starts with its host as its copy there did before",
		),
		one(
			"an-undo-moves-what-is-at-home", "failover/undo.go",
			"return Undo{Site: at.Site, Keep: KeepBack}, nil",
			"return Undo{Site: at.Site}, nil",
			"S7: an undo of --keep home leads to what was left elsewhere",
		),
		one(
			"what-serves-again-is-unsealed-at-home", "failover/failback.go",
			"case keep == KeepHome || keep == KeepBack:",
			"case keep == KeepBack:\n\t\treturn []StepID{StepShutdown, StepUnpark, StepStill, StepOwn, StepStart, StepCheck, StepServe, StepSettle}\n\tcase keep == KeepHome:",
			"S7: an undo seals what is at home before anything moves",
		),
	}
}

// leavings are sabotages of what is done with copies that were left, and of what happens without
// a person's word on the way home.
func leavings() []Mutant {
	return []Mutant{
		one(
			"what-was-written-since-the-seal-goes", "internal/agent/remove.go",
			`newestOf(tasks, "start"); ok && t.UPID.Start.After(sealed)`,
			`newestOf(tasks, "start"); ok && t.UPID.Start.Before(sealed) && t.UPID.Start.After(sealed)`,
			"S7: a copy that was started since it was sealed is not removed",
		),
		one(
			"forks-keep-their-cards", "internal/proxmox/fork.go",
			"\t\t\tout = append(out, pairs[0].value)",
			"\t\t\tout = append(out, part)",
			"S3: a fork has no address of the guest that it was",
		),
		one(
			"comes-home-over-what-was-written", "failover/home_window.go",
			"\treturn off && b.LastRun.IsZero() && b.Since.IsZero()",
			"\treturn b == nil || !off || off",
			"S7: where the copy at home has run since, a person chooses",
		),
		one(
			"retiring-tells-of-the-newest-move", "failover/retire.go",
			"\treturn from, whole\n",
			"\treturn s.Guests[g].Point, whole\n",
			"S7: who retires a site is told what is lost with it",
		),
		one(
			"a-seal-needs-no-key", "internal/agent/seal.go",
			"\t\t\tm.sealing = sealEntry",
			"\t\t\tm.sealing = sealProtect",
			"S7: a branch is sealed where its backup can be read, not only verified",
		),
		one(
			"what-ran-counts-as-never-run", "internal/agent/stuck.go",
			"t.UPID.Start.Before(began) || t.StartRefused()",
			"t.UPID.Start.Before(began) || !t.Running",
			"S7: a copy that somebody has started is sealed before its guest comes home without it",
		),
		one(
			"what-was-stuck-stays-open", "failover/apply_step.go",
			"\ts.closeStuck(run, st)\n",
			"\n",
			"L2: what a guest was stuck in waits for nobody when it is at home",
		),
		one(
			"taken-back-means-away", "failover/stuck_home.go",
			"\tif run.FromStuck() {\n\t\treturn PhaseStuck\n",
			"\tif run.FromStuck() {\n\t\treturn PhaseAway\n",
			"L4: a way home that is given up leaves what was to be typed before",
		),
	}
}
