package api

import (
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// VerifyFailed is why a restore point is unusable that a verification has found corrupt, as
// internal/proxmox says it.
const VerifyFailed = "verify failed"

// points tells of the newest usable restore point of a guest at each site, but at its owner's:
// that one is gone with it.
func (v scrape) points(g failover.GuestView) {
	var newest failover.RestorePoint
	for _, site := range network.SortedKeys(v.s.Readiness) {
		ready := v.s.Readiness[site].Ready
		v.proof(g, site, ready.Points[g.Guest])
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

// proof tells what is known of the newest restore point of a guest at a site: whether it passed a
// verification, and whether the site's key opens it. Of what nobody has tried yet nothing is told.
func (v scrape) proof(g failover.GuestView, site failover.SiteID, points []failover.RestorePoint) {
	if len(points) == 0 {
		return
	}
	newest := points[0]
	if failed := newest.Unusable == VerifyFailed; failed || newest.Verified {
		v.gauge("guest_backup_verify_ok", truth(!failed), string(g.Guest), string(site))
	}
	switch pt, ok := usable(points); {
	// Each text of the agent and of Proxmox about a key names it.
	case strings.Contains(newest.Unusable, "key"):
		v.gauge("guest_key_available", 0, string(g.Guest), string(site))
	case ok && pt.Key != "":
		v.gauge("guest_key_available", 1, string(g.Guest), string(site))
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
