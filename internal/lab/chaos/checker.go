package chaos

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// Violation is a broken promise, in the words of the simulator.
type Violation struct {
	At        time.Time `json:"at"`
	Invariant string    `json:"invariant"` // S1 to S12, L1 to L5
	Text      string    `json:"text"`
}

func (v Violation) String() string {
	return fmt.Sprintf("invariant %s violated: %s", v.Invariant, v.Text)
}

// checker holds what is seen from outside against the invariants. It calls nobody: what
// it knows it has from the looks, and from the nemesis about itself.
type checker struct {
	lab    *site.Lab
	truth  *truth
	delay  time.Duration // of a commit
	mu     sync.Mutex
	found  []Violation
	told   map[string]bool // texts, so that one breach is told once
	tell   func(Violation)
	news   func(text string) // of operations; nil: not told
	proved map[string]bool   // site/vmid of copies whose system was up

	// agents
	epochs  map[string]map[failover.Epoch]*epochSeen // by guest
	digests map[string]digest                        // by kind and index
	owned   map[string]failover.Epoch                // site/vmid: the newest epoch in which a guest was its
	owner   map[string]ownership                     // by guest, at the newest index seen
	serving map[string]*servingSince                 // by guest, at the newest index seen
	phases  map[failover.OpID]phaseSeen
	byHand  map[failover.OpID]bool // a person has had a say in them
	newest  map[string]uint64      // by site: the newest index of its guests
	index   uint64                 // the newest of any site
	contact map[string]time.Time   // by site: since when in contact without a break
	latest  map[string]*Look       // by site

	// machines
	starts  map[string]int       // by site/vmid, by us
	started map[string]string    // guest and epoch: site/vmid of the copy that we started
	pending []effectSeen         // starts that nothing has justified yet
	foreign map[string]bool      // site/vmid: a person made it
	touched map[string]string    // site/vmid: what a person did with it
	excused map[string]bool      // home guests that a person stopped or removed
	held    map[string]bool      // site/vmid: a person wants it off while its guest lives elsewhere
	since   map[string]time.Time // site: since when its structure's host has had power
	stray   map[string]time.Time // site/vmid: since when it runs without an owner that is known
	failed  map[string]bool      // sites of which a machine has lost power at any time
	booted  map[string]time.Time // structure's hosts: since when they have power

	// operations
	moves  map[failover.OpID]*moveSeen
	copyOf map[string]string        // site/vmid: the guest whose copy it is, has been, or will be
	claims []request                // requests that nothing has justified yet
	down   map[string]failover.OpID // guests: the planned move that may have shut them down last
	seals  map[string][]string      // site/vmid: sites at which what it held was seen sealed

	// names
	odd map[string]time.Time // site/name: since when a server's answer differs from what is known
}

type digest struct {
	from, text string
}

type epochSeen struct {
	least, most uint64   // indexes of the states that had it
	owners      []string // site/vmid; one, as it should be
}

type ownership struct {
	index uint64
	at    string // site/vmid
	epoch failover.Epoch
	since time.Time // seen first
}

type servingSince struct {
	index uint64
	site  string
	since time.Time
}

type phaseSeen struct {
	phase failover.OpPhase
	seen  time.Time // in this phase, last
}

type effectSeen struct {
	site string
	site.Effect
}

func newChecker(l *site.Lab, t *truth, delay time.Duration, tell func(Violation)) *checker {
	c := &checker{
		lab: l, truth: t, delay: delay, tell: tell, told: map[string]bool{}, proved: map[string]bool{},
		epochs: map[string]map[failover.Epoch]*epochSeen{}, digests: map[string]digest{}, owned: map[string]failover.Epoch{},
		owner: map[string]ownership{}, serving: map[string]*servingSince{}, phases: map[failover.OpID]phaseSeen{},
		byHand: map[failover.OpID]bool{}, newest: map[string]uint64{}, contact: map[string]time.Time{}, latest: map[string]*Look{},
		starts: map[string]int{}, started: map[string]string{}, foreign: map[string]bool{}, touched: map[string]string{},
		excused: map[string]bool{}, since: map[string]time.Time{}, stray: map[string]time.Time{}, failed: map[string]bool{},
		booted: map[string]time.Time{}, moves: map[failover.OpID]*moveSeen{}, down: map[string]failover.OpID{},
		odd: map[string]time.Time{}, copyOf: map[string]string{}, held: map[string]bool{}, seals: map[string][]string{},
	}
	for _, m := range l.Guests {
		c.copyOf[at(l.Home(m), m.ID)] = m.Name
	}
	return c
}

