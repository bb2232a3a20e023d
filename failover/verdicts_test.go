package failover_test

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// signals are the columns of the truth table: the targets at moulin behind them.
var signals = []struct {
	letter  string
	targets []string
}{
	{"A", []string{"agent"}},
	{"P", []string{"pve:pve-moulin", "pve:raoull-moulin"}},
	{"B", []string{"pbs:raoull-moulin"}},
	{"R", []string{"router"}},
	{"X", []string{"entry"}},
}

// sick is the place of the observer's own uplink (L) in a row, after them.
const sick = 5

// paint has an observer report moulin as a row of the table shows it: '-' it
// answers, 'x' silence for d, 'r' refused.
func paint(s *failover.State, observer failover.SiteID, row string, d time.Duration) failover.Report {
	r := report(s, observer, func(o *failover.Observation) {
		if o.Site != "moulin" {
			return
		}
		for i, sig := range signals {
			if !slices.Contains(sig.targets, o.Target) {
				continue
			}
			switch row[i] {
			case 'x':
				o.Seen, o.For = failover.SeenDown, d
			case 'r':
				o.Seen = failover.SeenRefused
			}
		}
		if o.Target == "dropbear:pve-moulin" && row[1] == 'x' {
			o.Seen, o.For = failover.SeenDown, d
		}
	})
	if row[sick] == 'x' {
		r.Unwell = []string{"uplink"}
	}
	return r
}

// observersOfMoulin are the voters that can judge it.
var observersOfMoulin = []failover.SiteID{"fabrique", "halle", "quai", "temoin"}

// moulinReady returns a network that could fail over moulin.
func moulinReady(t testing.TB) *log {
	p := &play{log: *newLog(t), ready: map[failover.SiteID]failover.Readiness{}}
	p.network([]string{"five"})
	return &p.log
}

// acts says whether automation, left alone, would begin or commit anything. It
// follows Decide on a clone.
func acts(t testing.TB, s *failover.State, now time.Time) (acted string) {
	s = s.Clone()
	for range 100 {
		d := failover.Decide(s, now)
		if len(d.Commands) == 0 {
			return acted
		}
		switch c := d.Commands[0].(type) {
		case failover.BeginOp:
			acted = string(c.Domain)
		case failover.CommitOp:
			return "commit"
		}
		if err := s.Apply(failover.Stamp{Index: s.Index + 1, Term: s.Term, At: now}, d.Commands[0]); err != nil {
			t.Fatalf("%T: %v", d.Commands[0], err)
		}
	}
	t.Fatal("Decide does not come to rest")
	return ""
}

