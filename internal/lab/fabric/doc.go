// Package fabric is the plumbing of the loopback lab: it plays the networks
// between the sites and the mains supply of each of them, without root.
//
// Every address of a site that others may reach is a listener of this process
// on a loopback address. It forwards to the backend address where the site's
// own process listens, and knows who is calling by the source address. So it
// can cut or delay what goes from one site to another, one direction and one
// kind of path at a time, and can take the power of a whole site away.
//
// What a caller sees, as on a real network:
//
//   - process down, host alive: a reset (never a clean end of stream);
//   - site dead: SYNs and datagrams stay unanswered, and what was open stays
//     open and silent until the site is back, which then resets it;
//   - path cut: silence; what was underway is delivered when the path heals.
//
// Two things differ. The kernel answers the SYN before the forwarder knows the
// caller, so through a cut (not to a dead site) a connection opens and then
// stays silent, and a refusal is an open followed at once by a reset (ECONNRESET,
// from the dial itself or from the first read, where a real host gives
// ECONNREFUSED). So a probe must wait for a byte before it calls an address up.
// And UDP to a live host without the service is silent, for lack of ICMP.
//
// The package is for Linux: it relies on 127.0.0.0/8 being local as a whole, on
// listen(2) being repeatable, and on PR_SET_PDEATHSIG.
package fabric
