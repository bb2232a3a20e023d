package failover_test

import (
	"errors"
	"testing"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestRaiseVersion: what is new in the log is written only once every member has said that
// it reads it; one that is silent, or was never heard, is not passed over.
func TestRaiseVersion(t *testing.T) {
	for _, c := range []struct {
		name  string
		reads map[failover.SiteID]int
		want  int
	}{
		{"all read it", map[failover.SiteID]int{"a": 2, "b": 2, "c": 3}, 2},
		{"one is older", map[failover.SiteID]int{"a": 2, "b": 1, "c": 3}, 1},
		{"one says nothing of it, as the first release", map[failover.SiteID]int{"a": 2, "b": 2, "c": 0}, 1},
		{"one was never heard", map[failover.SiteID]int{"a": 2, "b": 2}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := failover.NewState()
			for _, site := range []failover.SiteID{"a", "b", "c"} {
				s.Members[site] = failover.Member{ServerID: string(site), Voter: true}
			}
			for site, n := range c.reads {
				s.Reports[site] = failover.StoredReport{Report: failover.Report{Observer: site, Reads: n}}
			}
			if got := s.ReadBy(2); got != c.want {
				t.Errorf("version that may be written: got %d, want %d", got, c.want)
			}
		})
	}
}

// TestRaiseIsRefused: an entry that would let the log run ahead of a member changes nothing.
func TestRaiseIsRefused(t *testing.T) {
	s := failover.NewState()
	s.Members["a"] = failover.Member{ServerID: "a", Voter: true}
	s.Reports["a"] = failover.StoredReport{Report: failover.Report{Observer: "a"}}
	for _, v := range []int{0, 1, failover.CommandVersion + 1} {
		err := s.Apply(failover.Stamp{Index: 1, Term: 1}, failover.RaiseVersion{Version: v})
		if _, rejected := errors.AsType[*failover.RejectedError](err); !rejected || s.MinVersion != 1 {
			t.Errorf("version %d: got %v and minimum version %d, want a rejection and 1", v, err, s.MinVersion)
		}
	}
}
