package notify

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/message"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// Message is what leaves: enough to decide with.
type Message struct {
	ID      string          `json:"id"` // the same for all agents
	Key     string          `json:"key"`
	Kind    Kind            `json:"kind"`
	Stage   int             `json:"stage,omitempty"`
	Code    string          `json:"code"` // WWW-nnnn
	Network string          `json:"network"`
	From    failover.SiteID `json:"from"` // whose agent sends it
	Site    failover.SiteID `json:"site,omitempty"`
	Urgency Urgency         `json:"urgency"`
	Partial bool            `json:"partial,omitempty"` // by an agent that hears no leader
	Subject string          `json:"subject"`
	Text    string          `json:"text"`
	Short   string          `json:"short"` // one line of ASCII, at most 160 bytes: an SMS
	Since   time.Time       `json:"since,omitzero"`
	Made    time.Time       `json:"made"`
}

// attempt names the message for the other side: the same at every attempt, and another one
// when the same thing comes again.
func (m Message) attempt() string { return fmt.Sprintf("www-%s-%d", m.ID, m.Made.Unix()) }

// shortLimit is the length of one SMS.
const shortLimit = 160

// view is what a message is written from.
type view struct {
	s    *failover.State
	st   failover.Status
	wall time.Time // of the network
	loc  *time.Location
}

func (v view) clock(t time.Time) string { return t.In(v.loc).Format("Mon 2 Jan 15:04 MST") }

// message starts one; its words are still missing.
func (v view) message(d Due) Message {
	return Message{
		ID: d.id(), Key: d.Key, Kind: d.Kind, Stage: d.Stage, Code: d.Reason.Code, Network: v.st.Network, From: v.st.Local.Site,
		Site: d.Site, Urgency: d.Urgency, Partial: !v.st.Local.HasLeader, Since: d.Since, Made: v.wall,
	}
}

// compose writes a message that is due.
func (v view) compose(d Due) Message {
	if d.Kind == Digest {
		return v.digest(d)
	}
	m := v.message(d)
	what := message.Text(message.English, d.Reason.Code, d.Reason.Args)
	doing, you := v.doing(d), v.you(d)
	head := what
	switch d.Kind {
	case Over:
		head, doing, you = "over: "+what, v.ended(d), v.afterwards(d)
	case Reminder:
		head = "still: " + what
	}
	var b strings.Builder
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-7s%s\n", name, text)
		}
	}
	line("WHAT", head)
	line("", fmt.Sprintf("(%s; wwwctl explain %s)", d.Reason.Code, d.Reason.Code))
	line("SINCE", v.since(d))
	line("WWWD", doing)
	line("YOU", you)
	line("NEXT", v.following(d))
	line("FROM", v.from())
	m.Subject = fmt.Sprintf("[%s] %s", v.st.Network, head)
	m.Text = b.String()
	m.Short = short(head, m.Since, doing, you, v.loc)
	return m
}

func (v view) since(d Due) string {
	if d.Since.IsZero() {
		return ""
	}
	text := fmt.Sprintf("%s, %s", v.clock(d.Since), network.Duration(max(0, v.wall.Sub(d.Since)).Round(time.Second)))
	if d.Kind == Over {
		return text + " until now"
	}
	return text
}

// doing says what wwwd does about it by itself.
func (v view) doing(d Due) string {
	if op, ok := v.opOf(d); ok {
		return v.progress(op)
	}
	if d.Site != "" && strings.HasSuffix(d.Key, ":lost") {
		held := ""
		for _, h := range v.st.Held {
			if h.Domain == failover.SiteDomain(d.Site) {
				held = message.Text(message.English, h.Reason.Code, h.Reason.Args)
			}
		}
		switch {
		case held != "":
			return "nothing moves: " + held
		case !ownsGuests(v.s, d.Site):
			return "nothing: no guest of it is to be moved"
		}
		return "restores copies elsewhere when the silence goes on"
	}
	if d.Reason.Code == failover.CodePartial {
		return v.alone()
	}
	m, _ := message.Entry(message.English, d.Reason.Code)
	return m.Impact
}

