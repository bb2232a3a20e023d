package netns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/raoull/worldwidewelsh/failover"
)

// Cut is something that a line does not carry any more, in the simulator's words: ways
// from one site to another over one kind of path, or to and from all.
type Cut struct {
	At   string        `json:"at"`             // the site whose router drops
	To   string        `json:"to,omitempty"`   // the other end; "": every other site
	Path failover.Path `json:"path,omitempty"` // mesh, public; "": both
	// Only says which direction is cut: "out" (what At sends), "in" (what is sent to
	// it), "" both.
	Only string `json:"only,omitempty"`
	// DNS cuts questions to At's name server and nothing else.
	DNS bool `json:"dns,omitempty"`
	// Loss is the part of the packets that is lost, in percent; 0: all.
	Loss int `json:"loss,omitempty"`
}

// Directions of a Cut.
const (
	OnlyOut = "out"
	OnlyIn  = "in"
)

// Blocks says whether a question from one site to another over a path cannot be
// answered: it needs both directions. A loss blocks nothing for sure.
func (c Cut) Blocks(from, to string, p failover.Path) bool {
	between := (from == c.At || to == c.At) && (c.To == "" || from == c.To || to == c.To)
	return between && c.Loss == 0 && !c.DNS && (c.Path == "" || c.Path == p)
}

// Touches says whether a question might not be answered.
func (c Cut) Touches(from, to string, p failover.Path) bool {
	c.Loss = 0
	return c.Blocks(from, to, p)
}

// SetCuts makes the cuts at a site those of the list, in one step: what was cut and is
// in the list is not open in between.
func (w *World) SetCuts(ctx context.Context, site string, cuts []Cut) error {
	if err := w.known(site); err != nil {
		return err
	}
	var rules []string
	for _, c := range cuts {
		more, err := w.rules(c)
		if err != nil {
			return err
		}
		if c.At != site {
			return fmt.Errorf("cut %s: the cut is one of %s", site, c.At)
		}
		rules = append(rules, more...)
	}
	// Made first, so that removing it succeeds whether there were cuts or not.
	input := "table " + table + " {}\ndelete table " + table + "\n"
	if len(rules) > 0 {
		input += "table " + table + " {\n" + chain("forward", rules) + "}\n"
	}
	if err := inside(ctx, w.router(site), input, "nft", "-f", "-"); err != nil {
		return fmt.Errorf("cut %s: %w", site, err)
	}
	return nil
}

// rules returns what a cut's router drops, of what it forwards.
func (w *World) rules(c Cut) ([]string, error) {
	if err := errors.Join(w.known(c.At), w.knownOrAll(c.To)); err != nil {
		return nil, err
	}
	if c.To == c.At || c.Loss < 0 || c.Loss > 99 || !slices.Contains([]string{"", OnlyOut, OnlyIn}, c.Only) {
		return nil, fmt.Errorf("cut %+v: it makes no sense", c)
	}
	part := ""
	if c.Loss > 0 {
		part = " numgen random mod 100 < " + strconv.Itoa(c.Loss)
	}
	dns := w.lab.Ports().DNS
	if c.DNS {
		return []string{fmt.Sprintf("iifname wan tcp dport %d%s", dns, part), fmt.Sprintf("iifname wan udp dport %d%s", dns, part)}, nil
	}
	var protocols []string
	switch c.Path {
	case "":
		protocols = []string{""}
	case failover.PathMesh:
		protocols = []string{fmt.Sprintf(" udp dport %d", WireGuardPort), fmt.Sprintf(" udp sport %d", WireGuardPort)}
	case failover.PathPublic:
		protocols = []string{" meta l4proto tcp", fmt.Sprintf(" udp dport %d", dns), fmt.Sprintf(" udp sport %d", dns), " meta l4proto icmp"}
	default:
		return nil, fmt.Errorf("cut of path %q: want %s or %s", c.Path, failover.PathMesh, failover.PathPublic)
	}
	var out []string
	for _, proto := range protocols {
		if c.Only != OnlyIn {
			out = append(out, "oifname wan"+w.end("daddr", c.To)+proto+part)
		}
		if c.Only != OnlyOut {
			out = append(out, "iifname wan"+w.end("saddr", c.To)+proto+part)
		}
	}
	return out, nil
}

func (w *World) end(field, site string) string {
	if site == "" {
		return ""
	}
	return fmt.Sprintf(" ip %s %s", field, w.lab.Plan().Public(w.index(site)))
}

func (w *World) knownOrAll(site string) error {
	if site == "" {
		return nil
	}
	return w.known(site)
}

// SlowLine delays what a site sends, and puts it out of order by a part of that, until
// by is 0. It needs the kernel's netem (tc-netem(8)); the error Is ErrNoNetem without.
func (w *World) SlowLine(ctx context.Context, site string, by, jitter string) error {
	if err := w.known(site); err != nil {
		return err
	}
	if by == "" {
		return run(ctx, "", "ip", "netns", "exec", w.router(site), "tc", "qdisc", "del", "dev", "wan", "root")
	}
	if err := run(ctx, "", "ip", "netns", "exec", w.router(site), "tc", "qdisc", "replace", "dev", "wan", "root", "netem", "delay", by, jitter); err != nil {
		return errors.Join(ErrNoNetem, err)
	}
	return nil
}

// ErrNoNetem says that the kernel cannot delay packets.
var ErrNoNetem = errors.New("no slow lines on this machine: the kernel has no netem (modprobe sch_netem)")
