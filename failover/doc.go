// Package failover is the core: what the sites know together, what they
// conclude from it, and what has to be done. It is pure. It imports nothing
// but standard library values and internal/network, reads no clock, starts no
// goroutine, and does the same on every agent for the same log.
//
// The way of a failover through this package:
//
//	Report   → Apply     observations enter State, stamped by the leader
//	Judge    → Verdict   what the observers together say of a site or host
//	Decide   → Commands  what the leader proposes next, and why (or why not)
//	PlanFor  → Plan      who goes where, from which restore point, who stays
//	Runnable → Tokens    the steps that an agent may carry out at its site
//	Explain  → Status    one text for CLI, API, metrics and logs
//
// State changes only by a Command through the replicated log. Ownership of a
// guest is a committed entry that raises its epoch; before it everything is
// revocable, after it the old copy is superseded whatever it does.
//
// The invariants that hold after every command stand in invariants.go with
// the numbers of design section 5.
package failover
