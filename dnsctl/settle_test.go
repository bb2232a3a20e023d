package dnsctl_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
)

// laggingPrimary shows what it holds only some time after an update, as BIND
// with inline signing does: conditions are compared with what it holds.
type laggingPrimary struct {
	fakePrimary
	shown   fakePrimary
	now     *time.Time
	behind  time.Duration
	pending time.Time // of the first update that is not shown
}

func newLagging(now *time.Time, behind time.Duration, fence string) *laggingPrimary {
	l := &laggingPrimary{now: now, behind: behind}
	l.stands = fence
	l.show()
	return l
}

func (l *laggingPrimary) show() {
	l.shown = fakePrimary{}
	l.shown.server().Restore(l.server().Backup())
	l.pending = time.Time{}
}

func (l *laggingPrimary) Exchange(_ context.Context, _ string, m *dns.Msg) (*dns.Msg, error) {
	if !l.pending.IsZero() && l.now.Sub(l.pending) >= l.behind {
		l.show()
	}
	if m.Opcode != dns.OpcodeUpdate {
		return l.shown.handle(m), nil
	}
	before := l.applied()
	r := l.handle(m)
	if l.applied() > before && l.pending.IsZero() {
		l.pending = *l.now
	}
	return r, nil
}

// other is an update by another writer.
func (l *laggingPrimary) other(t *testing.T, token dnsctl.Token, n int) {
	t.Helper()
	u, err := dnsctl.NewUpdater(&l.fakePrimary, "other", "failover.test.", token, move(n))
	if err != nil {
		t.Fatal(err)
	}
	if err := hurry(t.Context(), u, l.now); err != nil {
		t.Fatal(err)
	}
	l.pending = *l.now
}

// What is read back after an update is not yet what was accepted: it is asked
// for again for a while before the server is said to ignore it, and who has lost
// to a later writer hears that and nothing else.
func TestUpdateOfAServerThatShowsItLater(t *testing.T) {
	const second = time.Second
	token := func(index uint64) dnsctl.Token { return dnsctl.Token{Generation: 1, Index: index} }
	alias := []dnsctl.Change{{Name: "new.failover.test.", Type: "CNAME", After: []dnsctl.Record{rec("new.failover.test.", "CNAME", "moulin.site.failover.test.")}}}
	for _, tc := range []struct {
		name    string
		behind  time.Duration
		fence   string // shown and held at first
		before  uint64 // index of another writer's update that does not show yet; 0: none
		between uint64 // index of an update that follows ours at once
		changes []dnsctl.Change
		want    error
		text    string
		least   time.Duration
		most    time.Duration
	}{
		{"at once", 0, "", 0, 0, move(7), nil, "", 0, 0},
		{"a moment later", 300 * time.Millisecond, "", 0, 0, move(7), nil, "", 300 * time.Millisecond, second},
		{"seconds later", 4 * second, "ww1 gen=1 idx=3", 0, 0, move(7), nil, "", 4 * second, 5 * second},
		{"never", time.Hour, "ww1 gen=1 idx=3", 0, 0, move(7), dnsctl.ErrIneffective, "missing [www.failover.test.", 5 * second, 6 * second},
		{"a later writer follows", 300 * time.Millisecond, "", 0, 9, move(7), dnsctl.ErrFenced, "", 300 * time.Millisecond, second},
		{"a later writer is there, unseen", 300 * time.Millisecond, "", 9, 0, move(7), dnsctl.ErrFenced, "", 0, second},
		{"a later writer is there, unseen behind an older", second, "ww1 gen=1 idx=3", 9, 0, move(7), dnsctl.ErrFenced, "", 0, 2 * second},
		{"an earlier writer is there, unseen", second, "ww1 gen=1 idx=3", 5, 0, move(7), nil, "", second, 4 * second},
		{"an earlier writer is there, and no record in the way", second, "ww1 gen=1 idx=3", 5, 0, alias, nil, "", second, 4 * second},
		{"the same without a fence", second, "", 5, 0, alias, nil, "", second, 4 * second},
		{"the fence never shows", time.Hour, "ww1 gen=1 idx=3", 5, 0, move(7), nil, "shows another fence than it compares with", 5 * second, 6 * second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			begin := time.Unix(1e9, 0)
			now := begin
			l := newLagging(&now, tc.behind, tc.fence)
			if tc.before != 0 {
				l.other(t, token(tc.before), int(tc.before))
			}
			u, err := dnsctl.NewUpdater(l, "192.0.2.53:53", "failover.test.", token(7), tc.changes)
			if err != nil {
				t.Fatal(err)
			}
			applied := l.applied()
			for tc.between != 0 && l.applied() == applied {
				if u.Step(t.Context(), now) {
					t.Fatalf("ended before it wrote: %v", u.Err())
				}
			}
			if tc.between != 0 {
				l.other(t, token(tc.between), int(tc.between))
			}
			err = hurry(t.Context(), u, &now)
			switch {
			case tc.want != nil && !errors.Is(err, tc.want), tc.want == nil && tc.text == "" && err != nil,
				tc.text != "" && (err == nil || !strings.Contains(err.Error(), tc.text)):
				t.Errorf("error %v, want %v %q", err, tc.want, tc.text)
			}
			if took := now.Sub(begin); took < tc.least || took > tc.most {
				t.Errorf("took %s, want %s to %s", took, tc.least, tc.most)
			}
		})
	}
}

// A primary that shows its updates later is no news: nothing is said of it,
// nothing fails, and another primary does not wait for it.
func TestPublisherWaitsForAPrimaryThatShowsItLater(t *testing.T) {
	const first, second = "192.0.2.1:53", "192.0.2.2:53"
	net := &clocked{now: time.Unix(1e9, 0), dead: map[string]bool{}, servers: map[string]dnsctl.Exchanger{}}
	slow, quick := newLagging(&net.now, 700*time.Millisecond, ""), newLagging(&net.now, 0, "")
	net.servers[first], net.servers[second] = slow, quick
	log := &fakeLog{state: foreignState(t, first, second), lead: true}
	pub := publisher(log, net, nil)
	net.until(t, pub, log, "at home", 10*time.Second, verified(log, "failover.test"))
	for n, site := range []failover.SiteID{"quai", "moulin", "quai"} {
		log.state = serve(log.state, site, "g0", "g1", "g2")
		want := fmt.Sprintf("ww1 net=assos gen=2 idx=%d", log.state.Zones["failover.test"].Changed)
		net.until(t, pub, log, "accepted by both", time.Second, func() bool { return slow.fence() == want && quick.fence() == want })
		if n != 1 { // else the next decision comes while this one does not show yet
			net.until(t, pub, log, "shown", 4*time.Second, verified(log, "failover.test"))
		}
	}
	for _, c := range log.proposed {
		if v, ok := c.(failover.VerifyZone); ok && (len(v.Notes) > 0 || !v.Servers[first] || !v.Servers[second]) {
			t.Errorf("the log heard of a server that was only late: %+v", v)
		}
	}
	if n := pub.Failures()["failover.test"]; n != 0 {
		t.Errorf("%d updates are said to have failed", n)
	}
}
