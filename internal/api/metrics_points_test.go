package api_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api/apitest"
)

// TestMetricsOfPoints: encrypted or not, per site; size and time of what another site would restore.
func TestMetricsOfPoints(t *testing.T) {
	b := newBackend(t)
	ready := b.State().Readiness["quai"].Ready
	sealed := ready.Points["nuage"][0]
	sealed.Key = "ab:cd"
	spoilt := sealed
	spoilt.Unusable, spoilt.Time, spoilt.Size = "no chunk", sealed.Time.Add(time.Minute), 1
	ready.Points = map[failover.GuestID][]failover.RestorePoint{"nuage": {spoilt, sealed}}
	if err := b.Apply(failover.ReportReadiness{Ready: ready}); err != nil {
		t.Fatal(err)
	}
	compare(t, metricsOf(t, b), `
# HELP wwwd_guest_backup_encrypted 1 when the newest usable restore point of a guest at a site is encrypted.
# TYPE wwwd_guest_backup_encrypted gauge
wwwd_guest_backup_encrypted{guest="archives",site="fabrique"} 0
wwwd_guest_backup_encrypted{guest="nuage",site="fabrique"} 0
wwwd_guest_backup_encrypted{guest="nuage",site="quai"} 1
wwwd_guest_backup_encrypted{guest="site",site="fabrique"} 0
# HELP wwwd_guest_restore_estimate_seconds How long a site would restore that of its own, at the rate that was measured there.
# TYPE wwwd_guest_restore_estimate_seconds gauge
wwwd_guest_restore_estimate_seconds{guest="archives",site="fabrique"} 113.77777777777777
wwwd_guest_restore_estimate_seconds{guest="nuage",site="fabrique"} 227.55555555555554
wwwd_guest_restore_estimate_seconds{guest="nuage",site="quai"} 227.55555555555554
wwwd_guest_restore_estimate_seconds{guest="site",site="fabrique"} 341.3333333333333
# HELP wwwd_guest_restore_size_bytes Size of the newest usable restore point of a guest at another site than its owner.
# TYPE wwwd_guest_restore_size_bytes gauge
wwwd_guest_restore_size_bytes{guest="archives"} 2.147483648e+10
wwwd_guest_restore_size_bytes{guest="nuage"} 4.294967296e+10
wwwd_guest_restore_size_bytes{guest="site"} 6.442450944e+10
`)
}

// TestMetricsOfCertificates: until when browsers take what a name shows; 0 for what they refuse.
func TestMetricsOfCertificates(t *testing.T) {
	b := newBackend(t)
	spec := b.State().Network
	for _, observer := range []failover.SiteID{"fabrique", "quai"} {
		r := apitest.Report(spec, observer, 7, nil)
		for name, c := range map[string]failover.Certificate{
			"nuage.assos.example": {Until: time.Unix(1_800_000_000, 0)},
			"www.assos.example":   {Until: time.Unix(1_800_000_000, 0), Wrong: "is for another name"},
		} {
			r.Observations = append(r.Observations, failover.Observation{
				Site: "moulin", Target: "name:" + name, Path: failover.PathPublic, Seen: failover.SeenUp, Certificate: c,
			})
		}
		if err := b.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, metricsOf(t, b), `
# HELP wwwd_certificate_not_after_timestamp_seconds Last moment of the certificate that is shown for a public name, as other sites see it; 0 for one that browsers refuse.
# TYPE wwwd_certificate_not_after_timestamp_seconds gauge
wwwd_certificate_not_after_timestamp_seconds{name="nuage.assos.example",site="moulin"} 1.8e+09
wwwd_certificate_not_after_timestamp_seconds{name="www.assos.example",site="moulin"} 0
`)
}
