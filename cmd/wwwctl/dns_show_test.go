package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/api"
)

// zonesAtLoss is the screen of a lost site: its name server is silent, a resolver remembers.
func zonesAtLoss() api.DNS {
	const ns1, ns2, ns3, near, far = "203.0.113.30:53", "198.51.100.4:53", "203.0.113.17:53", "9.9.9.9:53", "80.67.169.12:53"
	seen := func(last api.NameSight) map[string]api.NameSight {
		ok := api.NameSight{State: "ok", TTL: 5 * time.Minute}
		return map[string]api.NameSight{ns1: ok, ns2: ok, near: ok, far: last}
	}
	ok := api.NameSight{State: "ok", TTL: 3 * time.Minute}
	name := func(name, rtype, data string, away bool, last api.NameSight) api.NameCheck {
		return api.NameCheck{Name: name + ".assos.example", Type: rtype, Data: data, TTL: 5 * time.Minute, Away: away, Seen: seen(last)}
	}
	return api.DNS{
		Meta: api.Meta{At: at("03:11:40"), Index: 18244, From: "fabrique"},
		Zones: []failover.ZoneView{{
			Zone: "assos.example", Serial: 2026112207, InSync: true, Verified: at("03:10:58"),
			Servers: map[string]bool{ns1: true, ns2: true}, Notes: map[string]string{ns3: "not reached (silent)"},
		}},
		Names: []api.DNSName{
			{Name: "nuage.moulin.assos.example", Guest: "nextcloud-moulin", Home: "moulin", Site: "quai", TTL: 5 * time.Minute},
			{Name: "atelier.assos.example", Guest: "atelier", Home: "fabrique", Site: "fabrique", TTL: 5 * time.Minute},
			{Name: "agenda.assos.example", Guest: "agenda", Home: "moulin", Site: "quai", TTL: 5 * time.Minute},
		},
		Asked: []api.ZoneCheck{{
			Zone: "assos.example", Backend: "embedded", Serial: 2026112207, Token: "1-18204",
			Servers: []api.ServerCheck{
				{Server: ns1, Name: "ns1.assos.example", Role: "agent", Site: "fabrique", Status: "in-sync", Serial: 2026112207},
				{Server: ns2, Name: "ns2.assos.example", Role: "secondary", Site: "quai", Status: "in-sync", Serial: 2026112207},
				{Server: ns3, Name: "ns3.assos.example", Role: "secondary", Site: "moulin", Status: "silent", Error: "ask 203.0.113.17:53 over udp: context deadline exceeded"},
				{Server: near, Role: "resolver", Status: "in-sync"},
				{Server: far, Role: "resolver", Status: "differs", Error: "differs"},
			},
			Names: []api.NameCheck{
				name("nuage.moulin", "CNAME", "quai.site.assos.example.", true, api.NameSight{State: "old", TTL: 41 * time.Second}),
				name("agenda", "CNAME", "quai.site.assos.example.", true, ok),
				name("atelier", "CNAME", "fabrique.site.assos.example.", false, ok),
				name("moulin.site", "A", "203.0.113.17", false, ok),
			},
		}},
	}
}

func showingDNS(t *testing.T, dns api.DNS) string {
	t.Helper()
	return listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := dns
		if r.URL.Query().Get("ask") != "1" {
			out.Asked = nil
		}
		b, err := api.Marshal(api.KindDNS, out)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(b)
	}))
}

func TestDNSScreens(t *testing.T) {
	socket := showingDNS(t, zonesAtLoss())
	for name, width := range map[string]int{"110": 110, "80": 80, "60": 60} {
		got := wwwctl(t.Context(), socket, "dns show moulin", screen(width, 24))
		if got.code != exitOK {
			t.Fatalf("exit %d: %s", got.code, got.errOut)
		}
		golden(t, "dns-"+name, got.out)
		fits(t, "dns-"+name, got.out, width, 24)
	}
	got := wwwctl(t.Context(), socket, "dns show", screen(60, 40), env("LANG", "C"))
	golden(t, "dns-ascii", got.out)
	golden(t, "dns-piped", wwwctl(t.Context(), socket, "dns show -o wide").out)

	// What the log knew, without a leader, in a zone that no server was asked about.
	alone := zonesAtLoss()
	alone.Leaderless, alone.Age = true, 12*time.Minute+56*time.Second
	golden(t, "dns-leaderless-60", wwwctl(t.Context(), showingDNS(t, alone), "dns show nuage", screen(60, 24)).out)
	alone.Asked = nil
	golden(t, "dns-logged", wwwctl(t.Context(), showingDNS(t, alone), "dns show", screen(80, 24)).out)
}

// A site, a zone, a part of a name; a word that is none of them is said to be.
func TestDNSShowOfOne(t *testing.T) {
	socket := showingDNS(t, zonesAtLoss())
	const names = " --jq [.asked[0].names[].name]|join(\",\")"
	for _, tt := range []struct{ line, want string }{
		{"dns show moulin" + names, "nuage.moulin.assos.example,agenda.assos.example,moulin.site.assos.example\n"},
		{"dns show quai" + names, "nuage.moulin.assos.example,agenda.assos.example\n"},
		{"dns show atel" + names, "atelier.assos.example\n"},
		{"dns show assos.example --jq .asked[0].names|length", "4\n"},
		{"dns show fabrique -o tsv --no-headers", "atelier.assos.example\tatelier\tfabrique\tfabrique\t-\t-\t5m00s\n"},
		{"dns show atel -o name", "atelier.assos.example\n"},
	} {
		if got := wwwctl(t.Context(), socket, tt.line); got.code != exitOK || got.out != tt.want {
			t.Errorf("wwwctl %s: exit %d, got %q, want %q %s", tt.line, got.code, got.out, tt.want, got.errOut)
		}
	}
	for _, socket := range []string{socket, showingDNS(t, api.DNS{})} {
		if got := wwwctl(t.Context(), socket, "dns show nowhere"); got.code != exitFailure || !strings.Contains(got.errOut, "nowhere") {
			t.Errorf("exit %d: %s", got.code, got.errOut)
		}
	}
}
