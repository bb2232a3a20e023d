package main

import (
	"fmt"
	"strings"

	"github.com/raoull/worldwidewelsh/failover"
)

// alone says what an agent without a majority knows by itself: what works here,
// what does not, what the others may have done, and what is decided here.
func (a *app) alone(p *page, st failover.Status) {
	s := a.show
	rows := func(label, text string) {
		for i, line := range wrap(s.text(text), s.columns()-10) {
			if i > 0 {
				label = ""
			}
			p.line("  %-7s %s", label, line)
		}
	}
	works, broken := houseWords(st.Local)
	for _, row := range [][2]string{{"works", works}, {"broken", broken}} {
		if row[1] != "" {
			rows(row[0], row[1])
		}
	}
	rows("others", a.othersWord(st.Isolation))
	rows("here", hereWord(st.Isolation))
}

// houseWords are what works at the own site and what does not.
func houseWords(v failover.LocalView) (works, broken string) {
	h := v.House
	if h == nil {
		return "", "the machines of this site have not been looked at yet"
	}
	var good, bad []string
	if h.Guests > 0 {
		good = append(good, fmt.Sprintf("%d of %s running", h.Running, plural(h.Guests, "guest")))
	}
	if len(h.Off) > 0 {
		bad = append(bad, "off: "+strings.Join(names(h.Off), ", "))
	}
	for _, host := range h.Silent {
		bad = append(bad, string(host)+" does not answer")
	}
	for _, host := range h.Unknown {
		bad = append(bad, "no right to look at "+string(host))
	}
	switch {
	case h.Store:
		good = append(good, "backup server")
	case !h.NoStore:
		bad = append(bad, "the backup server does not answer")
	}
	if len(v.Reachable) == 0 {
		bad = append(bad, "no other site answers")
	}
	return strings.Join(good, ", "), strings.Join(bad, ", ")
}

func (a *app) othersWord(i *failover.Isolation) string {
	text := ""
	switch {
	case i.TakeOver.IsZero() && !i.Possible:
		text = "take nothing over without a person: no guest of this site has mode auto"
	case i.TakeOver.IsZero():
		text = "may have taken over: since when this site is cut off is not known"
	case i.Possible:
		text = fmt.Sprintf("may have begun to take over at %s; then two copies run, and what is written here since %s is not in theirs",
			a.show.clock(i.TakeOver), a.show.clock(i.Since))
	default:
		text = fmt.Sprintf("take nothing over before %s", a.show.clock(i.TakeOver))
	}
	if n := len(i.Moved); n > 0 {
		text += fmt.Sprintf("; %s of this site ran elsewhere before", plural(n, "guest"))
	}
	return text
}

func hereWord(i *failover.Isolation) string {
	var kept []string
	for _, r := range i.Structures {
		word := "goes on serving"
		if r.Isolation == "stop" {
			word = "has its guests shut down, and started again when this site is back and still owns them"
		}
		kept = append(kept, fmt.Sprintf("%s %s", r.Structure, word))
	}
	return strings.Join(append([]string{"nothing is decided, started or stopped"}, kept...), "; ")
}

// leftCopy says what became of the copy that a guest has left.
func (a *app) leftCopy(v failover.GuestView) string {
	b := v.Left
	if b == nil {
		return ""
	}
	text := fmt.Sprintf("%s at %s, id %d: ", b.Host, b.Site, b.VMID)
	switch b.Reason.Code {
	case failover.CodeBranchStopped:
		return text + "shut down " + a.show.date(b.Stopped.At)
	case failover.CodeBranchOff:
		return text + "off"
	case failover.CodeBranchBooted:
		return text + "started with its host, runs since " + a.show.date(b.Since)
	}
	return text + "runs since " + a.show.date(b.Since)
}
