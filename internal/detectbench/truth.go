package detectbench

import "slices"

// Episode is a stretch of time in which a site in truth served no healthy
// observer elsewhere.
type Episode struct{ From, To int64 }

func (e Episode) length() int64 { return e.To - e.From }

// Truth holds the episodes of every site, in order.
type Truth [sites][]Episode

// learn adds what happens in a cluster of effects.
func (tr *Truth) learn(f field, c Cluster) {
	matter := field{lines: f.lines}
	edges := []int64{}
	for _, e := range c.Effects {
		if e.Kind == lossBurst {
			continue
		}
		matter.effects = append(matter.effects, e)
		edges = append(edges, e.From, e.To)
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	for i := 0; i+1 < len(edges); i++ {
		from, to := edges[i], edges[i+1]
		for s := range sites {
			if matter.served(s, from) {
				continue
			}
			if n := len(tr[s]); n > 0 && tr[s][n-1].To == from {
				tr[s][n-1].To = to
				continue
			}
			tr[s] = append(tr[s], Episode{from, to})
		}
	}
}

// at returns the episode of a site that a moment lies in.
func (tr *Truth) at(s int, t int64) (Episode, bool) {
	i, found := slices.BinarySearchFunc(tr[s], t, func(e Episode, t int64) int {
		switch {
		case e.To <= t:
			return -1
		case e.From > t:
			return 1
		}
		return 0
	})
	if !found {
		return Episode{}, false
	}
	return tr[s][i], true
}

// alone says whether no other site is cut off at a moment.
func (tr *Truth) alone(s int, t int64) bool {
	for o := range sites {
		if _, cut := tr.at(o, t); cut && o != s {
			return false
		}
	}
	return true
}
