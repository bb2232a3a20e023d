package main

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// returnPage is the page for volunteers.
const returnPage = "../../docs/return.md"

// homeward is the plan that docs/return.md shows: the copy at home runs, and may have users.
func homeward() api.Plan {
	loss := failover.Loss{Site: "moulin", Guests: []failover.GuestID{"nuage"}, Planned: true, Keep: failover.KeepAway}
	return api.Plan{
		Meta: api.Meta{At: at("09:12:40"), Index: 4711},
		Plan: failover.Plan{
			Hash: "p-3f0a9c51-30m", Loss: loss,
			Assignments: []failover.Assignment{{Guest: "nuage", Structure: "le-moulin", Target: "moulin", Host: "pve-moulin", Automatic: true}},
		},
		Branches: []failover.BranchView{{
			Guest: "nuage", Serves: failover.Place{Site: "quai", Host: "raoull-quai", VMID: 90002}, Since: at("03:07:06"), Parted: at("01:15:00"),
			Left: &failover.Place{Site: "moulin", Host: "pve-moulin", VMID: 1101}, Running: true, LastRun: at("09:12:30"), Size: 120 * gib,
			Downtime: 34 * time.Minute, Propose: failover.KeepAway,
		}},
	}
}

// planning is an agent that answers with a plan, and knows what the copies were used for.
func planning(t *testing.T, plan api.Plan) string {
	t.Helper()
	return listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := api.Marshal(api.KindPlan, plan)
		if strings.HasSuffix(r.URL.Path, "/use") {
			b, err = api.Marshal(api.KindCopyUses, used())
		}
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(b)
	}))
}

// used is what the two copies of nuage were used for: the one at home by people in the house.
func used() api.CopyUses {
	return api.CopyUses{Copies: []api.CopyUse{
		{Place: failover.Place{Site: "quai", Host: "raoull-quai", VMID: 90002}, Serves: true, Until: at("09:12:00"), Written: 1946 << 20, Received: 312 << 20, Sent: 4 * gib},
		{Place: failover.Place{Site: "moulin", Host: "pve-moulin", VMID: 1101}, Until: at("09:12:00"), Written: 214 << 20, Received: 96 << 20, Sent: 640 << 20},
	}}
}

// whole checks that each text stands in one line, uncut, and that no line is cut at all.
func whole(t *testing.T, name, out string, want ...string) {
	t.Helper()
	lines := strings.Split(out, "\n")
	for _, w := range want {
		found := false
		for _, l := range lines {
			found = found || strings.HasSuffix(l, w)
		}
		if !found {
			t.Errorf("%s: no line ends in %q:\n%s", name, w, out)
		}
	}
	if strings.Contains(out, "…") {
		t.Errorf("%s: something is cut:\n%s", name, out)
	}
}

// TestFailbackPlanFitsATerminal: what the plan is for stands whole on a phone and on 80 columns, as it does in rows
// where they fit.
func TestFailbackPlanFitsATerminal(t *testing.T) {
	socket := planning(t, homeward())
	for name, width := range map[string]int{"48": 48, "80": 80} {
		r := wwwctl(t.Context(), socket, "failback plan le-moulin", screen(width, 24))
		whole(t, name, r.out, "RUNS", "wwwctl failback run le-moulin --keep away", "wwwctl failback run le-moulin --keep home", "  away for   34m00s")
		if !strings.Contains(r.out, "p-3f0a9c51-30m") {
			t.Errorf("%s: the plan's number is cut:\n%s", name, r.out)
		}
		fits(t, name, r.out, width, 40)
		r = wwwctl(t.Context(), socket, "failback run le-moulin --keep away --dry-run", screen(width, 24))
		whole(t, name, r.out, "RUNS", "wwwctl failback run le-moulin --keep away")
	}
	if r := wwwctl(t.Context(), socket, "failback plan le-moulin", screen(100, 24)); !strings.Contains(r.out, "GUEST  SERVES AT") {
		t.Errorf("where they fit there are no rows:\n%s", r.out)
	}
	r := wwwctl(t.Context(), socket, "failback run le-moulin --keep away --detach", input("n\n"))
	if !strings.Contains(r.errOut, "1 copy RUNS at moulin and may have users: shut it down") {
		t.Errorf("the question does not say what is shut down:\n%s", r.errOut)
	}
}

