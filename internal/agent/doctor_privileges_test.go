package agent_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/privileges"
)

// releases are the versions of PVE that rights are tested on; the PBS beside it
// is of the same age.
var releases = []string{"8.4.1", "9.2.1"}

type right struct{ path, name string }

func rights(grants []privileges.Grant) []right {
	all := map[right]bool{}
	for _, g := range grants {
		all[right{g.Path, g.Privilege}] = true
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b right) int {
		return slices.Compare([]string{a.path, a.name}, []string{b.path, b.name})
	})
}

// acl gives a token the rights of a list but one, each on its own path.
func acl(all []right, gone right) map[string][]string {
	out := map[string][]string{}
	for _, r := range all {
		if out[r.path] == nil {
			out[r.path] = []string{}
		}
		if r != gone {
			out[r.path] = append(out[r.path], r.name)
		}
	}
	return out
}

// least gives the clinic's tokens on both machines what the tables say, and
// returns both lists.
func (c *clinic) least(version string) (node, store []right) {
	c.t.Helper()
	grants, err := doctor.Grants(c.log.state.Network, away, version)
	if err != nil || len(grants) < 15 {
		c.t.Fatalf("%d grants, %v", len(grants), err)
	}
	node = rights(grants)
	c.acl[token] = acl(node, right{})
	c.round() // which knows the entries and the jobs
	_, host, _ := c.log.state.Network.Target(away)
	store = rights(doctor.StoreGrants(host, *c.doctor.Facts()))
	if len(store) < 5 {
		c.t.Fatalf("rights on the PBS: %v", store)
	}
	c.storeACL[token] = acl(store, right{})
	return node, store
}

// TestDoctorNamesEachPrivilegeTakenAway runs every check with least-privilege
// tokens, and then without each of their privileges.
func TestDoctorNamesEachPrivilegeTakenAway(t *testing.T) {
	for _, version := range releases {
		t.Run(version, func(t *testing.T) {
			c := newClinic(t, version)
			c.backup(lab.GuestSpec{ID: 1101, Kind: "vm", Name: "nuage"})
			node, store := c.least(version)
			named := func() (out []right) {
				for _, f := range c.round().Items {
					switch f.Code {
					case doctor.CodeMissingPrivilege, doctor.CodeMissingPrivilegePBS:
						out = append(out, right{f.Args["path"], f.Args["privilege"]})
					case doctor.CodeNoPull:
						// A job whose remote may not be seen is not listed: what is missing is named by its kind.
						out = append(out, right{"/remote/" + f.Args["source"], "Remote.Audit"})
					}
				}
				return out
			}
			if got := named(); len(got) > 0 {
				t.Fatalf("with every privilege: %v", got)
			}
			for _, gone := range node {
				c.acl[token] = acl(node, gone)
				if got := named(); len(got) != 1 || got[0] != gone {
					t.Errorf("without %v: named %v", gone, got)
				}
			}
			c.acl[token] = acl(node, right{})
			for _, gone := range store {
				c.storeACL[token] = acl(store, gone)
				if got := named(); len(got) != 1 || got[0] != gone {
					t.Errorf("PBS without %v: named %v", gone, got)
				}
			}
		})
	}
}
