package mesh

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// StaticName is one entry of a router's static DNS (menu /ip/dns/static of RouterOS).
type StaticName struct {
	Name       string // either this
	Regexp     string // or this; such entries are looked at first, in their order
	Type       string // A, AAAA, CNAME, FWD, NXDOMAIN and others
	Value      string // address, the name of a CNAME, or where a FWD asks
	Subdomains bool   // of names below Name, too
}

// staticProps are the fields that are asked for; comments are not among them.
const staticProps = "name,regexp,type,address,cname,forward-to,match-subdomain,disabled"

// StaticNames reads the static DNS entries that are in use, in the router's order. The user's group needs the policies
// read and rest-api. Errors are those of Peers.
func (r *RouterOS) StaticNames(ctx context.Context) ([]StaticName, error) {
	q := url.Values{".proplist": {staticProps}}
	body, err := r.call(ctx, http.MethodGet, r.base+"/rest/ip/dns/static?"+q.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("read static DNS of the router: %w", err)
	}
	rows, err := readRows(body)
	if err != nil {
		return nil, fmt.Errorf("read static DNS of the router: %w: %w", ErrAnswer, err)
	}
	var out []StaticName
	for _, row := range rows {
		if row.truth("disabled") {
			continue
		}
		out = append(out, StaticName{
			Name: row.text("name"), Regexp: row.text("regexp"), Subdomains: row.truth("match-subdomain"),
			Type:  cmp.Or(row.text("type"), "A"), // RouterOS leaves it out for A
			Value: cmp.Or(row.text("address"), row.text("cname"), row.text("forward-to")),
		})
	}
	return out, nil
}