// TestFailbackRemoveFitsATerminal: why a copy stays, and all that its people type, stand whole.
func TestFailbackRemoveFitsATerminal(t *testing.T) {
	for name, width := range map[string]int{"48": 48, "80": 80} {
		socket := agentOf(t, backHome(t, failover.KeepAway))
		r := wwwctl(t.Context(), socket, "failback remove nuage --dry-run", screen(width, 24))
		whole(t, name, r.out, "wwwctl failback ack nuage")
		if got := strings.Join(strings.Fields(r.out), " "); !strings.Contains(got, "which is its structure's") {
			t.Errorf("%s: why it stays is cut:\n%s", name, r.out)
		}
		r = wwwctl(t.Context(), socket, "failback ack nuage --yes")
		if !strings.Contains(r.out, "are kept until 2026-12-22 02:58:11 at least") {
			t.Errorf("ack does not tell until when the branches are kept:\n%s", r.out)
		}
		r = wwwctl(t.Context(), socket, "failback remove nuage --dry-run", screen(width, 24))
		whole(t, name, r.out, "  qm config 1101", "  qm set 1101 --protection 0", "  qm destroy 1101")
		if got := strings.Join(strings.Fields(r.out), " "); !strings.Contains(got, "its description says www-park. Then") {
			t.Errorf("%s: what to look at is cut:\n%s", name, r.out)
		}
	}
}

// TestGuestScreenFitsATerminal: a field that is too long takes the lines it needs.
func TestGuestScreenFitsATerminal(t *testing.T) {
	p := &page{s: style{cut: true, unicode: true, width: 48, zone: time.UTC}}
	p.field("left copy", "pve-moulin at moulin, id 1101: runs since 2026-11-22 03:02:06")
	if got, want := p.b.String(), "  left copy  pve-moulin at moulin, id 1101: runs\n             since 2026-11-22 03:02:06\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestTheirCopyIsToldOnlyWhatIsSafe: what the program refuses for another reason nobody is told to type.
func TestTheirCopyIsToldOnlyWhatIsSafe(t *testing.T) {
	theirs := failover.Reason{Code: failover.CodeTheirCopy}
	sealed := &failover.Seal{Acked: failover.Stamp{Index: 9, At: at("03:00:00")}}
	copied := failover.CopyStands{
		Place: failover.Place{Site: "moulin", Host: "asso-moulin", VMID: 1101}, Theirs: true, Sealed: sealed, Until: at("04:00:00"), Remove: theirs,
	}
	guest := failover.GuestView{Guest: "nuage", Type: "vm", Home: "moulin"}
	for name, tt := range map[string]struct {
		change func(*failover.CopyStands)
		want   string
		no     []string
	}{
		"theirs, parked": {func(*failover.CopyStands) {}, "www-park", nil},
		"moved by plan":  {func(c *failover.CopyStands) { c.Moved, c.Sealed = true, nil }, "qm destroy 1101", []string{"www-park"}},
		"away":           {func(c *failover.CopyStands) { c.Remove.Code = failover.CodeStillAway }, "", []string{"destroy", "protection", "ack"}},
		"busy":           {func(c *failover.CopyStands) { c.Remove.Code = failover.CodeGuestBusy }, "", []string{"destroy", "protection"}},
		"runs":           {func(c *failover.CopyStands) { c.Running = true }, "Leave it.", []string{"destroy", "protection"}},
		"not sealed":     {func(c *failover.CopyStands) { c.Sealed = nil }, "Leave it.", []string{"destroy", "protection"}},
		"not acked":      {func(c *failover.CopyStands) { c.Until = time.Time{} }, "wwwctl failback ack nuage", []string{"destroy", "protection"}},
	} {
		c := copied
		tt.change(&c)
		p := &page{}
		theirCopy(p, guest, c)
		got := p.b.String()
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q in it", name, got, tt.want)
		}
		for _, no := range tt.no {
			if strings.Contains(got, no) {
				t.Errorf("%s: got %q, want no %q in it", name, got, no)
			}
		}
	}
}

