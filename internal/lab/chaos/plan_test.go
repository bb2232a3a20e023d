package chaos

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/lab/netns"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

func labOf(t *testing.T) *site.Lab {
	t.Helper()
	l, err := site.Layout(site.DefaultSites, 77)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestSameSeedSamePlan: the lab's secret differs from run to run, the plan does not.
func TestSameSeedSamePlan(t *testing.T) {
	if diff := cmp.Diff(Plan(7, labOf(t), DefaultRound), Plan(7, labOf(t), DefaultRound)); diff != "" {
		t.Errorf("two plans of one seed differ:\n%s", diff)
	}
	if cmp.Equal(Plan(7, labOf(t), DefaultRound), Plan(8, labOf(t), DefaultRound)) {
		t.Error("two seeds have one plan")
	}
}

// TestPlansHaveEverything: each kind of event occurs, well formed, and ends in time.
func TestPlansHaveEverything(t *testing.T) {
	l, seen := labOf(t), map[string]int{}
	for seed := range uint64(300) {
		for _, e := range Plan(seed, l, DefaultRound) {
			seen[e.Do]++
			switch {
			case e.Do == DoPerson || e.Do == DoGuest:
				seen[e.Do+" "+e.To]++
			case e.Cut != nil:
				if _, err := l.Index(e.Cut.At); err != nil || e.Cut.At != e.Site || e.Cut.At == e.Cut.To {
					t.Fatalf("seed %d: %+v of %+v makes no sense", seed, e.Cut, e)
				}
			case e.Fault != nil:
				if err := e.Fault.Validate(); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			if e.At < 0 || e.At > DefaultRound || e.For < 0 || describe(e) == "" {
				t.Fatalf("seed %d: %+v is not within the round", seed, e)
			}
		}
	}
	for _, do := range []string{
		DoKill, DoCut, DoAgent, DoLeader, DoFreeze, DoDisk, DoSlow, DoMachine, DoHost, DoPlug, DoRaoull,
		"guest start", "guest stop", "guest delete", "guest create",
		"person " + PersonPause, "person " + PersonApprove, "person " + PersonFailover, "person " + PersonTwice,
		"person " + PersonGuest, "person " + PersonSwitchover, "person " + PersonRescue, "person " + PersonCancel, "person " + PersonRetry, "person " + PersonAck, "person " + PersonFailback, "person " + PersonUndo, "person " + PersonHostOff,
	} {
		if seen[do] == 0 {
			t.Errorf("%q is in no plan of 300", do)
		}
	}
}

func TestScheduleEndsWhatItBegins(t *testing.T) {
	got := schedule([]Event{{At: 1, For: 5}, {At: 2}, {At: 3, For: 100}}, 50)
	want := []moment{{1, 0, false}, {2, 1, false}, {3, 2, false}, {6, 0, true}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(moment{})); diff != "" {
		t.Errorf("schedule (-want +got):\n%s", diff)
	}
}

func TestTruthTellsHowLong(t *testing.T) {
	sites := []string{"a", "b", "c"}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	tr := newTruth(sites, now)
	tr.saw("b", true, now)
	tr.saw("c", true, now)
	tr.set(nil, []netns.Cut{{At: "a"}}, at(10))                    // cut off
	tr.set(nil, nil, at(20))                                       // for a moment it is not
	tr.set(map[string]bool{"a": true}, nil, at(21))                // and without power then
	tr.set(nil, nil, at(40))                                       // back
	tr.set(nil, []netns.Cut{{At: "b", To: "a", Loss: 30}}, at(50)) // b hears it badly
	p := pair{"b", "a"}
	for _, tt := range []struct {
		at            int
		reached, shut int
	}{
		{5, 5, 0}, {12, 0, 2}, {19, 0, 9}, {20, 0, 10}, {30, 0, 20}, {45, 5, 0}, {60, 0, 0},
	} {
		reached, shut := tr.reached(p, at(tt.at)), tr.shut(p, at(tt.at))
		if reached != time.Duration(tt.reached)*time.Second || shut != time.Duration(tt.shut)*time.Second {
			t.Errorf("at %d s: reached for %s, shut for %s, want %d s and %d s", tt.at, reached, shut, tt.reached, tt.shut)
		}
	}
	if got := tr.reached(pair{"c", "a"}, at(60)); got != 20*time.Second {
		t.Errorf("c has reached a for %s, want 20 s", got)
	}
	tr.saw("c", false, at(61))
	if got := tr.reached(pair{"c", "a"}, at(62)); got != 0 {
		t.Errorf("c, which is not well, counts for %s", got)
	}
}
