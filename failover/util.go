package failover

import (
	"cmp"
	"strings"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// sortedKeys is how every loop of this package walks a map: nothing that is
// replicated or shown may depend on map order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return network.SortedKeys(m) }

// because builds a Reason from a code and pairs of argument name and value.
func because(code string, pairs ...string) Reason {
	r := Reason{Code: code}
	if len(pairs) > 0 {
		r.Args = make(map[string]string, len(pairs)/2)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Args[pairs[i]] = pairs[i+1]
	}
	return r
}

// splitDomain returns the kind and the name of a domain.
func splitDomain(d DomainID) (kind, name string) {
	kind, name, _ = strings.Cut(string(d), ":")
	return kind, name
}
