package dnsctl_test

import (
	"errors"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/dnsctl"
)

// dig understands every kind of answer without a warning, and reads in it what
// the server says in process.
func TestDigAgrees(t *testing.T) {
	tool, err := exec.LookPath("dig")
	if err != nil {
		absent(t, errors.New("dig (package bind9-dnsutils) is not installed"))
	}
	srv, addr := start(t, dnsctl.Config{}, mainZone(), secondZone())
	host, port, _ := net.SplitHostPort(addr)
	questions := []struct{ name, rtype, status string }{
		{"www.failover.test.", "A", "NOERROR"},
		{"WWW.failover.TEST.", "AAAA", "NOERROR"},
		{"alias2.failover.test.", "A", "NOERROR"},
		{"abroad.failover.test.", "A", "NOERROR"},
		{"any.wild.failover.test.", "A", "NOERROR"},
		{"failover.test.", "MX", "NOERROR"},
		{"failover.test.", "SOA", "NOERROR"},
		{"www.failover.test.", "MX", "NOERROR"},
		{"nobody.failover.test.", "A", "NXDOMAIN"},
		{"www.sub.failover.test.", "A", "NOERROR"},
		{"elsewhere.example.", "A", "REFUSED"},
	}
	for _, transport := range []string{"+notcp", "+tcp"} {
		for _, q := range questions {
			out, err := exec.CommandContext(t.Context(), tool, "@"+host, "-p", port, "+norecurse", "+nocookie", "+tries=3", transport, q.name, q.rtype).CombinedOutput()
			text := string(out)
			if err != nil || !strings.Contains(text, "status: "+q.status) || strings.Contains(text, "Warning") || strings.Contains(text, "Got bad packet") {
				t.Errorf("dig %s %s %s: %v, want %s:\n%s", transport, q.name, q.rtype, err, q.status, text)
				continue
			}
			_, answer, _ := srv.Query(q.name, q.rtype)
			for _, r := range answer {
				// dig shows the owner as it was asked for.
				if !strings.Contains(strings.ToLower(text), strings.ToLower(r.Data)) {
					t.Errorf("dig %s %s does not show %s:\n%s", q.name, q.rtype, r, text)
				}
			}
		}
	}
}
