package failover_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestExposedPortsAreEventsOnChange: a port that two observers find open is told
// once, and once again when neither does any more.
func TestExposedPortsAreEventsOnChange(t *testing.T) {
	s := failover.NewState()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	index := uint64(0)
	apply := func(c failover.Command) {
		t.Helper()
		index++
		if err := s.Apply(failover.Stamp{Index: index, Term: 1, At: at.Add(time.Duration(index) * time.Second)}, c); err != nil {
			t.Fatal(err)
		}
	}
	for _, site := range []failover.SiteID{"a", "b"} {
		apply(failover.SetMember{Site: site, ServerID: string(site), Voter: true})
	}
	ssh := failover.Exposure{Site: "c", Address: netip.MustParseAddrPort("203.0.113.7:22")}
	pve := failover.Exposure{Site: "c", Address: netip.MustParseAddrPort("203.0.113.7:8006")}
	seq := uint64(0)
	report := func(observer failover.SiteID, exposed ...failover.Exposure) []string {
		t.Helper()
		before := len(s.Events)
		seq++
		apply(failover.Report{Observer: observer, Boot: "x", Seq: seq, Exposed: exposed})
		var got []string
		for _, e := range s.Events[before:] {
			if e.Site != "c" {
				t.Errorf("event %+v, want it at c", e)
			}
			got = append(got, e.Reason.Code+" "+e.Reason.Args["address"])
		}
		return got
	}
	for i, step := range []struct{ got, want []string }{
		{report("a"), nil},
		{report("a", ssh), []string{failover.CodeExposed + " 203.0.113.7:22"}},
		{report("a", ssh), nil},
		{report("b", ssh, pve), []string{failover.CodeExposed + " 203.0.113.7:8006"}},
		{report("a"), nil},
		{report("b", pve), []string{failover.CodeClosed + " 203.0.113.7:22"}},
	} {
		if !reflect.DeepEqual(step.got, step.want) {
			t.Errorf("step %d: events %v, want %v", i, step.got, step.want)
		}
	}
	if got := s.Exposed(); !reflect.DeepEqual(got, []failover.Exposure{pve}) {
		t.Errorf("exposed: %v", got)
	}
}
