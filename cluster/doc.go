// Package cluster replicates failover.State: hashicorp/raft on disk, over
// mutual TLS, and nothing else.
//
//	codec.go     log entry ⇄ bytes          fsm.go       raft.FSM, under 100 lines
//	snapshot.go  state ⇄ snapshot file      state.go     what readers see
//	identity.go  server id and its store    store.go     watchdog on the store
//	node.go      Open, Close, Stats         lead.go      terms and their clock
//	propose.go   Propose, Confirm           member.go    bootstrap, join, remove
//	stream.go    connections of raft        mux.go       one port for raft and API
//	tls.go       who may connect            ca.go        who is issued a certificate
//
// Rules that are kept here because raft breaks without them (all measured, see
// docs/architecture.md): the heartbeat fast path is hidden (hashicorp/raft
// issue 695), leadership is never transferred (696), TrailingLogs is never
// lowered (697), a store call that hangs ends the process (503), an outcome
// that raft does not know is reported as unknown, a wiped disk gets a new id.
package cluster