// alone says what an agent without a majority knows of its site and of the others.
func (v view) alone() string {
	text := "decides nothing and stops nothing here"
	if h := v.st.Local.House; h != nil {
		text += fmt.Sprintf("; %d of %d guests run here", h.Running, h.Guests)
	}
	if i := v.st.Isolation; i != nil && !i.TakeOver.IsZero() {
		text += "; the others may have taken guests over from " + v.clock(i.TakeOver) + " on"
	}
	return text
}

// opOf is the operation that a condition speaks of, or that takes care of its site.
func (v view) opOf(d Due) (failover.OpView, bool) {
	for _, op := range v.st.Ops {
		if string(op.ID) == d.Reason.Args["op"] {
			return op, true
		}
	}
	if d.Site == "" {
		return failover.OpView{}, false
	}
	return caring(v.st, d.Site)
}

// progress sums an operation up in one sentence.
func (v view) progress(op failover.OpView) string {
	serving, stuck, targets := 0, 0, map[failover.SiteID]int{}
	for _, g := range op.Guests {
		targets[g.Target]++
		if !g.Served.IsZero() {
			serving++
		}
		if g.State == failover.RunStuck {
			stuck++
		}
	}
	var to []string
	for _, site := range network.SortedKeys(targets) {
		to = append(to, fmt.Sprintf("%d to %s", targets[site], site))
	}
	text := fmt.Sprintf("%s moves %d guests (%s), %s, %d serve", op.ID, len(op.Guests), strings.Join(to, ", "), op.Phase, serving)
	if stuck > 0 {
		text += fmt.Sprintf(", %d need a person", stuck)
	}
	if n := len(op.Waiting); n > 0 {
		text += fmt.Sprintf(", %d wait for approval", n)
	}
	if op.Remaining > 0 {
		text += fmt.Sprintf(", about %s left", network.Duration(op.Remaining.Round(time.Minute)))
	}
	for _, row := range v.st.Sites {
		if failover.SiteDomain(row.Site) == op.Domain && row.CommitAt > 0 {
			text += fmt.Sprintf("; commits in %s unless the site answers", network.Duration(row.CommitAt.Round(time.Second)))
		}
	}
	return text
}

// you says what the reader has to do, with the names in place of the placeholders.
func (v view) you(d Due) string {
	if op, ok := v.opOf(d); ok && d.Urgency != Urgent {
		return fmt.Sprintf("nothing now. To follow it: wwwctl op follow %s%s", op.ID, v.place(d.Site))
	}
	return named(message.Hint(message.English, d.Reason.Code, d.Reason.Args), d.Reason.Args) + v.place(d.Site)
}

// place is whom to call and what to ask for at a lost or locked site.
func (v view) place(site failover.SiteID) string {
	if v.s.Network == nil || site == "" {
		return ""
	}
	p := v.s.Network.Sites[site].Place
	var parts []string
	for _, part := range [][2]string{{"call", strings.Join(p.Contacts, ", ")}, {"key:", p.Key}, {"breaker:", p.Breaker}} {
		if part[1] != "" {
			parts = append(parts, part[0]+" "+part[1])
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "\n       " + strings.Join(parts, "; ")
}

// placeholder is a word in capitals that a hint leaves to be filled in.
var placeholder = regexp.MustCompile(`\b(OP|SITE|GUEST|HOST|DOMAIN|ZONE)\b`)

func named(hint string, args map[string]string) string {
	return placeholder.ReplaceAllStringFunc(hint, func(word string) string {
		key := strings.ToLower(word)
		if key == "site" || key == "host" {
			if name, ok := strings.CutPrefix(args["domain"], key+":"); ok {
				return name
			}
		}
		return cmp.Or(message.Clean(args[key]), word)
	})
}

// ended says how something ended.
func (v view) ended(d Due) string {
	op, ok := v.opOf(d)
	if !ok || !op.Phase.Ended() {
		return ""
	}
	at := map[failover.SiteID]int{}
	for _, g := range op.Guests {
		if !g.Served.IsZero() {
			at[g.Target]++
		}
	}
	text := fmt.Sprintf("%s: %s", op.ID, op.Phase)
	for _, site := range network.SortedKeys(at) {
		text += fmt.Sprintf(", %d serve at %s", at[site], site)
	}
	return text
}

func (v view) afterwards(d Due) string {
	if op, ok := v.opOf(d); ok && op.Phase.Ended() {
		return fmt.Sprintf("look at it: wwwctl op show %s, then wwwctl op ack %s", op.ID, op.ID)
	}
	return "nothing"
}

func (v view) following(d Due) string {
	at := after(d, v.wall)
	switch {
	case d.Kind == Over:
		return ""
	case at.IsZero():
		return "when it is over"
	}
	return "when it is over, or " + v.clock(at)
}

func (v view) from() string {
	l := v.st.Local
	if l.HasLeader {
		return fmt.Sprintf("the agent of %s, %d of %d voters present", l.Site, v.st.Quorum.Present, v.st.Quorum.Voters)
	}
	return fmt.Sprintf("PARTIAL VIEW of the agent of %s, which hears no leader", l.Site)
}

// short is the one line of an SMS, as much of it as fits.
func short(what string, since time.Time, doing, you string, loc *time.Location) string {
	text := "WWW " + what
	if !since.IsZero() {
		text += since.In(loc).Format(" 15:04")
	}
	for _, part := range []string{doing, "DO: " + strings.SplitN(you, "\n", 2)[0]} {
		if part != "" && part != "DO: " {
			text += ". " + part
		}
	}
	return clip(ascii(text), shortLimit)
}

func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.TrimRight(text[:limit-2], " ") + ".."
}

// ascii replaces what an SMS of 160 characters cannot hold.
func ascii(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		if r > '~' {
			return '?'
		}
		return r
	}, text)
}

