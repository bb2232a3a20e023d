package failover_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// TestCertificatesAreToldOf: two other sites must see that a certificate ends or is refused; it is
// told once for a site, moves nothing and calls nobody where any certificate will do.
func TestCertificatesAreToldOf(t *testing.T) {
	const guest = "nextcloud-moulin"
	names := []string{"nuage.moulin.assos.example", "photos.moulin.assos.example"}
	ends := func(in time.Duration) failover.Certificate { return failover.Certificate{Until: start.Add(in)} }
	wrong := failover.Certificate{Wrong: "is of an unknown authority", Until: start.Add(90 * 24 * time.Hour)}
	soon, late := ends(5*24*time.Hour+2*time.Hour), ends(60*24*time.Hour)
	ending := failover.Reason{Code: failover.CodeCertEnds, Args: map[string]string{"name": names[0], "site": "moulin", "days": "5", "more": "1"}}
	refused := failover.Reason{Code: failover.CodeCertRefused, Args: map[string]string{"name": names[0], "site": "moulin", "why": wrong.Wrong, "more": "1"}}
	for what, tt := range map[string]struct {
		sees []failover.Certificate // by fabrique, quai, halle
		away bool
		any  bool
		sick failover.SiteID
		want []failover.Reason
	}{
		"none was judged":                    {},
		"far from its end":                   {sees: []failover.Certificate{late, late, late}},
		"all see it end":                     {sees: []failover.Certificate{soon, soon, soon}, want: []failover.Reason{ending}},
		"two see it end":                     {sees: []failover.Certificate{late, soon, soon}, want: []failover.Reason{ending}},
		"one has a wrong clock or a proxy":   {sees: []failover.Certificate{wrong, late, late}},
		"one of two is sick":                 {sees: []failover.Certificate{late, soon, soon}, sick: "quai"},
		"only one looks":                     {sees: []failover.Certificate{soon}, want: []failover.Reason{ending}},
		"two are refused":                    {sees: []failover.Certificate{wrong, late, wrong}, want: []failover.Reason{refused}},
		"any will do":                        {sees: []failover.Certificate{wrong, wrong, soon}, any: true},
		"a moved guest is told as unreached": {sees: []failover.Certificate{wrong, wrong, wrong}, away: true},
	} {
		t.Run(what, func(t *testing.T) {
			l := newLog(t)
			spec := fiveSites()
			g := spec.Guests[guest]
			g.Names = names
			if tt.any {
				g.Certificate = network.AnyCertificate
			}
			spec.Guests[guest] = g
			l.boot(spec.WithDefaults())
			at := failover.SiteID("moulin")
			if tt.away {
				at = "temoin"
				p := l.s.Guests[guest]
				p.Owner, p.Serving, p.Phase, p.Since.At = at, at, failover.PhaseAway, l.now
				l.s.Guests[guest] = p
			}
			for i, observer := range []failover.SiteID{"fabrique", "quai", "halle"} {
				r := failover.Report{Observer: observer, Boot: "boot", Seq: 1}
				for _, name := range names[:min(len(names), 2*max(0, len(tt.sees)-i))] {
					r.Observations = append(r.Observations, failover.Observation{
						Site: at, Target: "name:" + name, Path: failover.PathPublic, Seen: failover.SeenUp, Certificate: tt.sees[i],
					})
				}
				if observer == tt.sick {
					r.Unwell = []string{"uplink"}
				}
				if err := l.s.Apply(failover.Stamp{Index: l.s.Index + 1, Term: 1, At: l.now}, r); err != nil {
					t.Fatal(err)
				}
			}
			var got []failover.Reason
			for _, n := range failover.Explain(l.s, failover.LocalView{Site: "halle", HasLeader: true}, l.now).Notices {
				if n.Code == failover.CodeCertEnds || n.Code == failover.CodeCertRefused {
					got = append(got, n)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("notices (-want +got):\n%s", diff)
			}
		})
	}
}
