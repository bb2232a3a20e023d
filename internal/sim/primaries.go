package sim

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/lab/primary"
	"github.com/raoull/worldwidewelsh/internal/network"
)

// What the simulator has of a zone that stands on servers of its own (backend rfc2136): the agent that leads updates the
// primaries, and a secondary follows the first of them. They stand at none of the sites.

const (
	updateKey    = "www-updates"
	updateSecret = "c2ltdWxhdG9yIG9ubHksIDMyIGJ5dGVzIGF0IGxlYXN0ISE="
	refreshEvery = 3 * time.Second // the secondary looks at its primary
)

// Ways in which a primary fails those who ask it.
const (
	primaryRefuses = "refuses updates"                     // by its policy
	primaryFails   = "cannot store updates"                // SERVFAIL: its disk is full
	primaryGone    = "does not know the zone"              // NOTAUTH
	primarySilent  = "does not answer"                     // nor hear
	primaryDeaf    = "applies updates and does not answer" // the answers are lost
	primaryLate    = "applies updates later"               // when nobody waits for the answer any more
	primaryClock   = "has a wrong clock"                   // BADTIME
	primaryOld     = "was restored from a backup"
	secondaryLags  = "does not follow"
)

// primaries are the servers of the zone. Its methods do nothing on nil: the agents serve the zone themselves.
type primaries struct {
	w    *World
	list []*nameServer
	// said is what each decision says of the guests' names that nobody holds.
	said map[uint64]map[string]failover.SiteID
}

// nameServer is one of them.
type nameServer struct {
	w      *World
	addr   netip.AddrPort
	zone   *primary.Server
	of     *nameServer // whom a secondary follows
	how    string      // what ails it
	late   time.Duration
	heard  int           // messages that it could spoil, since it ails
	skew   time.Duration // of its clock
	fence  fence         // of the last decision that was written
	behind time.Time     // since when it differs from the log although all is well; zero: it does not
	judged failover.SiteID
	slow   bool // it holds something old that nobody has been told of: see verifyAgain
}

// fence is the token of a decision, as it stands in the zone.
type fence struct{ generation, index uint64 }

func (f fence) less(o fence) bool {
	return cmp.Or(cmp.Compare(f.generation, o.generation), cmp.Compare(f.index, o.index)) < 0
}

func newPrimaries(w *World, n int) *primaries {
	p := &primaries{w: w, said: map[uint64]map[string]failover.SiteID{}}
	for i := range n + 1 {
		s := &nameServer{w: w, addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}), network.DefaultDNSPort)}
		s.zone = primary.New(primary.Config{
			Zone: zone + ".", Serial: 1000, Keys: map[string]string{updateKey + ".": updateSecret},
			Now: func() time.Time { return w.loop.Now().Add(s.skew) }, Applied: func(*dns.Msg) { p.applied(s) },
		})
		if i == n {
			s.of = p.list[0]
		}
		p.list = append(p.list, s)
	}
	return p
}

// declare has the zone stand there.
func (p *primaries) declare(s *network.Spec) {
	z := network.Zone{Backend: dnsctl.BackendRFC2136, TTL: s.Zones[zone].TTL, Key: updateKey}
	for _, n := range p.list {
		if n.of == nil {
			z.Primaries = append(z.Primaries, n.addr)
		} else {
			z.Secondaries = append(z.Secondaries, n.addr)
		}
	}
	s.Zones[zone] = z
}

// follow has the secondary look at its primary from time to time.
func (p *primaries) follow() {
	if p == nil {
		return
	}
	for _, n := range p.list {
		if n.of != nil && n.how == "" && n.of.how != primarySilent && n.of.how != primaryGone {
			n.zone.Refresh(n.of.zone, false)
		}
	}
	p.w.loop.In(refreshEvery, "", p.follow)
}

func (p *primaries) at(server string) *nameServer {
	if p == nil {
		return nil
	}
	for _, n := range p.list {
		if n.addr.String() == server {
			return n
		}
	}
	return nil
}

// unanswered is what a question costs that nobody answers; an update is waited for longer.
func unanswered(update bool) time.Duration {
	if update {
		return 5 * time.Second
	}
	return 2 * time.Second
}

