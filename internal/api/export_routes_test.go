package api

import "golang.org/x/time/rate"

// RoutePatterns are the routes of a handler that has every part, and of the join server.
func RoutePatterns() []string {
	h := &handler{Options: Options{Raft: struct{ Raft }{}, Access: struct{ Access }{}, Zones: struct{ Zones }{}, Files: struct{ Files }{}, Browser: struct{ Browser }{}}, callers: newCallers(Rates{})}
	out := []string{joinRoute}
	for _, r := range h.routes() {
		out = append(out, r.pattern)
	}
	return out
}

// NoRates lets a test ask for as much as it wants.
func NoRates() Rates {
	all := Rate{Every: float64(rate.Inf), Burst: 1}
	return Rates{Person: all, Agent: all, Nobody: all}
}
