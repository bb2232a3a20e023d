// Package dnsctl holds what World Wide Welsh knows about DNS: plain records and zones, the difference between two
// sets of records, an embedded authoritative server, a fenced RFC 2136 client and the verification by query.
//
// Records and zones are plain values, so that whoever derives them from replicated state needs nothing of this
// package but its types. Messages leave through an Exchanger, which the simulator replaces; only Server and
// NetExchanger touch the network.
package dnsctl
