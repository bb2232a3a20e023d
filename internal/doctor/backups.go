package doctor

import (
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// objective is how many sites besides its home should hold a copy of a guest (R35).
const objective = 2

// oldFacts is the age of a site's readiness from which it says nothing of today:
// an agent tells an unchanged one every ten minutes.
const oldFacts = 30 * time.Minute

// replicas checks every guest's off-site copies, as the readiness of all sites
// tells them: only sites that could restore them count.
func (in Input) replicas() result {
	var r result
	if in.State.Network == nil {
		return r
	}
	for _, site := range in.State.Network.SiteIDs() {
		if _, _, ok := in.State.Network.Target(site); ok {
			r.checked++
			in.age(&r, site)
		}
	}
	for _, v := range failover.ExplainGuests(in.State, in.Now) {
		guest := in.State.Network.Guests[v.Guest]
		if guest.Priority == 4 || in.State.Network.Structures[guest.Structure].OffSite.Policy == network.ConsentForbidden {
			continue // nothing is promised
		}
		r.checked++
		in.guestCopies(&r, v, guest.MaxLoss.D())
	}
	in.unverified(&r)
	return r
}

// age tells of sites whose facts are old, for their copies may be gone.
func (in Input) age(r *result, site failover.SiteID) {
	ready, ok := in.State.Readiness[site]
	switch {
	case !ok:
		r.add(found(Backups, CodeOldFacts, site, "site "+string(site), "site", string(site)))
	case in.Now.Sub(ready.Stamp.At) > oldFacts:
		r.add(found(Backups, CodeOldFacts, site, "site "+string(site), "site", string(site), "age", round(in.Now.Sub(ready.Stamp.At))))
	}
}

func round(d time.Duration) string {
	if d < time.Hour {
		return d.Round(time.Second).String()
	}
	s := d.Round(time.Minute).String()
	return s[:len(s)-2] // "9h12m0s" without its seconds
}

func (in Input) guestCopies(r *result, v failover.GuestView, maxLoss time.Duration) {
	subject := "guest " + string(v.Guest)
	usable := map[failover.SiteID]bool{}
	for _, c := range v.Copies {
		if c.Site != v.Home && c.Unusable == "" {
			usable[c.Site] = true
		}
	}
	in.points(r, v)
	if told := in.ages(v); told != "" {
		f := found(Backups, CodeCopies, "", subject, "guest", string(v.Guest), "count", itoa(len(usable)), "copies", told)
		f.Severity = OK
		r.add(f)
	}
	switch len(usable) {
	case 0:
		r.add(found(Backups, CodeNoCopy, "", subject, "guest", string(v.Guest), "objective", itoa(objective)))
		return
	case 1:
		r.add(found(Backups, CodeOneCopy, "", subject, "guest", string(v.Guest), "site", string(sorted(usable)[0]), "objective", itoa(objective)))
	}
	if maxLoss > 0 && v.RPO > maxLoss && v.At == v.Home {
		r.add(found(Backups, CodeOld, "", subject, "guest", string(v.Guest), "age", round(v.RPO), "objective", round(maxLoss)))
	}
}

// ages writes where the usable off-site copies of a guest are and how old:
// "quai 1h12m, halle 2h".
func (in Input) ages(v failover.GuestView) string {
	var out []string
	for _, c := range v.Copies {
		if c.Site != v.Home && c.Unusable == "" {
			out = append(out, string(c.Site)+" "+round(max(0, in.Now.Sub(c.Time))))
		}
	}
	return strings.Join(out, ", ")
}

// points checks the newest point of each site by itself.
func (in Input) points(r *result, v failover.GuestView) {
	subject := "guest " + string(v.Guest)
	for _, site := range sorted(in.State.Readiness) {
		points := in.State.Readiness[site].Ready.Points[v.Guest]
		if len(points) == 0 || site == v.Home {
			continue
		}
		p := points[0]
		args := []string{"guest", string(v.Guest), "site", string(site), "time", p.Time.UTC().Format("2006-01-02 15:04"), "ns", p.Namespace, "volid", p.Volid}
		switch {
		case p.Unusable == string(ReasonNotEncrypted), p.Unusable == "" && p.Key == "":
			r.add(found(Backups, CodePlain, site, subject, args...))
		case p.Unusable != "":
			r.add(found(Backups, CodeUnusable, site, subject, append(args, "why", p.Unusable)...))
		}
		if ahead := p.Time.Sub(in.Now); ahead > clockWarn {
			r.add(found(Backups, CodeFuture, site, subject, append(args, "ahead", round(ahead))...))
		}
	}
}

// unverified tells per site and namespace of the newest points that this site's
// server did not verify itself.
func (in Input) unverified(r *result) {
	for _, site := range sorted(in.State.Readiness) {
		_, store, _ := in.State.Network.Store(site)
		byNS := map[string][]string{}
		for _, g := range sorted(in.State.Readiness[site].Ready.Points) {
			guest := in.State.Network.Guests[g]
			points := in.State.Readiness[site].Ready.Points[g]
			if in.State.Network.Home(g) == site || guest.Priority == 4 || len(points) == 0 || points[0].Unusable != "" || points[0].Key == "" || points[0].Verified {
				continue
			}
			byNS[points[0].Namespace] = append(byNS[points[0].Namespace], string(g))
		}
		for _, ns := range sorted(byNS) {
			name := "DATASTORE"
			if store.PBS != nil {
				name = store.PBS.Datastore
			}
			subject := "namespace " + ns
			if ns == "" {
				subject = "root namespace"
			}
			r.add(found(Backups, CodeUnverified, site, subject,
				"count", itoa(len(byNS[ns])), "guests", few(byNS[ns]), "ns", ns, "store", name, "site", string(site)))
		}
	}
}

// few lists the first of many names.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + ", …"
}

// syncJobs checks the jobs that bring copies to this site.
func (in Input) syncJobs(r *result) {
	site := in.Local.Site
	for _, j := range in.Facts.Jobs {
		r.checked++
		subject := "sync job " + j.ID
		idle := in.unscheduled(r, j)
		switch {
		case j.LastState == "OK", j.LastState == "" && idle: // the schedule comes first
		case j.LastState == "":
			r.add(found(Backups, CodeSyncNever, site, subject, "job", j.ID, "remote", j.Remote))
		default:
			r.add(found(Backups, CodeSyncFailed, site, subject, "job", j.ID, "remote", j.Remote, "why", j.LastState, "time", j.LastEnd.UTC().Format("2006-01-02 15:04")))
		}
		in.lineageJob(r, j)
	}
}
