package main

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/internal/lab/nameserver"
	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// nameServer is one authoritative server that a member may ask.
type nameServer struct {
	name string
	addr netip.AddrPort
}

// nameServers are the authoritative servers that have power: those of the sites,
// or the real ones elsewhere.
func (r *room) nameServers() []nameServer {
	var out []nameServer
	if r.lab.RealDNS() {
		for i, a := range r.lab.NameServers() {
			out = append(out, nameServer{fmt.Sprintf("%s ns%d", r.lab.DNSServer, i+1), a})
		}
		return out
	}
	for _, name := range r.living() {
		if i, err := r.lab.Index(name); err == nil {
			out = append(out, nameServer{"name server of " + name, r.lab.DNS(i)})
		}
	}
	return out
}

// startNames starts the real DNS servers of the lab, if it has any.
func (r *room) startNames(ctx context.Context) error {
	if !r.lab.RealDNS() {
		return nil
	}
	servers := r.lab.NameServers()
	r.say("starting %d real DNS servers (%s)", len(servers), r.lab.DNSServer)
	var records strings.Builder
	for i, a := range servers {
		fmt.Fprintf(&records, "@ 3600 IN NS ns%[1]d\nns%[1]d 3600 IN A %[2]s\n", i+1, a.Addr())
	}
	for i, a := range servers {
		name := fmt.Sprintf("ns%d", i+1)
		dir := filepath.Join(r.dir, "dns", name)
		cmd, err := nameserver.Server{
			Kind: r.lab.DNSServer, Dir: dir, Addr: a, Zone: r.lab.Zone, Records: records.String(),
			Keys: []nameserver.Key{{Name: site.TSIGKey, Secret: r.lab.TSIGSecret()}},
		}.Command(ctx)
		if err != nil {
			return err
		}
		log := filepath.Join(dir, "server.log")
		if err := r.children.Start("dns/"+name, cmd, log); err != nil {
			return err
		}
		err = r.await(ctx, "the lab", "dns/"+name, log, func(ctx context.Context) error { return answersFor(ctx, a, r.lab.Zone) })
		if err != nil {
			return err
		}
	}
	return nil
}

// answersFor says whether a server has a zone.
func answersFor(ctx context.Context, server netip.AddrPort, zone string) error {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
	client := &dns.Client{Net: "udp", Timeout: time.Second}
	in, _, err := client.ExchangeContext(ctx, q, server.String())
	switch {
	case err != nil:
		return err
	case in.Rcode != dns.RcodeSuccess || len(in.Answer) == 0:
		return fmt.Errorf("ask %s for %s: %s", server, zone, dns.RcodeToString[in.Rcode])
	}
	return nil
}