func at(site string, vmid int) string { return fmt.Sprintf("%s/%d", site, vmid) }

// fail notes a violation. The caller holds c.mu.
func (c *checker) fail(when time.Time, id, format string, args ...any) {
	v := Violation{At: when, Invariant: id, Text: fmt.Sprintf(format, args...)}
	if c.told[v.String()] {
		return
	}
	c.told[v.String()] = true
	c.found = append(c.found, v)
	if c.tell != nil {
		c.tell(v)
	}
}

// Violations returns what was found so far.
func (c *checker) Violations() []Violation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.found)
}

// look checks what was seen of a site. The effects come first: what they have done is
// in the other answers.
func (c *checker) look(l *Look) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest[l.Site] = l
	c.truth.saw(l.Site, l.Agent.well(), l.Asked)
	if l.Agent.inContact() {
		if c.contact[l.Site].IsZero() {
			c.contact[l.Site] = l.At
		}
	} else {
		delete(c.contact, l.Site)
	}
	if l.Agent != nil {
		c.agent(l)
	}
	c.effects(l)
	if l.Hosts != nil {
		c.hosts(l)
	}
	c.justify(l)
	c.names(l)
}

// did notes what a person does to a guest at a site's machines; undo that it failed.
func (c *checker) did(do, site string, vmid int, guest string) (undo func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := at(site, vmid)
	touched, foreign, excused := c.touched[key], c.foreign[key], c.excused[guest]
	c.touched[key] = do
	switch {
	case do == "create":
		c.foreign[key] = true
	case c.home(site, vmid, guest):
		c.excused[guest] = do != "start"
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.touched[key], c.foreign[key], c.excused[guest] = touched, foreign, excused
	}
}

func (c *checker) home(site string, vmid int, guest string) bool {
	return c.isHome(guest, at(site, vmid))
}

// atHome says whether a guest's copy is one on its own host: the ids that come home are
// below those under which guests of others are restored.
func (c *checker) atHome(m site.Member, where string, vmid int) bool {
	return where == c.lab.Home(m) && (m.Raoull || vmid < firstForeignID)
}

// restarted notes that a site's agent starts again: it may know less than before.
func (c *checker) restarted(site string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.newest, site)
	delete(c.contact, site)
}

// leader returns the site whose agent says that it leads, in the newest term.
func (c *checker) leader() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	best, term := "", uint64(0)
	for name, l := range c.latest {
		if l.Agent != nil && l.Agent.Status.Local.IsLeader && l.Agent.Status.Term >= term {
			best, term = name, l.Agent.Status.Term
		}
	}
	return best
}

// ops returns the operations as the agent tells them that knows the most.
func (c *checker) ops() []failover.OpView {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.informed(); a != nil {
		return a.Ops.Items
	}
	return nil
}

// decided notes that a person has had a say in an operation.
func (c *checker) decided(op failover.OpID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byHand[op] = true
}

// powered notes that a site has power from now on; unpowered that it has none.
func (c *checker) powered(site string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since[site] = now
	c.site(site, true, now)
	for _, g := range c.lab.GuestsOf(site) {
		delete(c.excused, g.Name) // it starts with its host, whoever stopped it
	}
}

func (c *checker) unpowered(site string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.since, site)
	c.failed[site] = true
	c.site(site, false, time.Now())
}

// site tells the account that all machines of a site have power, or none; one that is
// broken or unplugged is told of when it is looked at.
func (c *checker) site(name string, on bool, now time.Time) {
	if i, err := c.lab.Index(name); err == nil {
		for _, h := range c.lab.Hosts(i) {
			c.truth.host(h.Name, on, now)
		}
	}
}