// ask takes a message in wire form from a site to the server and its answer back.
func (n *nameServer) ask(from *Site, packet []byte, update bool) ([]byte, error) {
	w := n.w
	lost := func(what string) ([]byte, error) {
		w.charge(unanswered(update))
		if update {
			w.tell("%s: update by %s %s", n.addr, from.name, what)
			w.cover.count(coverPrimary, "update %s", what)
		}
		return nil, fmt.Errorf("ask %s: %w", n.addr, context.DeadlineExceeded)
	}
	if !from.uplink || !from.power || n.how == primarySilent {
		w.cover.count(coverPrimary, "silence")
		return lost("does not arrive")
	}
	w.charge(w.net.rtt[from.name] + w.net.slow[from.name] + 5*time.Millisecond)
	if update && n.how == primaryLate {
		w.loop.In(n.late, "late update at "+n.addr.String(), func() { n.lateUpdate(from, packet) })
		return lost("is not answered, and done later")
	}
	answer, err := n.zone.Serve(packet)
	if err == nil && update && n.how == primaryDeaf {
		return lost("is done, and not answered")
	}
	return answer, err
}

// lateUpdate is one that nobody waits for any more.
func (n *nameServer) lateUpdate(from *Site, packet []byte) {
	answer, err := n.zone.Serve(packet)
	reply := new(dns.Msg)
	if err == nil {
		err = reply.Unpack(answer)
	}
	if err != nil {
		n.w.check.violated(fmt.Errorf("late update at %s: %w", n.addr, err))
		return
	}
	n.w.tell("%s: update by %s, late: %s, serial %d", n.addr, from.name, dns.RcodeToString[reply.Rcode], n.zone.Serial())
	n.w.cover.count(coverPrimary, "late update %s", dns.RcodeToString[reply.Rcode])
}

// talk asks the server without a signature.
func (n *nameServer) talk(from *Site, m *dns.Msg) (*dns.Msg, error) {
	packet, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", n.addr, err)
	}
	answer, err := n.ask(from, packet, m.Opcode == dns.OpcodeUpdate)
	if err != nil {
		return nil, err
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(answer); err != nil {
		return nil, fmt.Errorf("ask %s: %w: %w", n.addr, dnsctl.ErrMalformed, err)
	}
	return reply, nil
}

// signs returns the exchanger that signs an agent's messages, by its own wall clock.
func (a *Agent) signs(key string) (dnsctl.Exchanger, error) {
	if key != updateKey {
		return nil, fmt.Errorf("key %q is not known here", key)
	}
	return signer{a}, nil
}

type signer struct{ a *Agent }

// Exchange implements dnsctl.Exchanger.
func (x signer) Exchange(_ context.Context, server string, m *dns.Msg) (*dns.Msg, error) {
	w := x.a.w
	n := w.primaries.at(server)
	if n == nil {
		return nil, fmt.Errorf("ask %s: no such server", server)
	}
	wall, update := x.a.site.wall(w.loop.Now()), m.Opcode == dns.OpcodeUpdate
	packet, mac, err := primary.Seal(m, updateKey+".", updateSecret, wall)
	if err != nil {
		return nil, fmt.Errorf("ask %s: sign question: %w", server, err)
	}
	if n.spoils(update) {
		n.heard++
	}
	answer, err := n.ask(x.a.site, packet, update)
	if err != nil {
		return nil, err
	}
	reply, err := primary.Open(answer, updateSecret, mac)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w: %w", server, dnsctl.ErrMalformed, err)
	}
	n.answered(x.a.site, update, reply)
	t := reply.IsTsig()
	switch {
	case t == nil:
		return nil, fmt.Errorf("ask %s: %w", server, dnsctl.ErrUnsigned)
	case t.Error != dns.RcodeSuccess:
		return nil, fmt.Errorf("ask %s: %w", server, &dnsctl.SignatureError{Code: t.Error, Skew: wall.Sub(w.loop.Now().Add(n.skew)).Round(time.Second)})
	}
	return reply, nil
}

// spoils says whether what ails a server strikes such a message.
func (n *nameServer) spoils(update bool) bool {
	switch n.how {
	case "":
		return false
	case primaryRefuses, primaryFails, primaryDeaf, primaryLate:
		return update
	}
	return true
}

// answered tells of an answer to a signed message.
func (n *nameServer) answered(by *Site, update bool, reply *dns.Msg) {
	verdict := dns.RcodeToString[reply.Rcode]
	if t := reply.IsTsig(); t != nil && t.Error != dns.RcodeSuccess {
		verdict = dns.RcodeToString[int(t.Error)]
	}
	if update {
		n.w.tell("%s: update by %s: %s, serial %d", n.addr, by.name, verdict, n.zone.Serial())
		n.w.cover.count(coverPrimary, "update %s", verdict)
	} else if reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		n.w.cover.count(coverPrimary, "question %s", verdict)
	}
}

