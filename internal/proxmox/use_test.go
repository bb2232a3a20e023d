package proxmox_test

import (
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/proxmox"
	"github.com/raoull/worldwidewelsh/internal/proxmox/proxmoxtest"
)

// TestGuestUse: averages become bytes, of what lies after the time asked for; where nothing is recorded nothing is known.
func TestGuestUse(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(1772323200+s, 0).UTC() }
	for name, tt := range map[string]struct {
		rows string
		want proxmox.GuestUse
	}{
		"two minutes, and one that is not over": {
			`{"time":1772323200,"diskwrite":10,"netin":2.5,"netout":1},{"time":1772323260,"diskwrite":0.5,"netin":0,"netout":0},{"time":1772323320,"netin":99}`,
			proxmox.GuestUse{From: at(0), Until: at(120), Written: 630, Received: 150, Sent: 60},
		},
		"half of the first one": {
			`{"time":1772323170,"diskwrite":10,"netin":1,"netout":1},{"time":1772323230}`,
			proxmox.GuestUse{From: at(0), Until: at(30), Written: 300, Received: 30, Sent: 30},
		},
		"off": {`{"time":1772323200},{"time":1772323260}`, proxmox.GuestUse{}},
		"off at first": {
			`{"time":1772323200},{"time":1772323260,"diskwrite":1,"netin":1,"netout":1},{"time":1772323320}`,
			proxmox.GuestUse{From: at(60), Until: at(120), Written: 60, Received: 60, Sent: 60},
		},
		"before":  {`{"time":1772323080,"netin":5},{"time":1772323140}`, proxmox.GuestUse{}},
		"nothing": {``, proxmox.GuestUse{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := pveAnswering(t, 200, data("["+tt.rows+"]")).GuestUse(t.Context(), proxmox.VM, 9001, at(0), at(600))
			check(t, got, err, tt.want)
		})
	}
	if _, err := pveAnswering(t, 200, data(`[{"netin":1},{"time":1772323260}]`)).GuestUse(t.Context(), proxmox.VM, 9001, at(0), at(600)); proxmox.KindOf(err) != proxmox.BadAnswer {
		t.Errorf("a row without its time: %v", err)
	}
}

// TestGuestUseChoosesItsRecords: the finest that reach back far enough.
func TestGuestUseChoosesItsRecords(t *testing.T) {
	now := time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC)
	for ago, want := range map[time.Duration]string{
		time.Minute: "hour", 90 * time.Minute: "day", 30 * time.Hour: "week", 9 * 24 * time.Hour: "month", 90 * 24 * time.Hour: "year", 900 * 24 * time.Hour: "year",
	} {
		rec := &proxmoxtest.Recorder{Next: handler(200, data("[]"))}
		pve, _ := clients(t, rec)
		if _, err := pve.GuestUse(t.Context(), proxmox.CT, 9001, now.Add(-ago), now); err != nil {
			t.Fatal(err)
		}
		if got := requestText(t, rec.Requests()[0]); !strings.HasSuffix(got, "timeframe="+want) {
			t.Errorf("since %s: %s, want %s", ago, got, want)
		}
	}
}
