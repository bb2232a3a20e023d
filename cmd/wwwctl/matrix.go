package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// Widths of the matrix of evidence.
const (
	matrixName = 20 // a target
	matrixCell = 9  // "DOWN 12m"
)

// matrix lays the evidence out: a line per target, a column per observer, each
// with what it sees and for how long, and at the end how old its report is. As many
// observers stand side by side as the terminal has room for.
func (a *app) matrix(seen []api.Sighting) []string {
	at := map[string]map[string]api.Sighting{} // target → observer
	var targets, observers []string
	for _, o := range seen {
		target, observer := o.Target, string(o.Observer)
		if o.Path == failover.PathLAN {
			target += " (lan)"
		}
		if at[target] == nil {
			at[target] = map[string]api.Sighting{}
			targets = append(targets, target)
		}
		at[target][observer] = o
		if !slices.Contains(observers, observer) {
			observers = append(observers, observer)
		}
	}
	slices.SortFunc(targets, func(x, y string) int {
		return cmp.Or(cmp.Compare(targetRank(x), targetRank(y)), cmp.Compare(x, y))
	})
	var out []string
	side := max(1, (a.show.columns()-matrixName-2)/(matrixCell+2))
	if !a.show.cut {
		side = len(observers)
	}
	for group := range slices.Chunk(observers, max(1, side)) {
		out = append(out, a.matrixOf(at, targets, group)...)
	}
	return out
}

func (a *app) matrixOf(at map[string]map[string]api.Sighting, targets, observers []string) []string {
	t := table{cols: []column{{title: "SEEN BY"}}}
	for _, o := range observers {
		t.cols = append(t.cols, column{title: a.show.clip(o, matrixCell)})
	}
	age := []cell{{"report", dim}}
	last := map[string]api.Sighting{}
	for _, target := range targets {
		row := []cell{c(a.show.clip(target, matrixName))}
		for _, o := range observers {
			s, known := at[target][o]
			if known {
				last[o] = s
			}
			row = append(row, seenCell(s, known))
		}
		t.add(row...)
	}
	for _, o := range observers {
		age = append(age, ageCell(last[o]))
	}
	t.add(age...)
	return t.lines(a.show, false)
}

// targetRank orders targets from the site's edge inwards.
func targetRank(target string) int {
	kind, _, _ := strings.Cut(target, ":")
	i := slices.Index([]string{"agent", "router", "entry", "name", "dns", "pve", "pbs", "dropbear", "guest"}, strings.TrimSuffix(kind, " (lan)"))
	if i < 0 {
		return 99
	}
	return i
}

func seenCell(o api.Sighting, known bool) cell {
	switch {
	case !known:
		return cell{"-", dim}
	case o.Seen == failover.SeenDown:
		return cell{"DOWN " + short(o.For), bad}
	case o.Seen == failover.SeenRefused:
		return cell{"ref. " + short(o.For), warn}
	case o.Seen == failover.SeenUp:
		return cell{"up " + short(o.For), good}
	}
	return cell{"?", dim}
}

func ageCell(o api.Sighting) cell {
	text, t := short(o.Age)+" old", dim
	switch {
	case len(o.Unwell) > 0:
		text, t = o.Unwell[0], warn
	case !o.Counts:
		text, t = "too old", warn
	}
	return cell{string([]rune(text)[:min(matrixCell, len([]rune(text)))]), t}
}

// short writes a duration in at most four characters: 12s, 59m, 23h, 364d.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", min(999, int(d.Hours())/24))
}

// basisText says in one sentence what a verdict rests on.
func basisText(v failover.VerdictView) string {
	b := v.Basis
	var parts []string
	if len(b.Dark) > 0 {
		text := fmt.Sprintf("%s see nothing (%d needed)", plural(len(b.Dark), "voter"), b.Needed)
		if len(b.Paths) > 0 {
			text += ", over " + strings.Join(names(b.Paths), " and ")
		}
		if v.Silence > 0 {
			text += ", for " + span(v.Silence)
		}
		parts = append(parts, text)
	}
	if len(b.Sees) > 0 {
		parts = append(parts, "seen by "+strings.Join(names(b.Sees), ", "))
	}
	if len(b.Uncounted) > 0 {
		parts = append(parts, "not counted: "+strings.Join(names(b.Uncounted), ", "))
	}
	if len(parts) == 0 {
		return "nobody has reported"
	}
	return strings.Join(parts, "; ")
}
