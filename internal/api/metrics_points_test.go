package api_test

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
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

// TestMetricsOfProof: what verifications and keys say of the newest restore point; of what
// nobody has tried, nothing.
func TestMetricsOfProof(t *testing.T) {
	b := newBackend(t)
	ready := b.State().Readiness["quai"].Ready
	whole := ready.Points["nuage"][0]
	whole.Key, whole.Verified = "ab:cd", true
	old := whole
	old.Time = whole.Time.Add(-time.Hour)
	corrupt := whole
	corrupt.Unusable, corrupt.Verified = api.VerifyFailed, false
	shut := whole
	shut.Unusable, shut.Verified = "extractconfig pbs-moulin:x: 500 wrong key - manifest's key ab:cd does not match", false
	fresh := whole
	fresh.Verified = false
	for what, c := range map[string]struct {
		points  []failover.RestorePoint
		ok, key string
	}{
		"verified":        {[]failover.RestorePoint{whole}, "1", "1"},
		"corrupt":         {[]failover.RestorePoint{corrupt, old}, "0", "1"},
		"other key":       {[]failover.RestorePoint{shut, old}, "", "0"},
		"not yet":         {[]failover.RestorePoint{fresh, old}, "", "1"},
		"nothing is held": {nil, "", ""},
	} {
		t.Run(what, func(t *testing.T) {
			ready.Points = map[failover.GuestID][]failover.RestorePoint{"nuage": c.points}
			other := failover.Readiness{Site: "fabrique"}
			if err := b.Apply(failover.ReportReadiness{Ready: ready}, failover.ReportReadiness{Ready: other}); err != nil {
				t.Fatal(err)
			}
			series := func(name, value string) string {
				if value == "" {
					return ""
				}
				return "wwwd_" + name + `{guest="nuage",site="quai"} ` + value + "\n"
			}
			compare(t, metricsOf(t, b), `
# HELP wwwd_guest_backup_verify_ok 1 when the newest restore point of a guest at a site passed its verification, 0 when that found it corrupt; none before one.
# TYPE wwwd_guest_backup_verify_ok gauge
`+series("guest_backup_verify_ok", c.ok)+`# HELP wwwd_guest_key_available 1 when a site holds the key of the newest backups of a guest there, 0 when it has none or another one.
# TYPE wwwd_guest_key_available gauge
`+series("guest_key_available", c.key))
		})
	}
}
