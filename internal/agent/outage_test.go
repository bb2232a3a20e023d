package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// outages are the places of a run at which its machines fall silent.
var outages = []string{"protect running", "restore running", "start running", "check running", "release running"}

func TestOutageOfTheMachinesUsesUpNoAttempt(t *testing.T) {
	for _, at := range outages {
		t.Run(at, func(t *testing.T) {
			r := newRig(t)
			r.begin()
			r.until(at)
			ends := r.now.Add(45 * time.Second)
			r.silent = func() bool { return r.now.Before(ends) }
			r.until("nothing left")
			for _, s := range r.run().Steps {
				if s.Attempt > 1 {
					t.Errorf("%s took %d attempts, want 1", s.ID, s.Attempt)
				}
			}
			if n, m := r.count("POST", "/qemu"), r.count("POST", "/status/start"); n != 1 || m != 1 {
				t.Errorf("%d restores and %d starts were posted, want one of each", n, m)
			}
		})
	}
}

func TestPostThatIsNotSentIsSentLater(t *testing.T) {
	r := newRig(t)
	r.begin()
	posts := 0
	r.executor.Hook = func(boundary string) {
		if strings.HasSuffix(boundary, "post restore") {
			posts++
		}
		r.silent = func() bool { return posts > 0 && posts < 9 && strings.HasSuffix(boundary, "post restore") }
	}
	r.until("nothing left")
	if n := r.count("POST", "/qemu"); n != 1 || posts != 9 {
		t.Errorf("%d restores reached the host at try %d, want one at try 9", n, posts)
	}
}

func TestOutageThatLastsEndsTheAttempt(t *testing.T) {
	for _, at := range []string{"protect running", "restore running", "start running", "release running"} {
		t.Run(at, func(t *testing.T) {
			r := newRig(t)
			r.begin()
			r.until(at)
			began := r.now
			r.silent = func() bool { return true }
			r.until(strings.Replace(at, "running", "failed", 1))
			step, _, _ := r.run().Current()
			took := r.now.Sub(began)
			if step.Failure != failover.FailTransient || !strings.Contains(step.Note, "connection refused") || took < time.Minute || took > 70*time.Second {
				t.Errorf("failed after %s as %q: %q, want transient after a minute, with the cause", took, step.Failure, step.Note)
			}
		})
	}
}
