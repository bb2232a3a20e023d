package main

import (
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

// TestStuckAwayIsTold: whoever looks at a guest that is stuck away, while its home has a good copy,
// reads what to type, and it works.
func TestStuckAwayIsTold(t *testing.T) {
	b, err := apitest.Stuck()
	if err != nil {
		t.Fatal(err)
	}
	socket := agentOf(t, b)
	var op failover.OpID
	for id := range b.State().Ops {
		op = id
	}
	const way = "wwwctl failback run nuage --keep home"
	for _, line := range []string{"status", "op show " + string(op), "failback plan nuage"} {
		r := wwwctl(t.Context(), socket, line)
		if text := strings.Join(strings.Fields(r.out), " "); !strings.Contains(text, way) {
			t.Errorf("%s does not tell %q:\n%s%s", line, way, r.out, r.errOut)
		}
	}
	if r := wwwctl(t.Context(), socket, "failback plan nuage"); strings.Contains(r.out, "--keep away") {
		t.Errorf("a way is told that does not exist:\n%s", r.out)
	}
	if r := wwwctl(t.Context(), socket, "op show "+string(op)); !strings.Contains(r.out, "wwwctl op retry "+string(op)) || !strings.Contains(r.out, "start failed: ") || strings.Contains(r.out, "tries again") {
		t.Errorf("op show does not tell that the start failed and how to retry it:\n%s", r.out)
	}
	proof := failover.OpView{ID: "op-7", Retry: true, Guests: []failover.OpGuestView{{Stuck: failover.Reason{Code: failover.CodeNoProof}}}}
	var text page
	if retryLine(&text, proof); !strings.Contains(text.b.String(), "wwwctl op retry op-7 --host-is-off") {
		t.Errorf("who has seen that a host is off is not told what to type:\n%s", text.b.String())
	}
	r := wwwctl(t.Context(), socket, "failback plan nuage --keep home")
	if !strings.Contains(r.out, "STUCK, quai:") || !strings.Contains(r.out, "it is sealed and kept") {
		t.Errorf("the plan does not tell what becomes of the copy away:\n%s%s", r.out, r.errOut)
	}
	if r = wwwctl(t.Context(), socket, "failback run nuage --keep home --detach --yes"); r.code != 0 {
		t.Fatalf("code %d\n%s%s", r.code, r.out, r.errOut)
	}
	if p := b.State().Guests["nuage"]; b.State().Ops[p.Op].Kind != failover.KindFailback {
		t.Errorf("placement %+v, want in a failback", p)
	}
}
