package cluster_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/raoull/worldwidewelsh/cluster"
)

// slowStore takes its time for every append.
type slowStore struct {
	cluster.Store
	takes time.Duration
}

func (s slowStore) StoreLogs([]*raft.Log) error {
	time.Sleep(s.takes)
	return nil
}

// TestWatchLooksTwice: only a call that hangs through both looks ends the process. One
// that ends between them is slow, or was frozen along with its process.
func TestWatchLooksTwice(t *testing.T) {
	const limit = 10 * time.Second
	for _, tt := range []struct {
		name  string
		takes time.Duration
		exits int
	}{
		{"quick", time.Millisecond, 0},
		{"before the first look", limit*9/10 - time.Millisecond, 0},
		{"between the looks", limit*9/10 + time.Millisecond, 0},
		{"just in time", limit - time.Millisecond, 0},
		{"hung", limit + time.Millisecond, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, exits := time.Now(), 0
				s := cluster.Watch(slowStore{takes: tt.takes}, limit, func(string) {
					exits++
					if at := time.Since(begun); at != limit {
						t.Errorf("exit after %s, want %s", at, limit)
					}
				})
				if err := s.StoreLogs(nil); err != nil {
					t.Error(err)
				}
				time.Sleep(2 * limit)
				synctest.Wait()
				if exits != tt.exits {
					t.Errorf("a call of %s ended the process %d times, want %d", tt.takes, exits, tt.exits)
				}
			})
		})
	}
}
