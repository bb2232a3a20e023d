package api

import (
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// points tells of the newest usable restore point of a guest at each site, but at its owner's:
// that one is gone with it.
func (v scrape) points(g failover.GuestView) {
	var newest failover.RestorePoint
	for _, site := range network.SortedKeys(v.s.Readiness) {
		ready := v.s.Readiness[site].Ready
		pt, ok := usable(ready.Points[g.Guest])
		if !ok {
			continue
		}
		v.gauge("guest_backup_encrypted", truth(pt.Key != ""), string(g.Guest), string(site))
		if site == g.At {
			continue
		}
		if ready.Rate > 0 {
			v.gauge("guest_restore_estimate_seconds", float64(pt.Size)/float64(ready.Rate), string(g.Guest), string(site))
		}
		if pt.Time.After(newest.Time) {
			newest = pt
		}
	}
	if !newest.IsZero() {
		v.gauge("guest_restore_size_bytes", float64(newest.Size), string(g.Guest))
	}
}

// usable returns the first of points, newest first, that can be restored.
func usable(points []failover.RestorePoint) (failover.RestorePoint, bool) {
	for _, pt := range points {
		if pt.Unusable == "" {
			return pt, true
		}
	}
	return failover.RestorePoint{}, false
}

// certificates tells until when browsers take what is shown for each public name.
func (v scrape) certificates() {
	for _, c := range v.s.Certificates(v.now) {
		until := time.Time{}
		if c.Certificate.Wrong == "" {
			until = c.Certificate.Until
		}
		v.gauge("certificate_not_after_timestamp_seconds", unixSeconds(until), c.Name, string(c.Site))
	}
}
