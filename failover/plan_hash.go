package failover

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

type lossBound struct {
	name string
	most time.Duration
}

// lossBounds are what a plan may promise to lose at most, in its hash.
var lossBounds = []lossBound{
	{"30m", 30 * time.Minute},
	{"1h", time.Hour},
	{"2h", 2 * time.Hour},
	{"4h", 4 * time.Hour},
	{"8h", 8 * time.Hour},
	{"16h", 16 * time.Hour},
	{"1d", 24 * time.Hour},
	{"2d", 48 * time.Hour},
	{"4d", 96 * time.Hour},
	{"8d", 192 * time.Hour},
	{"30d", 720 * time.Hour},
	{"any", 1<<63 - 1},
}

// bound names the least bound that the plan keeps, and still will when a person has
// looked at it for as long as they may.
func (p Plan) bound() string {
	worst := p.WorstLoss()
	for _, b := range lossBounds {
		if worst+ApprovalAge <= b.most {
			return b.name
		}
	}
	return lossBounds[len(lossBounds)-1].name
}

// WorstLoss is what is lost most of any guest of the plan.
func (p Plan) WorstLoss() time.Duration {
	var worst time.Duration
	for _, a := range p.Assignments {
		worst = max(worst, a.Loss)
	}
	return worst
}

// Bound is what a plan's hash promises to lose at most, as it is written there.
func (p Plan) Bound() string { return boundOf(p.Hash) }

func boundOf(hash string) string {
	return hash[strings.LastIndexByte(hash, '-')+1:]
}

// Is says whether a hash that a person was shown names this plan: the same guests for
// the same hosts, the same left out, and no more lost than it promised. Fresher restore
// points do not make it another plan, older ones may.
func (p Plan) Is(hash string) bool {
	i := slices.IndexFunc(lossBounds, func(b lossBound) bool { return b.name == boundOf(hash) })
	return i >= 0 && p.WorstLoss() <= lossBounds[i].most && p.hash(lossBounds[i].name) == hash
}

// hash covers what is lost, guests, targets, who is left out, and the bound of the
// loss; not the restore points, which are fresher with every backup.
func (p Plan) hash(bound string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s|%s|%t|%s\n", p.Loss.Site, p.Loss.Host, p.Loss.Local, bound)
	if p.Loss.Planned {
		fmt.Fprintf(h, "planned %q\n", p.Loss.HardStop)
	}
	if p.Loss.Keep != "" {
		fmt.Fprintf(h, "keep %s\n", p.Loss.Keep)
	}
	lines := make([]string, 0, len(p.Assignments)+len(p.LeftOut))
	for _, a := range p.Assignments {
		line := fmt.Sprintf("%s>%s/%s", a.Guest, a.Target, a.Host)
		if a.Vault != "" {
			line += " sealed at " + string(a.Vault)
		}
		if a.Replace != 0 {
			line += fmt.Sprintf(" in place of %d", a.Replace)
		}
		lines = append(lines, line)
	}
	for _, l := range p.LeftOut {
		lines = append(lines, fmt.Sprintf("%s!%s", l.Guest, l.Reason.Code))
	}
	slices.Sort(lines)
	for _, l := range lines {
		fmt.Fprintln(h, l)
	}
	return "p-" + hex.EncodeToString(h.Sum(nil))[:8] + "-" + bound
}