// TestTruthTable compares every combination of the five signals, seen alike by
// all observers for ten minutes, with testdata/verdicts/alike.txt.
func TestTruthTable(t *testing.T) {
	const file = "testdata/verdicts/alike.txt"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	l := moulinReady(t)
	l.now = l.now.Add(10 * time.Minute)
	want := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	var got []string
	rows := 0
	for _, line := range want {
		words := strings.Fields(line)
		if line == "" || strings.HasPrefix(line, "#") || len(words) < len(signals) {
			got = append(got, line)
			continue
		}
		rows++
		row := strings.Join(words[:len(signals)], "") + "-"
		s := l.s.Clone()
		for _, observer := range observersOfMoulin {
			if err := s.Apply(failover.Stamp{Index: s.Index + 1, Term: s.Term, At: l.now}, paint(s, observer, row, 10*time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		v := failover.Judge(s, l.now)
		action := acts(t, s, l.now)
		if action == "" {
			action = "none"
		}
		got = append(got, fmt.Sprintf("%s   %-12s %-12s %-12s %s", strings.Join(words[:len(signals)], " "),
			v["site:moulin"].Cause, v["host:pve-moulin"].Cause, v["host:raoull-moulin"].Cause, action))
	}
	if rows < 32 {
		t.Errorf("%d rows, want every one of the 32 combinations", rows)
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s:%d:\n got %s\nwant %s", file, i+1, got[i], want[i])
		}
	}
}

// TestReferenceTable compares the rows of testdata/verdicts/reference.txt, in
// which each observer sees something of its own. A line of patterns is followed
// by the line of what comes of it.
func TestReferenceTable(t *testing.T) {
	const file = "testdata/verdicts/reference.txt"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	l := moulinReady(t)
	l.now = l.now.Add(10 * time.Minute)
	patterns := regexp.MustCompile(`^([-xr]{6} ){3}[-xr]{6}( |$)`)
	want := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	var got []string
	rows := 0
	for _, line := range want {
		if strings.HasPrefix(line, "= ") {
			continue // made anew
		}
		got = append(got, line)
		if patterns.MatchString(line) {
			rows++
			got = append(got, "= "+concluded(t, l, strings.Fields(line)))
		}
	}
	if rows < 20 {
		t.Errorf("%d rows, want those of the reference and of the design", rows)
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text := strings.Join(got, "\n"); text != strings.Join(want, "\n") {
		t.Errorf("%s: got\n%s", file, text)
	}
}

// concluded says what comes of one row.
func concluded(t *testing.T, start *log, words []string) string {
	s := start.s.Clone()
	apply := func(c failover.Command) {
		t.Helper()
		if err := s.Apply(failover.Stamp{Index: s.Index + 1, Term: s.Term, At: start.now}, c); err != nil {
			t.Fatal(err)
		}
	}
	with := words[len(observersOfMoulin):]
	lost := failover.SiteID("")
	for _, w := range with {
		if name, ok := strings.CutPrefix(w, "lose="); ok {
			lost = failover.SiteID(name)
		}
	}
	if slices.Contains(with, "rest") {
		apply(failover.BeginMaintenance{Domain: "site:moulin", For: time.Hour})
	}
	for i, observer := range observersOfMoulin {
		if observer == lost {
			continue
		}
		r := paint(s, observer, words[i], 10*time.Minute)
		for k, o := range r.Observations {
			switch {
			case o.Site == lost:
				r.Observations[k].Seen, r.Observations[k].For = failover.SeenDown, 10*time.Minute
			case slices.Contains(with, "dropbear") && o.Target == "dropbear:pve-moulin":
				r.Observations[k].Seen, r.Observations[k].For = failover.SeenUp, 5*time.Minute
			}
		}
		apply(r)
	}
	v := failover.Judge(s, start.now)
	action := acts(t, s, start.now)
	held := ""
	for range 20 {
		d := failover.Decide(s, start.now)
		if len(d.Commands) == 0 {
			break
		}
		apply(d.Commands[0])
	}
	for _, domain := range []failover.DomainID{"site:moulin", "host:pve-moulin", "host:raoull-moulin"} {
		held = cmp.Or(held, s.Domains[domain].Held.Code)
	}
	return fmt.Sprintf("%s / %s / %s, held %s, does %s", v["site:moulin"].Cause, v["host:pve-moulin"].Cause,
		v["host:raoull-moulin"].Cause, cmp.Or(held, "by nothing"), cmp.Or(action, "nothing"))
}

// TestOnlyALossActs lets the observers disagree: some see one combination of the
// signals, the others another, and any of them may be unwell. Whatever it is,
// automation acts exactly if a majority of all voters is well and sees nothing
// over both kinds of path, and nobody who is well sees anything.
func TestOnlyALossActs(t *testing.T) {
	l := moulinReady(t)
	l.now = l.now.Add(10 * time.Minute)
	reports := map[string]failover.Report{}
	row := func(n int) string {
		b := make([]byte, len(signals)+1)
		for i := range b {
			b[i] = "-x"[n>>i&1]
		}
		return string(b)
	}
	for n := range 64 {
		for _, observer := range observersOfMoulin {
			reports[string(observer)+row(n)] = paint(l.s, observer, row(n), 10*time.Minute)
		}
	}
	const allDark = "xxxxx-"
	cases, acted := 0, 0
	for first := range 64 {
		for second := range 64 {
			for split := 1; split <= len(observersOfMoulin); split++ {
				if split == len(observersOfMoulin) && second > 0 || (first*31+second*7+split)%stride != 0 && first != 31 && second != 31 {
					continue
				}
				s := l.s.Clone()
				dark, seen := 0, false
				for i, observer := range observersOfMoulin {
					r := row(first)
					if i >= split {
						r = row(second)
					}
					if r == allDark {
						dark++
					}
					// A sick observer's sighting is a veto, too; only its vote does not count.
					seen = seen || strings.Contains(r[:sick], "-")
					if err := s.Apply(failover.Stamp{Index: s.Index + 1, Term: s.Term, At: l.now}, reports[string(observer)+r]); err != nil {
						t.Fatal(err)
					}
				}
				cases++
				want := ""
				if dark >= 3 && !seen {
					want = "commit"
					acted++
				}
				if got := acts(t, s, l.now); got != want {
					t.Fatalf("%d observers see %s, the others %s: automation did %q, want %q; verdict %+v",
						split, row(first), row(second), got, want, failover.Judge(s, l.now)["site:moulin"])
				}
			}
		}
	}
	if acted == 0 || cases < 300 {
		t.Errorf("%d of %d cases acted: the test shows nothing", acted, cases)
	}
}

// stride thins out the combinations in which nobody sees everything dark.
const stride = 5 * slow

// TestOneObserverCannotActAlone: neither one that lies about everything nor one
// that is cut off moves anything, whoever it is.
func TestOneObserverCannotActAlone(t *testing.T) {
	for _, liar := range []failover.SiteID{"moulin", "fabrique", "quai", "halle", "temoin"} {
		l := moulinReady(t)
		for i := range 200 / slow {
			l.now = l.now.Add(10 * time.Second)
			for _, observer := range l.s.Network.SiteIDs() {
				l.must(report(l.s, observer, func(o *failover.Observation) {
					if observer == liar {
						o.Seen, o.For = failover.SeenDown, time.Duration(i+1)*10*time.Second
					}
				}))
			}
			if got := acts(t, l.s, l.now); got != "" {
				t.Fatalf("%s alone sees everything dark for %ds: automation did %s", liar, (i+1)*10, got)
			}
			l.settle()
		}
	}
}