// TestDivergedNamesTheNextCommand: the choice of a person is named with what shows both copies.
func TestDivergedNamesTheNextCommand(t *testing.T) {
	st := healthy()
	st.Headline, st.Counts.Diverged = failover.HeadDiverged, 2
	st.Todo = []failover.Reason{{Code: failover.CodeBranches, Args: map[string]string{"guests": "2"}}}
	for _, width := range []int{48, 80} {
		r := wwwctl(t.Context(), showing(t, st), "status", screen(width, 24))
		if got := strings.Join(strings.Fields(r.out), " "); !strings.Contains(got, "two branches of data exist. wwwctl failback plan SITE shows") {
			t.Errorf("%d columns:\n%s", width, r.out)
		}
		fits(t, "diverged", r.out, width, 24)
	}
}

// TestReturnPageShowsWhatIsPrinted: a volunteer compares the page with the screen.
func TestReturnPageShowsWhatIsPrinted(t *testing.T) {
	b, err := os.ReadFile(returnPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	if plan := wwwctl(t.Context(), planning(t, homeward()), "failback plan le-moulin").out; !strings.Contains(page, "```\n"+plan+"```\n") {
		t.Errorf("%s does not have this block:\n%s", returnPage, plan)
	}
	st := leaderless()
	st.Local.Unwell = nil
	isolated, _, _ := strings.Cut(wwwctl(t.Context(), showing(t, st), "status", screen(80, 40)).out, "\n\n")
	if !strings.Contains(page, "```\n"+isolated+"\n") {
		t.Errorf("%s does not have this block:\n%s", returnPage, isolated)
	}
}

// TestDetailsPageShowsWhatIsPrinted: the same of the copies that are left, and of what differs between two backups.
func TestDetailsPageShowsWhatIsPrinted(t *testing.T) {
	b, err := os.ReadFile("../../docs/return-details.md")
	if err != nil {
		t.Fatal(err)
	}
	a := &app{show: style{unicode: true, cut: true, width: 80, zone: time.UTC}}
	theirs := failover.Reason{Code: failover.CodeTheirCopy, Args: map[string]string{"guest": "nuage", "id": "1101", "host": "pve-moulin", "site": "moulin"}}
	guest := api.Guest{Guest: failover.GuestView{Guest: "nuage", Type: "vm", Home: "moulin"}}
	left := []failover.CopyStands{
		{Place: failover.Place{Site: "quai", Host: "raoull-quai", VMID: 90002}, Moved: true},
		{
			Place: failover.Place{Site: "moulin", Host: "pve-moulin", VMID: 1101}, Theirs: true, Remove: theirs, Until: at("09:20:31").AddDate(0, 0, 33),
			Sealed: &failover.Seal{Copies: []failover.SealCopy{{Site: "moulin"}, {Site: "quai"}}},
		},
	}
	d := api.FileDiff{Pair: failover.FilePair{
		Guest: "nuage", Site: "quai", Host: "pve-quai", Copy: failover.Place{Host: "pve-moulin", VMID: 1101},
		Sealed:  failover.RestorePoint{Time: at("09:13:02"), Volid: "pbs-sealed-moulin:backup/vm/1101/2026-11-22T09:13:02Z"},
		Running: failover.RestorePoint{Time: at("02:00:07").AddDate(0, 0, 1)},
	}}
	const root = "/drive-scsi0.img.fidx/part/1/srv/"
	d.Changes = []failover.FileChange{
		{Path: root + "devis.ods", Kind: failover.FileOnlySealed, Sealed: failover.FileState{Size: 48 << 10, MTime: at("08:01:00")}},
		{Path: root + "membres.ods", Kind: failover.FileDiffers, Sealed: failover.FileState{Size: 7, MTime: at("08:01:00")}, Running: failover.FileState{Size: 9, MTime: at("19:01:00")}},
	}
	d.Unread, d.Dirs = []failover.UnreadDir{{Path: "/drive-scsi1.img.fidx", Volid: d.Pair.Sealed.Volid, Why: "unknown filesystem"}}, 12
	piped := &app{show: style{unicode: true, zone: time.UTC}}
	for _, block := range []string{a.leftScreen(guest, left, clearing{verb: "remove"}), piped.diffScreen(d)} {
		if !strings.Contains(string(b), "```\n"+block) {
			t.Errorf("docs/return-details.md does not have this block:\n%s", block)
		}
	}
}
