package api_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

// TestMetricsOfPlans: what a loss would take until all of a structure is taken over, and what is
// lacking where it does not fit.
func TestMetricsOfPlans(t *testing.T) {
	b := newBackend(t)
	text := func(memory, rto string) string {
		return `
# HELP wwwd_plan_capacity_shortfall_bytes What the guests lack together that would find no room if the site died now.
# TYPE wwwd_plan_capacity_shortfall_bytes gauge
wwwd_plan_capacity_shortfall_bytes{resource="memory",site="fabrique"} 0
wwwd_plan_capacity_shortfall_bytes{resource="memory",site="moulin"} ` + memory + `
wwwd_plan_capacity_shortfall_bytes{resource="memory",site="quai"} 0
wwwd_plan_capacity_shortfall_bytes{resource="storage",site="fabrique"} 0
wwwd_plan_capacity_shortfall_bytes{resource="storage",site="moulin"} 0
wwwd_plan_capacity_shortfall_bytes{resource="storage",site="quai"} 0
` + rto
	}
	const rto = `# HELP wwwd_plan_estimated_rto_seconds From the loss of the site until the last guest of a structure is restored and taken over, by the declared delays and the measured rates; none without a measured rate.
# TYPE wwwd_plan_estimated_rto_seconds gauge
`
	// 60 GiB at 180 MiB/s, begun 45 s after the loss: that ends after the commit delay of 5 minutes.
	compare(t, metricsOf(t, b), text("0", rto+`wwwd_plan_estimated_rto_seconds{site="moulin",structure="le-moulin"} 386.333333333
`))
	for _, site := range []failover.SiteID{"fabrique", "quai"} {
		ready := b.State().Readiness[site].Ready
		ready.MemoryFree, ready.Rate = 5<<30, 0 // 3 GiB beside the reserve: 4 are wanted, then 4 more
		if err := b.Apply(failover.ReportReadiness{Ready: ready}); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, metricsOf(t, b), text("5.36870912e+09", ""))
}

// TestMetricsOfNames: what agents elsewhere get at the public names of a guest, as long as they tell.
func TestMetricsOfNames(t *testing.T) {
	b := newBackend(t)
	spec := b.State().Network
	for observer, seen := range map[failover.SiteID]failover.Seen{"fabrique": failover.SeenUp, "quai": failover.SeenDown} {
		r := apitest.Report(spec, observer, 7, nil)
		for _, name := range spec.Guests["nuage"].Names {
			r.Observations = append(r.Observations, failover.Observation{Site: "moulin", Target: "name:" + name, Path: failover.PathPublic, Seen: seen})
		}
		r.Observations = append(r.Observations, failover.Observation{Site: "moulin", Target: "name:www.assos.example", Path: failover.PathPublic, Seen: failover.SeenUnknown})
		if err := b.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	const text = `
# HELP wwwd_guest_service_up 1 when the guest's declared check passes, asked from inside its site, or all its public names answer the agent of another site.
# TYPE wwwd_guest_service_up gauge
wwwd_guest_service_up{from="fabrique",guest="nuage"} 1
wwwd_guest_service_up{from="quai",guest="nuage"} 0
`
	compare(t, metricsOf(t, b), text)
	b.Advance(time.Hour) // nobody has reported since
	compare(t, metricsOf(t, b), "# TYPE wwwd_guest_service_up gauge\n")
}
