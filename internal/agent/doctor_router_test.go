package agent_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/raoull/worldwidewelsh/internal/agent"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/lab"
	"github.com/raoull/worldwidewelsh/internal/mesh"
)

// routerNames answers what it has, and counts.
type routerNames struct {
	names []mesh.StaticName
	err   error
	asked int
}

func (r *routerNames) StaticNames(context.Context) ([]mesh.StaticName, error) {
	r.asked++
	return r.names, r.err
}

// TestDoctorReadsTheRouter once a round, whether or not the site receives guests, and however others probe it.
func TestDoctorReadsTheRouter(t *testing.T) {
	c := newClinic(t, "9.2.1")
	c.resident(lab.GuestSpec{ID: 300, Kind: "vm", Name: "local"})
	r := &routerNames{names: []mesh.StaticName{{Name: "nuage.example", Type: "A", Value: "10.10.10.5"}, {Regexp: "x", Type: "FWD", Value: "10.77.1.1", Subdomains: true}}}
	c.doctor.Router = func() agent.RouterReader { return r }
	s := clinicSpec()
	declare := func(kind string) {
		site := s.Sites[away]
		site.Router.Type = kind
		s.Sites[away] = site
		c.declare(s)
	}
	declare("tcp") // RouterOS it is all the same: wwwd.yaml says how to reach its REST API
	if c.round(); r.asked != 1 || c.doctor.Facts().Router == nil {
		t.Errorf("a router that others probe by TCP was asked %d times: %+v", r.asked, c.doctor.Facts().Router)
	}
	declare("routeros")
	c.round()
	want := &doctor.RouterNames{Entries: []doctor.RouterName{{Name: "nuage.example", Type: "A", Value: "10.10.10.5"}, {Regexp: "x", Type: "FWD", Value: "10.77.1.1", Subdomains: true}}}
	if d := cmp.Diff(want, c.doctor.Facts().Router); d != "" || r.asked != 2 {
		t.Errorf("asked %d times (-want +got):\n%s", r.asked, d)
	}
	r.err = errors.New("the router does not answer")
	if got := routerFindings(c.round()); len(got) != 1 || got[0] != doctor.CodeRouterUnread {
		t.Errorf("a router that does not answer: %q", got)
	}
	h := s.Sites[away].Hosts["pve-quai"]
	h.Restore, h.Sources, h.Lineages = nil, nil, nil
	s.Sites[away].Hosts["pve-quai"] = h
	r.err = nil
	declare("routeros")
	if c.round(); c.doctor.Facts().Router == nil || len(c.doctor.Facts().Router.Entries) != 2 {
		t.Errorf("at a site that receives no guests: %+v", c.doctor.Facts().Router)
	}
	c.doctor.Router = func() agent.RouterReader { return nil }
	if c.round(); c.doctor.Facts().Router != nil {
		t.Errorf("without a way to the router: %+v", c.doctor.Facts().Router)
	}
}

// routerFindings lists what is told of this site's router.
func routerFindings(r doctor.Report) (out []string) {
	for _, f := range r.Items {
		if f.Category == doctor.DNS && f.Subject == "router of "+string(away) {
			out = append(out, f.Code)
		}
	}
	return out
}
