package sim

import (
	"fmt"
	"time"
)

// Broken is a scenario of n troubles that do nothing, but for the needed ones,
// which together are a violation.
func Broken(n int, needed ...int) Scenario {
	return Scenario{
		Name: "broken",
		Plan: func(w *World) {
			met := 0
			for i := range n {
				w.fault(time.Duration(i)*time.Second, fmt.Sprint("trouble ", i), func() {
					for _, x := range needed {
						if x == i {
							met++
						}
					}
					if met == len(needed) {
						w.check.fail("S0", "%d troubles met", met)
						met = 0
					}
				})
			}
		},
		Until: time.Duration(n+1) * time.Second,
	}
}

// LoseTail breaks the model: the newest entries were on no disk.
func (m *LogModel) LoseTail(n int) { m.entries = m.entries[:len(m.entries)-n] }

// LostWrite is a scenario in which a guest's users were told that something is
// written which is in no copy.
func LostWrite() Scenario {
	return Scenario{
		Name: "lost write",
		Plan: func(w *World) {
			w.loop.In(Warm, "", func() {
				l := w.check.ledger
				for g, all := range l.written {
					l.written[g] = append(all, write{note: "user-lost", site: all[0].site, host: all[0].host, vmid: all[0].vmid, at: w.loop.Now()})
				}
			})
		},
		Until: Warm + 10*time.Second,
	}
}
