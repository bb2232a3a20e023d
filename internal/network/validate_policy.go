package network

import "time"

// leastCommit is the shortest commit delay without a written reason: below
// it, ordinary interruptions of a line would move guests (design section 6).
const leastCommit = Duration(time.Minute)

// level is one threshold of detection with its key in the file.
type level struct {
	key   string
	after Duration
	given bool // in the override under check
}

// policy checks the levels in force. given is the override that a structure
// wrote (its zero fields inherit); for the network's own policy it is empty
// and every field counts as given. A fault that the network's policy has
// already is not repeated for each structure.
func (c *checker) policy(path string, p, given Policy) {
	whole := given == (Policy{})
	if whole && path != "policy" {
		return
	}
	at := func(key string, after, written Duration) level { return level{key, after, whole || written != 0} }
	second := Duration(time.Second)
	suspect := at("suspect_misses", Duration(p.SuspectMisses)*second, Duration(given.SuspectMisses))
	prepareA := at("prepare_a", p.PrepareA, given.PrepareA)
	alert := at("alert", p.Alert, given.Alert)
	prepareB := at("prepare_b", p.PrepareB, given.PrepareB)
	commit := at("commit", p.Commit, given.Commit)
	dual := at("commit_dual", p.CommitDual, given.CommitDual)
	if suspect.given && (p.SuspectMisses < 1 || p.SuspectMisses > 3600) {
		c.fail(path+".suspect_misses", CodeRange, "write suspect_misses: 5 (probes of one second)", "suspect_misses %d is not between 1 and 3600", p.SuspectMisses)
	} else {
		c.ascends(path, suspect, prepareA)
	}
	c.ascends(path, prepareA, alert)
	if alert.after > prepareB.after {
		c.ascends(path, alert, prepareB)
	}
	c.ascends(path, prepareB, commit)
	c.ascends(path, prepareB, dual)
	for _, l := range []level{commit, dual} {
		if l.given && l.after < leastCommit && p.CommitReason == "" {
			c.fail(path+"."+l.key, CodeNoReason, "write at least 60s, or commit_reason: WHY", "%s %s is below 60s and no reason is written", l.key, l.after)
		}
	}
	c.brakes(path, p, given)
}

// ascends demands that a comes before b.
func (c *checker) ascends(path string, a, b level) {
	if a.after < b.after || !a.given && !b.given {
		return
	}
	at := b
	if !b.given {
		at = a
	}
	c.fail(path+"."+at.key, CodeOrder, "levels must ascend: suspect_misses x 1s < prepare_a < alert <= prepare_b < commit, commit_dual",
		"%s (%s) must come before %s (%s)", a.key, a.after, b.key, b.after)
}

func (c *checker) brakes(path string, p, given Policy) {
	whole := given == (Policy{})
	if (whole || given.Block != 0) && p.Block < Duration(time.Second) {
		c.fail(path+".block", CodeRange, "write block: 1h", "block %s is shorter than 1s", p.Block)
	}
	switch {
	case !whole && given.MaxDomains != 0:
		c.fail(path+".max_domains", CodeConflict, "write it under the network's policy:", "max_domains counts over the whole network")
	case whole && p.MaxDomains < 1:
		c.fail(path+".max_domains", CodeRange, "write max_domains: 1", "max_domains %d is less than 1", p.MaxDomains)
	}
}

// guestCommit checks a guest's own commit delay against the levels of its
// structure.
func (c *checker) guestCommit(path string, id GuestID, g Guest) {
	if g.Commit == 0 {
		return
	}
	p := c.s.PolicyOf(id)
	if p.PrepareB >= g.Commit {
		c.fail(path, CodeOrder, "write a longer commit, or lower prepare_b of the structure", "commit (%s) must come after prepare_b (%s)", g.Commit, p.PrepareB)
	}
	if g.Commit < leastCommit && p.CommitReason == "" {
		c.fail(path, CodeNoReason, "write at least 60s, or commit_reason: WHY in the structure's policy", "commit %s is below 60s and no reason is written", g.Commit)
	}
}
