package failover

import (
	"strings"
	"time"
)

// judgeBrief is Judge without the evidence of what is well: the verdicts are
// the same, but those of sites and hosts of which everybody sees everything
// have no votes. The leader decides several times a second, and most of what it
// looks at is well.
func judgeBrief(s *State, now time.Time) map[DomainID]Verdict {
	if s.Network == nil {
		return map[DomainID]Verdict{}
	}
	j := newJudge(s, s.notBefore(now))
	j.brief = true
	return j.all()
}

// evidence returns the votes on one domain.
func (s *State) evidence(id DomainID, now time.Time) []Vote {
	j := newJudge(s, s.notBefore(now))
	site := s.SiteOfDomain(id)
	v := j.site(site)
	if kind, name := splitDomain(id); kind == "host" {
		v = j.host(site, HostID(name), v)
	}
	return v.Votes
}

// calm says whether all observers of a site whose word counts see all of it
// well: then there is nothing to weigh. It returns how many they are.
func (j judge) calm(site SiteID) (observers int, calm bool) {
	if j.presentVoters(site) < j.majority-j.ownVote(site) {
		return 0, false
	}
	for i, observer := range j.observers {
		if observer == site || !j.counted[i] {
			continue
		}
		n, mesh, obs := 0, false, j.said(site, observer)
		for k := range obs {
			o := &obs[k]
			switch {
			case !outside(*o):
				continue
			case o.Seen == SeenUp:
				n++
				mesh = mesh || o.Path == PathMesh
			case !strings.HasPrefix(o.Target, "dropbear:") || o.Path != PathMesh:
				return 0, false // a shell that waits for a passphrase says nothing where the rest is well
			}
		}
		if n == 0 {
			continue
		}
		if !mesh {
			return 0, false
		}
		observers++
	}
	return observers, observers > 0
}

// calmSite is the verdict of a site that is calm.
func (j judge) calmSite(id SiteID, observers int) Verdict {
	v := Verdict{Domain: SiteDomain(id), Site: id, Cause: CauseUp, Present: observers, Seeing: observers}
	v.Back = j.lasted(id, "") >= observers/2+1
	return v
}

// calmHost is the verdict of a host of a site that is calm.
func (j judge) calmHost(site SiteID, h HostID, back bool) Verdict {
	v := Verdict{Domain: HostDomain(h), Site: site, Cause: CauseUnknown, Back: back}
	suffix := ":" + string(h)
	for i, observer := range j.observers {
		if observer == site || !j.counted[i] {
			continue
		}
		any, sees, obs := false, false, j.said(site, observer)
		for k := range obs {
			o := &obs[k]
			if !strings.HasSuffix(o.Target, suffix) || !outside(*o) {
				continue
			}
			any, sees = true, sees || o.Seen.Alive()
			if kind := strings.TrimSuffix(o.Target, suffix); kind == "pve" || kind == "pbs" {
				v.Cause = CauseUp
			}
		}
		if any {
			v.Present++
		}
		if sees {
			v.Seeing++
		}
	}
	if v.Present > 0 {
		v.Back = j.lasted(site, suffix) >= v.Present/2+1
	}
	return v
}

// calmAt says whether all observers whose word counts see all of a host well that they ask of it, over the mesh, too:
// then there is nothing to weigh, whatever there is about its site.
func (j judge) calmAt(site SiteID, h HostID) bool {
	suffix := ":" + string(h)
	for i, observer := range j.observers {
		if observer == site || !j.counted[i] {
			continue
		}
		any, mesh, obs := false, false, j.said(site, observer)
		for k := range obs {
			o := &obs[k]
			if !strings.HasSuffix(o.Target, suffix) || !outside(*o) {
				continue
			}
			if o.Seen != SeenUp {
				return false
			}
			any, mesh = true, mesh || o.Path == PathMesh
		}
		if any && !mesh {
			return false
		}
	}
	return true
}

// lasted counts the observers whose word counts that have seen something of a
// site, of the targets with a suffix, without a break for return_after.
func (j judge) lasted(site SiteID, suffix string) int {
	n, least := 0, j.s.Network.Policy.ReturnAfter.D()
	for i, observer := range j.observers {
		if observer == site || !j.counted[i] {
			continue
		}
		obs := j.said(site, observer)
		for k := range obs {
			if o := &obs[k]; o.For >= least && outside(*o) && o.Seen.Alive() && strings.HasSuffix(o.Target, suffix) {
				n++
				break
			}
		}
	}
	return n
}