// digest writes the week's state, one line per structure.
func (v view) digest(d Due) Message {
	m := v.message(d)
	m.Subject = fmt.Sprintf("[%s] weekly digest: %s", v.st.Network, v.st.Headline)
	var b strings.Builder
	fmt.Fprintf(&b, "%s is %s: %d of %d voters present, automation %s.\n\n", v.st.Network, v.st.Headline, v.st.Quorum.Present, v.st.Quorum.Voters, armed(v.st))
	guests := failover.ExplainGuests(v.s, v.wall)
	for _, id := range network.SortedKeys(v.s.Network.Structures) {
		fmt.Fprintln(&b, structureLine(id, guests))
	}
	section := func(name string, all []failover.Reason) {
		if len(all) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n%s\n", name)
		for _, r := range all {
			fmt.Fprintf(&b, "- %s (%s)\n", message.Text(message.English, r.Code, r.Args), r.Code)
		}
	}
	section("TO DO", v.st.Todo)
	section("NOTICES", v.st.Notices[:min(len(v.st.Notices), maxNotices)])
	ops := slices.DeleteFunc(slices.Clone(v.st.Ops), func(op failover.OpView) bool { return !op.Phase.Ended() || op.Kind == failover.KindWarm })
	for _, op := range ops {
		fmt.Fprintf(&b, "\n%s: %s of %s, %s\n", op.ID, op.Kind, op.Domain, op.Phase)
	}
	fmt.Fprintf(&b, "\nFROM   %s\n", v.from())
	m.Text = b.String()
	m.Short = clip(ascii(fmt.Sprintf("WWW %s weekly: %s, %d guests ready of %d, %d to do", v.st.Network, v.st.Headline, v.st.Counts.Ready, v.st.Counts.Protected, len(v.st.Todo))), shortLimit)
	return m
}

// maxNotices bounds the digest: wwwctl status has them all.
const maxNotices = 20

func armed(st failover.Status) string {
	if st.Armed {
		return "armed"
	}
	return "PAUSED"
}

func structureLine(id failover.StructureID, guests []failover.GuestView) string {
	all, ready, away := 0, 0, 0
	var oldest time.Duration
	for _, g := range guests {
		if g.Structure != id || g.Phase == failover.PhaseExcluded {
			continue
		}
		all++
		if g.Ready {
			ready++
		}
		if g.Home != g.At {
			away++
		}
		oldest = max(oldest, g.RPO)
	}
	text := fmt.Sprintf("%s: %d of %d guests could be failed over", id, ready, all)
	if oldest > 0 {
		text += fmt.Sprintf(", oldest copy elsewhere %s", network.Duration(oldest.Round(time.Minute)))
	}
	if away > 0 {
		text += fmt.Sprintf(", %d away from home", away)
	}
	return text
}