// ail has a server fail, or be well again ("").
func (n *nameServer) ail(how string) {
	n.how, n.skew = how, 0
	switch how {
	case primaryRefuses:
		n.zone.Fail(dns.RcodeRefused, dns.RcodeSuccess)
	case primaryFails:
		n.zone.Fail(dns.RcodeServerFailure, dns.RcodeSuccess)
	case primaryGone:
		n.zone.Fail(dns.RcodeNotAuth, dns.RcodeRefused)
	default:
		n.zone.Fail(dns.RcodeSuccess, dns.RcodeSuccess)
	}
	if how == primaryClock {
		n.skew = -10 * time.Minute
	}
}

// restored has a backup take the place of what a primary holds, and the secondary not follow it any more, whose serial is
// ahead: until a person transfers the zone anew.
func (p *primaries) restored(n *nameServer, b primary.Backup) {
	n.zone.Restore(b)
	n.fence, _ = n.read()
	n.slow = true
	for _, o := range p.list {
		if o.of == n {
			o.how = secondaryLags
		}
	}
}

// heal ends all faults; people have the secondary transfer the zone anew.
func (p *primaries) heal() {
	if p == nil {
		return
	}
	for _, n := range p.list {
		n.ail("")
		if n.of != nil {
			n.zone.Refresh(n.of.zone, true)
		}
	}
}

// plan draws what goes wrong with the servers in an incident, of a stream of its own.
func (p *primaries) plan(i *incident) {
	if p == nil {
		return
	}
	w, r := p.w, p.w.rand(fmt.Sprintf("primaries %d", len(p.w.plan)))
	w.cover.count(coverPrimary, "incident")
	backups := map[*nameServer]primary.Backup{}
	for _, n := range p.list {
		backups[n] = n.zone.Backup()
	}
	for range 1 + r.IntN(3) {
		n, how := p.list[r.IntN(len(p.list)-1)], primaryTrouble(r)
		begin, lasts := between(r, 0, i.window*9/10), between(r, 3*time.Second, 45*time.Second)
		late := between(r, time.Second, 25*time.Second)
		if chance(r, 0.15) {
			n, how = p.list[len(p.list)-1], secondaryLags
		}
		w.fault(begin, fmt.Sprintf("a name server, %s, %s for %s", n.addr, how, lasts), func() {
			w.tell("fault: %s %s", n.addr, how)
			if how == primaryOld {
				p.restored(n, backups[n])
				return
			}
			n.late, n.heard = late, 0
			n.ail(how)
			w.then(lasts, "name server well", func() { n.recover(how) })
		})
	}
}

// recover ends what ails a server as soon as it has struck somebody who wanted to write.
func (n *nameServer) recover(from string) {
	switch {
	case n.how != from:
	case n.heard > 0 || n.of != nil:
		n.ail("")
	default:
		n.w.then(5*time.Second, "name server well", func() { n.recover(from) })
	}
}

func primaryTrouble(r *rand.Rand) string {
	all := []string{
		primaryRefuses, primaryFails, primaryGone, primarySilent, primarySilent, primaryDeaf, primaryDeaf, primaryLate, primaryLate,
		primaryLate, primaryClock, primaryOld,
	}
	return all[r.IntN(len(all))]
}

// read is the fence that stands in the zone: false for none that is understood.
func (n *nameServer) read() (fence, bool) {
	var f fence
	set := n.zone.Set("_ww-fence."+zone, dns.TypeTXT)
	if len(set) != 1 {
		return f, false
	}
	txt, ok := set[0].(*dns.TXT)
	if !ok {
		return f, false
	}
	_, err := fmt.Sscanf(strings.Join(txt.Txt, ""), "ww1 net=sim gen=%d idx=%d", &f.generation, &f.index)
	return f, err == nil
}

// points is where a name leads to there: to one site, or to none.
func (n *nameServer) points(name string) (failover.SiteID, int) {
	set := n.zone.Set(name, dns.TypeCNAME)
	addresses := len(n.zone.Set(name, dns.TypeA)) + len(n.zone.Set(name, dns.TypeAAAA))
	if len(set) == 0 {
		return "", addresses
	}
	alias, ok := set[0].(*dns.CNAME)
	if !ok {
		return "", addresses
	}
	site, _, _ := strings.Cut(alias.Target, ".")
	return failover.SiteID(site), len(set) + addresses
}
