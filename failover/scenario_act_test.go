package failover_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
)

// decide [skew=±D]: applies what Decide says until it holds, and prints the
// commands and the reasons. A skewed caller's clock differs from the log's.
func (p *play) decide(args []string) {
	now := p.now
	if len(args) > 0 {
		now = now.Add(p.duration(strings.TrimPrefix(args[0], "skew=")))
	}
	for range 100 {
		d := failover.Decide(p.s, now)
		if len(d.Commands) == 0 {
			for _, r := range d.Why {
				p.printf("why %s", reason(r))
			}
			return
		}
		for _, c := range d.Commands {
			before := p.s
			if !p.propose(c) {
				return
			}
			p.printf("%s", describe(before, p.s, c))
		}
	}
	p.fatalf("Decide does not come to rest")
}

// newest returns the operation that began last.
func (p *play) newest() failover.Operation {
	var out failover.Operation
	for _, op := range p.s.Ops {
		if op.Kind != failover.KindTidy && op.Begun.Index > out.Begun.Index {
			out = op
		}
	}
	return out
}

func (p *play) opOf(g failover.GuestID) failover.Operation {
	if op, ok := p.s.Ops[p.s.Guests[g].Op]; ok {
		return op
	}
	return p.newest()
}

// step SITE GUEST STEP running|done|failed[:KIND[:NOTE]]: the executor's word.
func (p *play) step(args []string) {
	site, g := failover.SiteID(args[0]), failover.GuestID(args[1])
	op := p.opOf(g)
	token := op.TokenOf(g)
	if token.Step != failover.StepID(args[2]) || !slices.Contains(failover.Runnable(p.s, site, p.now), token) {
		p.printf("not runnable at %s: %s is at step %s", site, g, token.Step)
		return
	}
	p.propose(p.moved(op, token, args[3]))
}

func (p *play) moved(op failover.Operation, token failover.Token, to string) failover.StepMoved {
	word := append(strings.SplitN(to, ":", 3), "", "")
	step, _, _ := op.Guests[token.Guest].Current()
	m := failover.StepMoved{
		Token: token, Attempt: step.Attempt, To: failover.StepStatus(word[0]), Failure: failover.Failure(word[1]), Note: word[2],
	}
	if step.Status == failover.StatusPending {
		m.Attempt++
	}
	return m
}

// work SITE[,SITE] [STEP…]: the executors there carry out all that they may,
// of the named steps only.
func (p *play) work(args []string) {
	for range 100 {
		moved := false
		for site := range strings.SplitSeq(args[0], ",") {
			for _, token := range failover.Runnable(p.s, failover.SiteID(site), p.now) {
				if len(args) > 1 && !slices.Contains(args[1:], string(token.Step)) {
					continue
				}
				op := p.s.Ops[token.Op]
				if op.TokenOf(token.Guest) != token {
					continue
				}
				step, _, _ := op.Guests[token.Guest].Current()
				to := "done"
				if step.Status == failover.StatusPending {
					to = "running"
				}
				if !p.propose(p.moved(op, token, to)) {
					return
				}
				if moved = true; to == "done" {
					p.printf("%s: %s %s", site, token.Step, token.Guest)
				}
			}
		}
		if !moved {
			return
		}
	}
	p.fatalf("the executors do not come to rest")
}

// keep GUEST: an executor holds on to the token of its current step.
func (p *play) keep(args []string) {
	g := failover.GuestID(args[0])
	p.kept[g] = p.opOf(g).TokenOf(g)
}

// stale GUEST running|done|failed: it reports with the token that it kept.
func (p *play) stale(args []string) {
	token := p.kept[failover.GuestID(args[0])]
	p.propose(p.moved(p.s.Ops[token.Op], token, args[1]))
}

// confirm GUEST: the leader's answer before an irreversible effect with the
// token that was kept.
func (p *play) confirm(args []string) {
	if err := p.s.TokenCurrent(p.kept[failover.GuestID(args[0])]); err != nil {
		p.printf("refused: %v", err)
		return
	}
	p.printf("confirmed")
}

