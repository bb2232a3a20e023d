package main

import (
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// TestLineText: where the backups of a copy lie, whether it still counts, and that they
// have no place.
func TestLineText(t *testing.T) {
	at := time.Date(2026, 3, 2, 3, 7, 0, 0, time.UTC)
	s := style{zone: time.UTC}
	home := failover.Lineage{Site: "moulin", Host: "pve-moulin", Group: "vm/1101", Namespace: "moulin", To: failover.Stamp{Index: 7, At: at}}
	away := failover.Lineage{Site: "quai", Host: "pve-raoull-quai", Group: "vm/90001", Base: failover.RestorePoint{Volid: "x", Time: at}}
	saved := home
	saved.To, saved.Backups = failover.Stamp{}, failover.Backups{Newest: failover.RestorePoint{Volid: "y", Time: at}, Note: "no space left"}
	for l, want := range map[*failover.Lineage]string{
		&saved: "of the copy on pve-moulin at moulin, as vm/1101 in namespace moulin, the newest of " + s.date(at) +
			" (the last one failed: no space left)",
		&home: "of the copy on pve-moulin at moulin, as vm/1101 in namespace moulin, superseded " + s.date(at),
		&away: "of the copy on pve-raoull-quai at quai, as vm/90001, and no place is declared for them, begun from the backup of " + s.date(at),
	} {
		if got := lineText(*l, s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
