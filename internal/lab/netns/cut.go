package netns

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// table is the nftables table that holds a site's cuts; Heal removes it.
const table = "inet wwwcut"

// CutLine drops everything between a site and the internet, both ways.
func (w *World) CutLine(ctx context.Context, site string) error {
	return w.drop(ctx, site, w.router(site), "forward", "counter")
}

// CutSending drops what a site sends to some others; what they send arrives.
func (w *World) CutSending(ctx context.Context, site string, to ...string) error {
	var rules []string
	for _, other := range to {
		if err := w.known(other); err != nil {
			return err
		}
		rules = append(rules, fmt.Sprintf("oifname wan ip daddr %s", w.lab.Plan().Public(w.index(other))))
	}
	return w.drop(ctx, site, w.router(site), "forward", rules...)
}

// CutMesh drops a site's WireGuard packets; its public services stay.
func (w *World) CutMesh(ctx context.Context, site string) error {
	return w.drop(ctx, site, w.router(site), "forward", fmt.Sprintf("udp dport %d", WireGuardPort), fmt.Sprintf("udp sport %d", WireGuardPort))
}

// CutPublic drops what the world asks of a site's public entry and name server; the
// mesh stays, and what the site itself asks of others.
func (w *World) CutPublic(ctx context.Context, site string) error {
	ports := w.lab.Ports()
	return w.drop(ctx, site, w.router(site), "forward",
		fmt.Sprintf("iifname wan tcp dport { %d, %d }", ports.Entry, ports.DNS), fmt.Sprintf("iifname wan udp dport %d", ports.DNS))
}

// CutDNS drops the questions that are sent to a site's name server.
func (w *World) CutDNS(ctx context.Context, site string) error {
	port := w.lab.Ports().DNS
	return w.drop(ctx, site, w.router(site), "forward",
		fmt.Sprintf("iifname wan tcp dport %d", port), fmt.Sprintf("iifname wan udp dport %d", port))
}

// CutRouter makes a site's router deaf to ping; it goes on forwarding.
func (w *World) CutRouter(ctx context.Context, site string) error {
	return w.drop(ctx, site, w.router(site), "input", "icmp type echo-request")
}

// CutHost pulls the cable of one machine, and with it those of its guests.
func (w *World) CutHost(ctx context.Context, site, host string) error {
	i := w.index(site)
	for _, h := range w.lab.Hosts(max(0, i)) {
		if h.Name != host || i < 0 {
			continue
		}
		p := w.lab.Plan()
		rules := []string{fmt.Sprintf("ip daddr %s", p.Host(i, h.Index))}
		if h.Index == 0 { // a structure's guests live on the first host of its site
			for _, g := range w.lab.GuestsOf(site) {
				rules = append(rules, fmt.Sprintf("ip daddr %s", p.Guest(i, w.lab.VLAN(g.Structure), g.Number)))
			}
		}
		return w.drop(ctx, site, w.site(site), "input", rules...)
	}
	return fmt.Errorf("cut %s at %s: there is no such host", host, site)
}

// drop adds rules that drop silently, as a dead line does: nobody is told.
func (w *World) drop(ctx context.Context, site, namespace, hook string, rules ...string) error {
	if err := w.known(site); err != nil {
		return err
	}
	if len(rules) == 0 {
		return fmt.Errorf("cut %s: nothing to cut", site)
	}
	if err := inside(ctx, namespace, "table "+table+" {\n"+chain(hook, rules)+"}\n", "nft", "-f", "-"); err != nil {
		return fmt.Errorf("cut %s: %w", site, err)
	}
	return nil
}

func chain(hook string, rules []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s priority 0; policy accept;\n", hook, hook)
	for _, r := range rules {
		fmt.Fprintf(&b, "\t\t%s drop\n", r)
	}
	b.WriteString("\t}\n")
	return b.String()
}

// Heal undoes every cut of a site.
func (w *World) Heal(ctx context.Context, site string) error {
	if err := w.known(site); err != nil {
		return err
	}
	var errs []error
	for _, namespace := range []string{w.site(site), w.router(site)} {
		// Made first, so that removing it succeeds whether there were cuts or not.
		errs = append(errs, inside(ctx, namespace, "table "+table+" {}\ndelete table "+table+"\n", "nft", "-f", "-"))
	}
	return errors.Join(errs...)
}
