package detectbench

import "testing"

// TestVetoOutlivesItsWitness: three observers have lost a site that the fourth
// still sees: asymmetric, vetoed. Then that one falls away in different ways.
// The commit delay must begin where the last sighting ended, not where the
// three lost the site, and a witness that still sees it must be heard.
func TestVetoOutlivesItsWitness(t *testing.T) {
	for name, effects := range map[string][]Effect{
		"the witness's line fails for a minute": {
			{Kind: cutFrom, Site: 1, Mask: 0b01101, From: onset, To: ending}, // all but temoin have lost fabrique
			{Kind: lineDown, Site: 4, From: onset + 208_000, To: onset + 268_000},
		},
		"the witness's way to the site breaks for 50 s": {
			{Kind: cutFrom, Site: 1, Mask: 0b01101, From: onset, To: ending},
			{Kind: pairDown, Site: 4, Other: 1, From: onset + 208_000, To: onset + 258_000},
		},
		"the witness cannot reach the leader": {
			{Kind: cutFrom, Site: 2, Mask: 0b11001, From: onset, To: ending}, // all but fabrique have lost quai
			{Kind: pairDown, Site: 1, Other: 0, From: onset + 100_000, To: ending},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for site, at := range live(t, horizon, Options{}, effects...).commits {
				t.Errorf("%s was failed over at %v", site, at)
			}
		})
	}
}