// hostLost notes that one machine has lost its power.
func (c *checker) hostLost(host string, now time.Time) {
	c.truth.host(host, false, now)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.booted, host)
}

// upToDate says whether a look shows all that anybody has told so far.
func (c *checker) upToDate(l *Look) bool {
	return l.Agent.inContact() && l.Agent.Guests.Index >= c.index
}

func parseEpoch(text string) (failover.Epoch, error) {
	var e failover.Epoch
	if _, err := fmt.Sscanf(text, "%d-%d", &e.Generation, &e.Index); err != nil {
		return e, fmt.Errorf("epoch %q: %w", text, err)
	}
	return e, nil
}

// agent checks what a site's agent says: S1, S4, and one operation per guest.
func (c *checker) agent(l *Look) {
	guests, ops := l.Agent.Guests, l.Agent.Ops
	if guests.Index < c.newest[l.Site] {
		c.fail(l.At, "S1", "the state of %s went back from entry %d to %d while it ran", l.Site, c.newest[l.Site], guests.Index)
	}
	c.newest[l.Site] = guests.Index
	c.index = max(c.index, guests.Index)
	for _, g := range guests.Items {
		c.epoch(l, g, guests.Index)
		c.served(l, g, guests.Index)
	}
	c.same(l, "guests", guests.Index, guestDigest(guests.Items))
	c.same(l, "operations", ops.Index, opDigest(ops.Items))
	c.operations(l, ops.Items)
}

// epoch: S1, epochs only grow, and within one there is one owner.
func (c *checker) epoch(l *Look, g failover.GuestView, index uint64) {
	e, err := parseEpoch(g.Epoch)
	name, where := string(g.Guest), at(string(g.At), g.ID)
	if err != nil {
		c.fail(l.At, "S1", "%s says of %s: %v", l.Site, name, err)
		return
	}
	seen := c.epochs[name]
	if seen == nil {
		seen = map[failover.Epoch]*epochSeen{}
		c.epochs[name] = seen
	}
	for o, s := range seen {
		switch {
		case o.Less(e) && s.most > index:
			c.fail(l.At, "S1", "%s has epoch %s at entry %d and %s at entry %d (%s)", name, e, index, o, s.most, l.Site)
		case e.Less(o) && s.least < index:
			c.fail(l.At, "S1", "%s has epoch %s at entry %d and %s at entry %d (%s)", name, o, s.least, e, index, l.Site)
		}
	}
	mine := seen[e]
	if mine == nil {
		mine = &epochSeen{least: index, most: index, owners: []string{where}}
		seen[e] = mine
	}
	mine.least, mine.most = min(mine.least, index), max(mine.most, index)
	if !slices.Contains(mine.owners, where) {
		c.fail(l.At, "S1", "%s is owned by %s and by %s in epoch %s", name, mine.owners[0], where, e)
		mine.owners = append(mine.owners, where)
	}
	c.copyOf[where] = name
	if old, was := c.owned[where]; !was || old.Less(e) { // the epoch at home is the zero one
		c.owned[where] = e
	}
	if o := c.owner[name]; index >= o.index {
		if o.epoch != e {
			o = ownership{since: l.At}
		}
		o.index, o.at, o.epoch = index, where, e
		c.owner[name] = o
	}
}

// served follows where State shows a guest.
func (c *checker) served(l *Look, g failover.GuestView, index uint64) {
	s := c.serving[string(g.Guest)]
	switch {
	case s == nil, index > s.index && s.site != string(g.Serving):
		c.serving[string(g.Guest)] = &servingSince{index, string(g.Serving), l.At}
	case index > s.index:
		s.index = index
	}
}

// same: S1, the states of all agents at one entry are one.
func (c *checker) same(l *Look, kind string, index uint64, text string) {
	key := fmt.Sprintf("%s %d", kind, index)
	d, known := c.digests[key]
	if known && d.text != text {
		c.fail(l.At, "S1", "at entry %d the %s of %s and of %s differ: %s; %s", index, kind, d.from, l.Site, d.text, text)
	}
	c.digests[key] = digest{l.Site, text}
}

