// Package api is the HTTP+JSON interface of an agent: for wwwctl over a unix
// socket, for the other agents over mTLS, and the metrics for Prometheus.
//
// Every answer is one JSON object that begins with "apiVersion" and "kind".
// Keys are English snake_case, times RFC 3339 in UTC, durations seconds and
// sizes bytes, both as numbers. Changes only ever add. Errors have the kind
// "Error" and carry a stable code that internal/message explains.
//
// Reads are answered by any agent from its own State, without a quorum, and
// say in "at", "index" and "local" how fresh that is. Writes become proposals
// to the replicated log.
package api
