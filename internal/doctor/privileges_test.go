package doctor_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/privileges"
)

// TestEachMissingPrivilegeIsNamed: with path, and with the command that gives it.
func TestEachMissingPrivilegeIsNamed(t *testing.T) {
	for _, release := range []string{"8.4.1", "9.2.1"} {
		b := newBench()
		b.facts.Release = release
		grants, err := doctor.Grants(b.state.Network, "quai", release)
		if err != nil || len(grants) < 15 {
			t.Fatalf("Grants: %d, %v", len(grants), err)
		}
		for _, gone := range grants {
			b.facts.Permissions = granted(grants, gone)
			var got []doctor.Finding
			for _, f := range b.examine().Items {
				if f.Code == doctor.CodeMissingPrivilege {
					got = append(got, f)
				}
			}
			if len(got) != 1 || got[0].Args["privilege"] != gone.Privilege || got[0].Args["path"] != gone.Path || got[0].Severity != doctor.Error {
				t.Errorf("%s without %s on %s: got %+v, want it named once", release, gone.Privilege, gone.Path, got)
				continue
			}
			if !strings.Contains(got[0].Remedy, "--privs "+gone.Privilege) || !strings.Contains(got[0].Remedy, "acl modify "+gone.Path+" ") {
				t.Errorf("%s: remedy %q does not give it", gone.Privilege, got[0].Remedy)
			}
		}
	}
}

// TestEachMissingPrivilegeOfThePBSIsNamed is the same for the token of the PBS.
func TestEachMissingPrivilegeOfThePBSIsNamed(t *testing.T) {
	for _, release := range []string{"3.4.1", "4.2.0"} {
		b := newBench()
		b.facts.Store.Release = release
		_, host, _ := b.state.Network.Target("quai")
		grants := doctor.StoreGrants(host, *b.facts)
		if len(grants) < 6 {
			t.Fatalf("StoreGrants: %+v", grants)
		}
		for _, gone := range grants {
			b.facts.Store.Permissions = granted(grants, gone)
			var got []doctor.Finding
			for _, f := range b.examine().Items {
				if f.Category == doctor.Privileges && f.Severity != doctor.OK {
					got = append(got, f)
				}
			}
			if len(got) != 1 || got[0].Code != doctor.CodeMissingPrivilegePBS || got[0].Args["privilege"] != gone.Privilege || got[0].Args["path"] != gone.Path {
				t.Errorf("%s without %s on %s: got %+v, want it named once", release, gone.Privilege, gone.Path, got)
				continue
			}
			role, want := got[0].Args["role"], "acl update "+gone.Path+" "
			if !strings.Contains(got[0].Remedy, want) || !slices.Contains(privileges.PBSRoles()[role], gone.Privilege) {
				t.Errorf("%s: remedy %q does not give it", gone.Privilege, got[0].Remedy)
			}
		}
	}
}

// TestUnreadPathIsNotHeldAgainstTheToken: a question without an answer is told
// as such, and not as missing rights.
func TestUnreadPathIsNotHeldAgainstTheToken(t *testing.T) {
	b := newBench()
	delete(b.facts.Permissions, "/vms")
	b.facts.Failed = []doctor.Failure{{doctor.Privileges, "got timeout"}}
	if d := cmp.Diff([]string{"WARNING WWW-2101"}, told(b.examine())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
