package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestHoldGuestsWaitsAndEnds: it lets the host start its guests when nothing here is another
// site's, and in any case after its time.
func TestHoldGuestsWaitsAndEnds(t *testing.T) {
	local := func(leader bool, returning int) failover.Status {
		return failover.Status{Local: failover.LocalView{HasLeader: leader, Returning: returning}}
	}
	for _, tt := range []struct {
		name string
		says []failover.Status // then always the last; none: an error
		want string
		asks int
	}{
		{"settled at once", []failover.Status{local(true, 0)}, "guests may start", 1},
		{"settled after contact and a shutdown", []failover.Status{local(false, 0), local(true, 2), local(true, 0)}, "guests may start", 3},
		{"cut off", []failover.Status{local(false, 0)}, "guests start as this host has them", 0},
		{"no agent", nil, "guests start as this host has them", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			var out strings.Builder
			holdGuests(t.Context(), func(context.Context) (failover.Status, error) {
				asked++
				if len(tt.says) == 0 {
					return failover.Status{}, errors.New("no such socket")
				}
				return tt.says[min(asked, len(tt.says))-1], nil
			}, time.Microsecond, 20*time.Millisecond, &out)
			if !strings.Contains(out.String(), tt.want) || tt.asks > 0 && asked != tt.asks {
				t.Errorf("asked %d times, said %q; want %q", asked, out.String(), tt.want)
			}
		})
	}
}
