package site

import (
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/raoull/worldwidewelsh/internal/network"
)

// How many sites a lab may have. Each brique is the home of a structure with a VLAN
// of its own; the address plan has room for 16.
const (
	MinSites     = 3
	MaxSites     = 18
	DefaultSites = 5
)

const mib = 1 << 20

// firstBriques are the briques of every lab; further ones are numbered.
var firstBriques = [...]struct{ name, structure string }{
	{"moulin", "le-moulin"}, {"fabrique", "atelier"}, {"quai", "les-docks"},
}

// Layout returns the lab of n sites: three briques, a parpaing (from 4 on), a witness
// (from 5 on), then further briques.
func Layout(n int, block byte) (*Lab, error) {
	if n < MinSites || n > MaxSites {
		return nil, fmt.Errorf("a lab has %d to %d sites, not %d", MinSites, MaxSites, n)
	}
	l := &Lab{
		Network: "lab", Zone: "assos.example", Block: block, Secret: rand.Text(),
		Timing: Timing{First: seconds(3), Backup: seconds(30), Sync: seconds(3)}, Rate: 6 * mib,
	}
	for i := range n {
		switch i {
		case 3:
			l.Sites = append(l.Sites, Site{Name: "halle", Kind: network.Parpaing})
		case 4:
			l.Sites = append(l.Sites, Site{Name: "temoin", Kind: network.Witness})
		default:
			l.addBrique()
		}
	}
	return l, nil
}

// SettleParpaing gives the first parpaing a structure with a PVE of its own, the form of
// a site that has no local rescue.
func (l *Lab) SettleParpaing() error {
	for i, s := range l.Sites {
		if s.Kind != network.Parpaing {
			continue
		}
		l.Sites[i].Structure, l.Sites[i].VLAN = "la-halle", 190
		l.addGuests(s.Name, "la-halle", 90, []Member{
			{Name: "paniers", Type: network.CT, Priority: 1, Disk: 4 * mib},
			{Name: "stands", Type: network.VM, Priority: 2, Disk: 8 * mib},
		})
		return nil
	}
	return fmt.Errorf("a lab of %d sites has no parpaing", len(l.Sites))
}

// LodgeAtRaoull adds guests that live on Raoull's machine of the second brique, beside those
// on the structure's.
func (l *Lab) LodgeAtRaoull() error {
	at := l.Sites[1]
	l.addGuests(at.Name, at.Structure, 50, []Member{
		{Name: "visio", Type: network.VM, Priority: 1, Disk: 8 * mib, Raoull: true},
		{Name: "liens", Type: network.CT, Priority: 2, Disk: 4 * mib, Raoull: true, After: []string{"visio"}},
	})
	return nil
}

// KeepWarm has the first guests of the first brique kept restored elsewhere. Restores are so slow
// and backups so rare that it shows beside the one that is not, and is as large.
func (l *Lab) KeepWarm() error {
	n := 0
	for i, g := range l.Guests {
		if l.Home(g) == l.Sites[0].Name && g.Priority <= 2 {
			l.Guests[i].Warm = true
			n++
		} else if l.Home(g) == l.Sites[0].Name && g.Priority == 3 {
			l.Guests[i].Disk = 12 * mib
		}
	}
	if n == 0 {
		return fmt.Errorf("no guest of %s is worth it", l.Sites[0].Name)
	}
	l.Rate = mib / 2
	l.Timing.Backup = seconds(600)
	return nil
}

func (l *Lab) addBrique() {
	k := 0
	for _, s := range l.Sites {
		if s.Kind == network.Brique {
			k++
		}
	}
	name := fmt.Sprintf("lavoir%d", k+1)
	structure := "amis-de-" + name
	if k < len(firstBriques) {
		name, structure = firstBriques[k].name, firstBriques[k].structure
	}
	l.Sites = append(l.Sites, Site{Name: name, Kind: network.Brique, Structure: structure, VLAN: 120 + 10*k})
	l.addGuests(name, structure, k+1, guestsOfBrique(k))
}

// addGuests adds the guests of a structure; their ids begin at 1000 times a number.
func (l *Lab) addGuests(name, structure string, thousand int, guests []Member) {
	first := 0 // the structure may have guests already
	for _, g := range l.Guests {
		if g.Structure == structure {
			first++
		}
	}
	for i, g := range guests {
		g.ID, g.Structure, g.Number = 1000*thousand+101+i, structure, first+i
		label := g.Name
		g.Name = label + "-" + name
		g.Names = []string{label + "." + name + "." + l.Zone}
		for j, after := range g.After {
			g.After[j] = after + "-" + name
		}
		g.Memory = 512 * mib
		l.Guests = append(l.Guests, g)
	}
}

// guestsOfBrique returns what runs at the k-th brique: three guests that move at
// least, VMs and containers, one after another in one case, and at the first brique
// one that is not worth a rescue.
func guestsOfBrique(k int) []Member {
	sets := [][]Member{
		{
			{Name: "nuage", Type: network.VM, Priority: 1, Disk: 12 * mib},
			{Name: "adherents", Type: network.CT, Priority: 2, Disk: 6 * mib, After: []string{"nuage"}},
			{Name: "agenda", Type: network.CT, Priority: 3, Disk: 4 * mib},
			{Name: "photos", Type: network.CT, Priority: 4, Disk: 4 * mib},
		},
		{
			{Name: "wiki", Type: network.CT, Priority: 1, Disk: 6 * mib},
			{Name: "outils", Type: network.VM, Priority: 2, Disk: 10 * mib},
			{Name: "stages", Type: network.CT, Priority: 3, Disk: 4 * mib, After: []string{"wiki"}},
		},
		{
			{Name: "radio", Type: network.VM, Priority: 1, Disk: 10 * mib},
			{Name: "caisse", Type: network.CT, Priority: 2, Disk: 4 * mib},
			{Name: "affiches", Type: network.VM, Priority: 3, Disk: 8 * mib},
		},
	}
	return slices.Clone(sets[min(k, len(sets)-1)])
}
