package failover_test

import (
	"os"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
)

// scene plays the commands of a file of testdata/scenarios up to a command, and not that.
func (p *play) scene(file, until string) {
	p.t.Helper()
	b, err := os.ReadFile("testdata/scenarios/" + file)
	if err != nil {
		p.t.Fatal(err)
	}
	printed := false
	for line := range strings.Lines(string(b)) {
		switch line = strings.TrimSpace(line); {
		case line == until:
			return
		case line == "" || line == "----":
			printed = line != ""
		case !printed && !strings.HasPrefix(line, "#"):
			p.run(line)
		}
	}
	p.t.Fatalf("%s has no %q", file, until)
}

// opFor is the operation that answers to a site's loss.
func (p *play) opFor(site failover.SiteID) failover.Operation {
	p.t.Helper()
	op, ok := p.s.OpFor(failover.SiteDomain(site))
	if !ok {
		p.t.Fatalf("nothing answers to the loss of %s", site)
	}
	return op
}

// What a person has opened again is not counted, but the log does not take that automation admits
// more of it while it is at work elsewhere (S6), whatever a leader concludes; nor, once it did,
// that it begins elsewhere.
func TestTheLogCountsWhatIsAdmittedAgain(t *testing.T) {
	commit := func(p *play, site failover.SiteID, guests ...failover.GuestID) error {
		v := failover.Judge(p.s, p.now)[failover.SiteDomain(site)]
		next := p.s.Clone()
		st := failover.Stamp{Index: next.Index + 1, Term: next.Term, At: p.now}
		err := next.Apply(st, failover.CommitOp{Op: p.opFor(site).ID, Guests: guests, Votes: v.Votes})
		if err == nil {
			if err := failover.Check(p.s, next); err != nil {
				t.Error(err)
			}
			p.s = next
		}
		return err
	}
	tooMany := func(err error) bool {
		return err != nil && strings.Contains(err.Error(), failover.CodeTooMany)
	}

	p := newPlay(t)
	p.scene("retry_admits_nothing_beside.txt", "work quai restore")
	if op := p.opFor("moulin"); op.Again.Index == 0 || op.Guests["nextcloud-moulin"].Admitted != 0 {
		t.Fatalf("%s: again %+v, want it opened by a person, and its guest not admitted", op.ID, op.Again)
	}
	if err := commit(p, "moulin", "nextcloud-moulin"); !tooMany(err) {
		t.Errorf("admitted while another site is failed over: %v, want %s", err, failover.CodeTooMany)
	}

	p = newPlay(t)
	p.scene("retry_admits_nothing_beside.txt", "report quai,halle,temoin: moulin all=down:600s; fabrique all=down:300s")
	p.run("report quai,halle,temoin: moulin all=down:600s; fabrique all=down:300s")
	p.run("retry-of 0")
	if err := commit(p, "moulin", "nextcloud-moulin"); err != nil || p.opFor("moulin").Again.Index != 0 {
		t.Fatalf("admitted again: %v, again %+v; want it to count from here on", err, p.opFor("moulin").Again)
	}
	if err := commit(p, "fabrique", "site-fabrique"); !tooMany(err) {
		t.Errorf("a second site beside one that goes on by itself: %v, want %s", err, failover.CodeTooMany)
	}
}