// runnable SITE: the steps that its agent may carry out now.
func (p *play) runnable(args []string) {
	for _, t := range failover.Runnable(p.s, failover.SiteID(args[0]), p.now) {
		p.printf("%s %s", t.Step, t.Guest)
	}
}

// look: a person reads what the newest operation offers. approve [HASH]: the person
// admits it, as it is now or was at the last look. cancel, retry: of the newest operation.
func (p *play) look([]string) { p.offer = p.s.OfferOf(p.newest().ID, p.now).Hash }

func (p *play) approve(args []string) {
	id := p.newest().ID
	p.propose(failover.Approve{Op: id, Hash: cmp.Or(strings.Join(args, ""), p.offer, p.s.OfferOf(id, p.now).Hash)})
	p.offer = ""
}

func (p *play) cancel([]string) {
	p.propose(failover.CancelOp{Op: p.newest().ID, Reason: failover.Reason{Code: "WWW-1409"}})
}

// commit SITE: a leader proposes what it concluded from the evidence some time
// ago, whatever stands in the log since.
func (p *play) commit(args []string) {
	v := failover.Judge(p.s, p.now)[failover.SiteDomain(failover.SiteID(args[0]))]
	op := p.newest()
	c := failover.CommitOp{Op: op.ID, Votes: v.Votes}
	for _, a := range op.Plan.Assignments {
		c.Guests = append(c.Guests, a.Guest)
	}
	p.propose(c)
}

// retry-of N: of the N-th operation, 0 being the oldest.
func (p *play) retryOf(args []string) {
	var ops []failover.Operation
	for _, op := range p.s.Ops {
		ops = append(ops, op)
	}
	slices.SortFunc(ops, func(a, b failover.Operation) int { return cmp.Compare(a.Begun.Index, b.Begun.Index) })
	var n int
	if _, err := fmt.Sscan(args[0], &n); err != nil || n >= len(ops) {
		p.fatalf("operation %s of %d", args[0], len(ops))
	}
	p.propose(failover.RetryOp{Op: ops[n].ID})
}

// retry [host-off]: of the newest operation.
func (p *play) retry(args []string) {
	p.propose(failover.RetryOp{Op: p.newest().ID, HostOff: slices.Contains(args, "host-off")})
}

// loss reads SITE [target=SITE] [host=HOST] [local] [by-hand].
func loss(args []string) failover.Loss {
	l := failover.Loss{Site: failover.SiteID(args[0])}
	for _, word := range args[1:] {
		if target, ok := strings.CutPrefix(word, "target="); ok {
			l.Target = failover.SiteID(target)
		}
		l.ByHand = l.ByHand || word == "by-hand"
		if host, ok := strings.CutPrefix(word, "host="); ok {
			l.Host = failover.HostID(host)
		}
		l.Local = l.Local || word == "local"
	}
	return l
}

// force SITE [target=SITE]: a person's failover.
func (p *play) force(args []string) {
	l := loss(args)
	l.ByHand = true
	p.propose(failover.BeginOp{
		Kind: failover.KindFailover, Domain: failover.SiteDomain(l.Site), Plan: failover.PlanFor(p.s, l, p.now), Forced: true,
	})
}

// rescue SITE HOST: a person's rescue.
func (p *play) rescue(args []string) {
	l := failover.Loss{Site: failover.SiteID(args[0]), Host: failover.HostID(args[1]), Local: true, ByHand: true}
	p.propose(failover.BeginOp{Kind: failover.KindRescue, Domain: failover.HostDomain(l.Host), Plan: failover.PlanFor(p.s, l, p.now), Forced: true})
}

// pause [SITE] [for=D], unpause [SITE], ack SITE.
func (p *play) pause(args []string) {
	c := failover.SetPause{Reason: "works"}
	for _, word := range args {
		if d, ok := strings.CutPrefix(word, "for="); ok {
			c.For = p.duration(d)
		} else {
			c.Site = failover.SiteID(word)
		}
	}
	p.propose(c)
}

func (p *play) unpause(args []string) {
	p.propose(failover.EndPause{Site: failover.SiteID(strings.Join(args, ""))})
}

func (p *play) ack(args []string) {
	p.propose(failover.Ack{Domain: failover.SiteDomain(failover.SiteID(args[0]))})
}

