package network

import (
	"maps"
	"slices"
)

// readiness warns of networks that are well-formed and yet could not do what
// they are for.
func (c *checker) readiness() {
	if n := len(c.s.Sites); n == 2 {
		c.warn("sites", CodeNeverAuto, "add a third site; a witness is enough",
			"two voters never act automatically: when one is lost the other is no majority")
	}
	sources := c.sourcesByHome()
	for _, id := range c.s.SiteIDs() {
		if len(c.homes[id]) > 0 && !hasPublic(c.s.Sites[id]) {
			c.warn("sites."+string(id), CodeNeverAuto, "write public: {ipv4: ADDRESS}",
				"site %s has no public entry: one kind of path cannot prove its loss, so its guests never move automatically", Quote(id))
		}
	}
	homes := c.homesByStructure()
	for _, id := range slices.Sorted(maps.Keys(c.s.Structures)) {
		c.consent(id, c.s.Structures[id])
		c.sources(id, homes[id], sources)
	}
}

func (c *checker) consent(id StructureID, s Structure) {
	path := "structures." + string(id) + ".off_site"
	switch {
	case s.Mode == ModeAuto && s.OffSite.Policy != ConsentAllowed:
		c.warn(path, CodeConsent, "write off_site: {policy: allowed, consent: DATE}, or mode: ask",
			"mode auto has no effect: %s does not allow its guests to run elsewhere", Quote(id))
	case s.OffSite.Policy == ConsentAllowed && s.OffSite.Consent == "":
		c.warn(path, CodeConsent, "write consent: YYYY-MM-DD, the day the structure agreed",
			"the consent of %s has no date", Quote(id))
	}
}

// sourcesByHome tells for each home site how many other sites can restore
// its guests, as declared.
func (c *checker) sourcesByHome() map[SiteID]int {
	count := map[SiteID]int{}
	for id, site := range c.s.Sites {
		here := map[SiteID]bool{}
		for _, h := range site.Hosts {
			if h.Restore == nil || h.PVE == nil || h.Owner != OwnerRaoull {
				continue
			}
			for from, entries := range h.Sources {
				if len(entries) > 0 && from != id {
					here[from] = true
				}
			}
		}
		for from := range here {
			count[from]++
		}
	}
	return count
}

// homesByStructure lists where a structure's guests that may move belong.
func (c *checker) homesByStructure() map[StructureID]map[SiteID]bool {
	out := map[StructureID]map[SiteID]bool{}
	for home, guests := range c.homes {
		for _, g := range guests {
			guest := c.s.Guests[g]
			if guest.Priority > 3 || guest.Exposure != "web" {
				continue
			}
			if out[guest.Structure] == nil {
				out[guest.Structure] = map[SiteID]bool{}
			}
			out[guest.Structure][home] = true
		}
	}
	return out
}

// sources warns when a structure agreed to be rescued and no other site
// declares a storage entry with its backups.
func (c *checker) sources(id StructureID, homes map[SiteID]bool, count map[SiteID]int) {
	s := c.s.Structures[id]
	if s.Mode != ModeAuto && s.Mode != ModeAsk || s.OffSite.Policy != ConsentAllowed {
		return
	}
	for _, home := range slices.Sorted(maps.Keys(homes)) {
		if count[home] == 0 {
			c.warn("structures."+string(id), CodeNoSource, "write sources: {"+string(home)+": [ENTRY]} at a host with restore: on another site",
				"no other site could restore the guests of %s from %s", Quote(id), Quote(home))
		}
	}
}