func guestDigest(list []failover.GuestView) string {
	var b strings.Builder
	for _, g := range list {
		fmt.Fprintf(&b, "%s %d %s %s %s %s,", g.Guest, g.ID, g.At, g.Serving, g.Phase, g.Epoch)
	}
	return b.String()
}

func opDigest(list []failover.OpView) string {
	type run struct {
		Guest  failover.GuestID
		Target failover.SiteID
		VMID   int
		State  failover.RunState
		Step   failover.StepID
		Status failover.StepStatus
		N      int
	}
	var all []string
	for _, o := range list {
		runs := []run{}
		for _, g := range o.Guests {
			runs = append(runs, run{g.Guest, g.Target, g.VMID, g.State, g.Step, g.Status, g.Attempt})
		}
		b, _ := json.Marshal(runs) // of texts and numbers
		all = append(all, fmt.Sprintf("%s %s %s %s", o.ID, o.Kind, o.Phase, b))
	}
	slices.Sort(all) // by id: their order in the view may follow the clock
	return strings.Join(all, ";")
}

// aside are the kinds that hold no guest: one shuts the old copy of a guest down while another
// starts the one that counts (seed 56).
var aside = []failover.OpKind{failover.KindTidy, failover.KindWarm, failover.KindReturn, failover.KindWake, failover.KindRemoval}

// operations: S4, an automatic loss is a true one; one guest is in one operation.
func (c *checker) operations(l *Look, list []failover.OpView) {
	in := map[failover.GuestID]failover.OpID{}
	for _, o := range list {
		if strings.HasPrefix(o.By, "unix:") {
			c.byHand[o.ID] = true
		}
		c.moved(l, o)
		c.planned(l, o)
		if o.Phase.Ended() || slices.Contains(aside, o.Kind) {
			continue
		}
		for _, g := range o.Guests {
			if g.State != failover.RunActive {
				continue
			}
			if other, twice := in[g.Guest]; twice {
				c.fail(l.At, "S3", "%s is in %s and in %s at once", g.Guest, other, o.ID)
			}
			in[g.Guest] = o.ID
		}
	}
}

// moved holds the first sight of a commit against the truth.
func (c *checker) moved(l *Look, o failover.OpView) {
	last, known := c.phases[o.ID]
	committed := !o.Committed.IsZero()
	if was := known && (last.phase == failover.OpCommitted || last.phase.Ended()); committed && !was && !c.byHand[o.ID] {
		from := last.seen
		if !known {
			from = o.Committed
		}
		kind, lost, _ := strings.Cut(string(o.Domain), ":")
		if o.Committed.Before(from) {
			from = o.Committed
		}
		problem := ""
		switch kind {
		case "site":
			problem = c.truth.lost(lost, from.Add(-time.Second), l.At, c.delay)
		case "host":
			problem = c.truth.hostLost(lost, from.Add(-time.Second), l.At, c.delay)
		}
		if problem != "" {
			c.fail(l.At, "S4", "%s: %s", o.ID, problem)
		}
	}
	if (!known || rank(o.Phase) >= rank(last.phase)) && o.Phase != last.phase && c.news != nil {
		c.news(opNews(o))
	}
	if !known || rank(o.Phase) >= rank(last.phase) {
		c.phases[o.ID] = phaseSeen{o.Phase, l.At}
	}
}

// opNews is an operation as a line tells it.
func opNews(o failover.OpView) string {
	text := fmt.Sprintf("%s: %s of %s by %s is %s:", o.ID, o.Kind, o.Domain, o.By, o.Phase)
	for _, g := range o.Guests {
		text += fmt.Sprintf(" %s at %s %s", g.Guest, g.Target, g.State)
		if g.Stuck.Code != "" {
			text += " " + g.Stuck.Code
		}
		text += ","
	}
	return strings.TrimRight(text, ",:")
}

func rank(p failover.OpPhase) int {
	switch {
	case p.Ended():
		return 2
	case p == failover.OpCommitted:
		return 1
	}
	return 0
}
