package failover

import (
	"slices"
	"strings"
	"time"
)

// contradicted names the cause when some see nothing and others see something.
func (j judge) contradicted(views []view) Cause {
	meshDark, public := 0, 0
	for _, v := range views {
		if v.darkPath(PathMesh) {
			meshDark++
		}
		if v.alive("entry") || v.alive("name:") {
			public++
		}
	}
	if meshDark == len(views) && public > 0 {
		return CauseMeshDown
	}
	return CauseAsymmetric
}

// partial judges a site of which most observers see something.
func (j judge) partial(id SiteID, views []view) Cause {
	need := len(views)/2 + 1
	count := func(f func(view) bool) int {
		n := 0
		for _, v := range views {
			if f(v) {
				n++
			}
		}
		return n
	}
	meshDark := count(func(v view) bool { return v.darkPath(PathMesh) })
	publicDark := count(func(v view) bool { return v.darkPath(PathPublic) })
	agentGone := count(func(v view) bool {
		return slices.ContainsFunc(v.obs, func(o Observation) bool {
			return o.Target == "agent" && (o.Seen == SeenDown || o.Seen == SeenRefused)
		})
	})
	switch {
	case len(views) == 0 || count(view.sees) == 0 || count(func(v view) bool { return v.vote.Dark }) >= need:
		// Nobody is there, nobody sees anything, or most see nothing and said so
		// too long ago.
		return CauseUnknown
	case meshDark >= need && slices.ContainsFunc(views, func(v view) bool { return v.alive("entry") || v.alive("name:") }):
		return CauseMeshDown
	case meshDark >= need && publicDark > 0:
		return CauseAsymmetric
	case meshDark > 0 && meshDark < need && meshDark >= 2:
		return CauseAsymmetric
	}
	reaching := j.reaching(id, views)
	for _, h := range j.s.Network.Sites[id].HostIDs() {
		if c := hostCause(h, reaching, need); c != CauseUp && c != CauseUnknown {
			return c
		}
	}
	switch {
	case agentGone >= need && !j.s.Network.CanBeLost(id) && meshDark >= need:
		return CauseUnreachable
	case agentGone >= need:
		return CauseAgentOnly
	case publicDark >= need:
		return CausePublicDown
	}
	return CauseUp
}

// reaching keeps the views of those whom the site's mesh answers at all, be it with a
// refusal, or who have nothing on it to ask. The windows of one observer do not trip in
// the same instant: without it a dead mesh passes for its hosts' death for a moment, and
// the hosts, of which nothing new is known then, keep that on record.
func (j judge) reaching(site SiteID, views []view) []view {
	onMesh := func(o Observation) bool { return o.Path == PathMesh }
	answers := func(o Observation) bool { return onMesh(o) && o.Seen != SeenDown && o.Seen != SeenUnknown }
	return slices.DeleteFunc(slices.Clone(views), func(v view) bool {
		all := j.said(site, v.vote.Observer)
		return slices.ContainsFunc(all, onMesh) && !slices.ContainsFunc(all, answers)
	})
}

// hostCause judges one host from the views of its site.
func hostCause(h HostID, views []view, need int) Cause {
	pve, pbs, box := "pve:"+string(h), "pbs:"+string(h), "dropbear:"+string(h)
	known, locked, down, pbsDown := 0, 0, 0, 0
	for _, v := range views {
		has := slices.ContainsFunc(v.obs, func(o Observation) bool { return o.Target == pve || o.Target == pbs })
		if has {
			known++
		}
		pveGone := v.silent(pve) || !v.alive(pve) && !slices.ContainsFunc(v.obs, func(o Observation) bool { return o.Target == pve })
		pbsGone := v.silent(pbs) || !slices.ContainsFunc(v.obs, func(o Observation) bool { return o.Target == pbs })
		switch {
		case has && v.alive(box) && !v.alive(pve) && !v.alive(pbs):
			locked++
		case has && pveGone && pbsGone && !v.alive(box):
			down++
		case has && v.alive(pve) && slices.ContainsFunc(v.obs, func(o Observation) bool {
			return o.Target == pbs && (o.Seen == SeenDown || o.Seen == SeenRefused)
		}):
			pbsDown++
		}
	}
	switch {
	case known == 0:
		return CauseUnknown
	case locked >= need:
		return CauseLocked
	case down >= need:
		return CauseHostDown
	case pbsDown >= need:
		return CausePBSDown
	}
	return CauseUp
}

// host judges one host. When what is seen of its site is no clear picture, the
// host is no news of its own.
func (j judge) host(site SiteID, h HostID, sv Verdict) Verdict {
	v := Verdict{Domain: HostDomain(h), Site: site, Cause: CauseUnknown, Back: sv.Back}
	switch sv.Cause {
	case CauseLost, CauseUnreachable, CauseMeshDown, CauseAsymmetric, CauseUnknown, CauseWeAreSick:
		return v
	}
	if sv.Level >= LevelSuspect {
		return v
	}
	if j.brief && j.calmAt(site, h) {
		return j.calmHost(site, h, sv.Back)
	}
	suffix := ":" + string(h)
	views, _ := j.views(site, func(o Observation) bool { return outside(o) && strings.HasSuffix(o.Target, suffix) })
	for _, w := range views {
		v.Votes = append(v.Votes, w.vote)
		if w.sees() {
			v.Seeing++
		}
	}
	v.Present = len(views)
	views = j.reaching(site, views)
	if len(views) == 0 {
		return v
	}
	need := len(views)/2 + 1
	v.Cause = hostCause(h, j.settled(views), need)
	v.Back = j.back(views)
	switch v.Cause {
	case CauseLocked:
		v.Silence = j.lockedFor(h, views, need)
	case CauseHostDown:
		return j.deadHost(v, site, h)
	}
	return v
}

// lockedFor returns how long a majority of those present have seen a host wait
// for its passphrase.
func (j judge) lockedFor(h HostID, views []view, need int) time.Duration {
	var waited []time.Duration
	for _, v := range views {
		for _, o := range v.obs {
			if o.Target == "dropbear:"+string(h) && o.Seen.Alive() {
				waited = append(waited, o.For+v.vote.Age)
			}
		}
	}
	if len(waited) < need {
		return 0
	}
	slices.Sort(waited)
	return waited[len(waited)-need]
}
