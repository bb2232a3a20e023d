package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// Port is one ethernet port of a MikroTik router or switch, behind which a host stands.
// Without its port the host has no network, whatever it does.
type Port struct {
	Router *RouterOS // whose user's group has the policies read, write and rest-api
	Name   string    // such as ether3
}

// Off reads whether the port is disabled (menu /interface/ethernet of RouterOS).
func (p Port) Off(ctx context.Context) (off bool, how string, err error) {
	row, err := p.read(ctx)
	if err != nil {
		return false, "", err
	}
	return row.truth("disabled"), fmt.Sprintf("port %s of the router is disabled", p.Name), nil
}

// PutOff disables the port: PATCH is the set of the REST API.
func (p Port) PutOff(ctx context.Context) error {
	row, err := p.read(ctx)
	if err != nil {
		return err
	}
	at := p.Router.base + "/rest/interface/ethernet/" + url.PathEscape(row.text(".id"))
	payload, err := json.Marshal(map[string]string{"disabled": "true"})
	if err != nil {
		return err
	}
	if _, err := p.Router.call(ctx, http.MethodPatch, at, payload); err != nil {
		return fmt.Errorf("disable port %s of the router: %w", p.Name, err)
	}
	return nil
}

func (p Port) read(ctx context.Context) (row, error) {
	q := url.Values{"name": {p.Name}, ".proplist": {".id,name,disabled"}}
	body, err := p.Router.call(ctx, http.MethodGet, p.Router.base+"/rest/interface/ethernet?"+q.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("read port %s of the router: %w", p.Name, err)
	}
	rows, err := readRows(body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read port %s of the router: %w: %w", p.Name, ErrAnswer, err)
	case len(rows) != 1 || rows[0].text("name") != p.Name || rows[0].text(".id") == "":
		return nil, fmt.Errorf("read port %s of the router: it has no such port", p.Name)
	}
	return rows[0], nil
}