// maintenance DOMAIN FOR [BOOT] | maintenance DOMAIN off; exclude SITE FOR; include SITE.
func (p *play) maintenance(args []string) {
	domain := failover.DomainID(args[0])
	if args[1] == "off" {
		p.propose(failover.EndMaintenance{Domain: domain})
		return
	}
	p.propose(failover.BeginMaintenance{Domain: domain, For: p.duration(args[1]), Reason: "works", Boot: strings.Join(args[2:], "")})
}

func (p *play) exclude(args []string) {
	p.propose(failover.ExcludeObserver{Site: failover.SiteID(args[0]), For: p.duration(args[1]), Reason: "it lies"})
}

func (p *play) include(args []string) {
	p.propose(failover.IncludeObserver{Site: failover.SiteID(args[0])})
}

// plan SITE [target=SITE] [by-hand]: what would happen.
func (p *play) plan(args []string) { p.printPlan(failover.PlanFor(p.s, loss(args), p.now)) }

func (p *play) printPlan(plan failover.Plan) {
	for _, a := range plan.Assignments {
		auto := "ask"
		if a.Automatic {
			auto = "auto"
		}
		p.printf("%d %s > %s vlan=%d loss=%s mem=%s %s %s", a.Priority, a.Guest, a.Target, a.VLAN, a.Loss, sizeText(a.Memory), auto, codes(a.Why))
	}
	for _, l := range plan.LeftOut {
		p.printf("%d %s left out: %s", l.Priority, l.Guest, reason(l.Reason))
	}
}

// guests: where each is. Those at home and well are left out.
func (p *play) guests([]string) {
	for _, v := range failover.ExplainGuests(p.s, p.now) {
		at := p.s.Guests[v.Guest]
		if v.Phase == failover.PhaseHome && at.Op == "" || v.Phase == failover.PhaseExcluded {
			continue
		}
		p.printf("%s %s owner=%s epoch=%s shown=%s id=%d op=%s", v.Guest, v.Phase, v.At, v.Epoch, cmp.Or(string(v.Serving), "-"), v.ID, cmp.Or(string(at.Op), "-"))
	}
	if len(p.out) == 0 {
		p.printf("all at home")
	}
}

// status: the screen in short.
func (p *play) status([]string) {
	local := failover.LocalView{Site: "temoin", HasLeader: true}
	st := failover.Explain(p.s, local, p.now)
	p.printf("%s, quorum %d of %d, armed %v", st.Headline, st.Quorum.Present, st.Quorum.Voters, st.Armed)
	for _, row := range st.Sites {
		if row.State == "up" {
			continue
		}
		countdown := ""
		if row.CommitAt > 0 {
			countdown = " commits in " + row.CommitAt.String()
		}
		p.printf("site %s %s (%s, %s) seen by %d of %d%s", row.Site, row.State, row.Cause, row.Level, row.SeenBy, row.Observers, countdown)
	}
	for _, op := range st.Ops {
		p.printf("%s %s %s %s", op.ID, op.Kind, op.Domain, op.Phase)
		for _, g := range op.Guests {
			line := fmt.Sprintf("  %s > %s %s %s/%s", g.Guest, g.Target, g.State, g.Step, g.Status)
			p.printf("%s", strings.TrimRight(line+" "+g.Waits.Code+g.Stuck.Code, " "))
		}
	}
	for _, row := range st.Sites {
		for _, h := range row.Hosts {
			if h.UnlockIn > 0 {
				p.printf("host %s %s, %s left to unlock it", h.Host, h.Cause, h.UnlockIn)
			}
		}
	}
	for _, r := range st.Resting {
		p.printf("maintenance %s until %s", r.Domain, r.Until.Format("15:04:05"))
	}
	for _, x := range st.Excluded {
		p.printf("excluded %s until %s", x.Site, x.Until.Format("15:04:05"))
	}
	for _, h := range st.Held {
		p.printf("held %s", reason(h.Reason))
	}
	for _, r := range st.Todo {
		p.printf("todo %s", reason(r))
	}
}

