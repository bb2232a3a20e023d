// Package chaos breaks networks of real processes at random and checks from outside
// what they make of it: wwwd, wireguard-go, the hosts of the lab in network namespaces
// (internal/lab/netns), a seeded nemesis, and a checker that sees what a person could:
// the answers of every name server, every machine and every agent. The faults have the
// simulator's names (internal/sim), the invariants the design's.
//
//	chaos.go     runs of many rounds        round.go    one network, one seed
//	plan.go      what goes wrong, and when  nemesis.go  has it go wrong
//	operator.go  people in the middle       disk.go     disks that fill up
//	look.go      what can be seen           watch.go    looks, all the time
//	checker.go   agents: S1, S4             machines.go hosts: S3, S7, S9, S11
//	moves.go     planned moves: S9          claims.go   what they ask of machines: S3, S7, S9
//	homecoming.go people bring guests home
//	names.go     name servers: S2, L5       end.go      liveness: L2, L3, L4, L5
//	truth.go     who could reach whom       timeline.go what is kept
//
// A round has the phases of TigerBeetle's simulator (VOPR): chaos for a while; then a
// core, a majority of the sites, is healed for good while the others stay dead, and the
// core must converge; then everything is healed, and must converge. Here people bring home
// what is away then, while agents die, until every guest lives on its own host again.
package chaos
