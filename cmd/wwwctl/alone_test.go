package main

import (
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestWhoIsAloneSaysHowOldItsAnswersAre: an agent that hears no leader answers from its own copy of the log; people are told so
// beside every answer, machines get it in the document.
func TestWhoIsAloneSaysHowOldItsAnswersAre(t *testing.T) {
	b := awayBackend(t)
	b.LocalFunc = func() failover.LocalView { return failover.LocalView{Site: "moulin", LastContact: 12 * time.Minute} }
	socket := agentOf(t, b)
	for _, line := range []string{"guests", "guests nuage", "sites", "op list", "events"} {
		r := wwwctl(t.Context(), socket, line)
		if r.code != 0 || !strings.Contains(r.errOut, "LOCAL view of moulin; last shared state 02:46:11 (12m00s ago)\n") || strings.Contains(r.out, "LOCAL") {
			t.Errorf("%s: code %d, said %q", line, r.code, r.errOut)
		}
	}
	if r := wwwctl(t.Context(), socket, "guests -o json"); !strings.Contains(r.out, `"alone": true`) && !strings.Contains(r.out, `"alone":true`) || strings.Contains(r.errOut, "LOCAL") {
		t.Errorf("as a document: %s%s", r.out, r.errOut)
	}
	if r := wwwctl(t.Context(), agentOf(t, awayBackend(t)), "guests"); strings.Contains(r.errOut, "LOCAL") || r.code != 0 {
		t.Errorf("with a leader: %q", r.errOut)
	}
}