// verdict SITE|host:HOST: what the observers together say.
func (p *play) verdict(args []string) {
	domain := failover.DomainID(args[0])
	if !strings.Contains(args[0], ":") {
		domain = failover.SiteDomain(failover.SiteID(args[0]))
	}
	v := failover.Judge(p.s, p.now)[domain]
	line := fmt.Sprintf("%s %s silence=%s seeing=%d of %d", v.Cause, v.Level, v.Silence, v.Seeing, v.Present)
	if !v.Hold.IsZero() {
		line += " hold " + reason(v.Hold)
	}
	p.printf("%s", line)
}

// events N: the last ones.
func (p *play) events(args []string) {
	var n int
	if _, err := fmt.Sscan(args[0], &n); err != nil {
		p.fatalf("%v", err)
	}
	for _, e := range p.s.Events[max(0, len(p.s.Events)-n):] {
		p.printf("%d %s", e.Stamp.Index, reason(e.Reason))
	}
}

// zones: when each changed last.
func (p *play) zones([]string) {
	for _, z := range failover.Explain(p.s, failover.LocalView{}, p.now).Zones {
		p.printf("%s serial=%d", z.Zone, z.Serial)
	}
}

// reason prints a code with its arguments, without those that vary with the
// fixture and say nothing.
func reason(r failover.Reason) string {
	if r.IsZero() {
		return "-"
	}
	out := r.Code
	for _, k := range sortedKeys(r.Args) {
		if r.Args[k] != "" && k != "votes" && k != "plan" {
			out += " " + k + "=" + r.Args[k]
		}
	}
	return out
}

func codes(rs []failover.Reason) string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Code)
	}
	return strings.Join(out, ",")
}

func sizeText(n int64) string { return fmt.Sprintf("%dMiB", n>>20) }

// describe prints a command that Decide proposed.
func describe(before, after *failover.State, c failover.Command) string {
	switch c := c.(type) {
	case failover.Assess:
		out := fmt.Sprintf("assess %s %s %s silence=%s", c.Domain, c.Cause, c.Level, c.Silence)
		if !c.Held.IsZero() {
			out += " held " + c.Held.Code
		}
		if c.Back {
			out += " back"
		}
		return out
	case failover.BeginOp:
		out := fmt.Sprintf("begin op-%d %s", after.Index, c.Domain)
		for _, a := range c.Plan.Assignments {
			out += fmt.Sprintf(" %s>%s", a.Guest, a.Target)
		}
		return out
	case failover.CommitOp:
		return fmt.Sprintf("commit %s %v on %d votes", c.Op, c.Guests, len(c.Votes))
	case failover.CancelOp:
		return fmt.Sprintf("cancel %s %v %s", c.Op, before.Ops[c.Op].Cancellable(), c.Reason.Code)
	case failover.ResumeOp:
		return fmt.Sprintf("resume %s", c.Op)
	case failover.EndOp:
		return fmt.Sprintf("end %s %s", c.Op, after.Ops[c.Op].Phase)
	case failover.Own:
		return fmt.Sprintf("own %s at %s epoch %s", c.Token.Guest, after.Guests[c.Token.Guest].Owner, after.Guests[c.Token.Guest].Epoch)
	case failover.Serve:
		return fmt.Sprintf("serve %s at %s", c.Token.Guest, after.Guests[c.Token.Guest].Serving)
	case failover.RetryStep:
		return fmt.Sprintf("retry %s %s in %s", c.Token.Guest, c.Token.Step, c.Wait)
	case failover.Retarget:
		age := after.Clock.Sub(c.Assignment.Point.Time).Round(time.Minute)
		return fmt.Sprintf("retarget %s > %s point of %s ago: %s", c.Guest, c.Assignment.Target, age, reason(c.Reason))
	case failover.Stick:
		return fmt.Sprintf("stick %s: %s", c.Guest, reason(c.Reason))
	case failover.EndPause:
		return strings.TrimRight("pause over "+string(c.Site), " ")
	case failover.EndMaintenance:
		return fmt.Sprintf("maintenance over %s", c.Domain)
	case failover.IncludeObserver:
		return fmt.Sprintf("include %s", c.Site)
	case failover.MarkDiverged:
		return fmt.Sprintf("diverged %s", c.Guest)
	}
	return fmt.Sprintf("%T", c)
}
