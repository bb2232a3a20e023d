package proxmox

import (
	"context"
	"net/url"
	"strings"
)

// Bridge is one bridge or vnet of the node that guests can be connected to.
type Bridge struct {
	Name      string
	Active    bool
	Ports     []string // physical ports; a tagged NIC on a bridge that is not VLAN-aware needs one
	VLANAware bool
	VIDs      string // "2-4094", "10 20 30-40"; "" = all
	Addresses []string
	VNet      bool // of an SDN zone: it is its VLAN itself
}

// Bridges lists the bridges of the node. Those on which, and on whose VLANs, the token has neither SDN.Audit nor
// SDN.Use are left out silently.
func (p *PVE) Bridges(ctx context.Context) ([]Bridge, error) {
	var rows []struct {
		Name   wireString `json:"iface"`
		Type   wireString
		Active wireBool
		Ports  wireString `json:"bridge_ports"`
		OVS    wireString `json:"ovs_ports"`
		Aware  wireBool   `json:"bridge_vlan_aware"`
		VIDs   wireString `json:"bridge_vids"`
		CIDR   wireString
		CIDR6  wireString
	}
	query := url.Values{"type": {"any_bridge"}}
	c, err := p.get(ctx, "list bridges of node "+p.node, p.nodePath("/network?"+query.Encode()), &rows)
	if err != nil {
		return nil, err
	}
	all := make([]Bridge, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "iface", w.Name.Set, "type", w.Type.Set); err != nil {
			return nil, err
		}
		b := Bridge{
			Name: w.Name.V, Active: w.Active.V, Ports: strings.Fields(w.Ports.V + " " + w.OVS.V), VIDs: w.VIDs.V,
			VLANAware: w.Aware.V || w.Type.V == "OVSBridge", // Open vSwitch always tags by port
			VNet:      w.Type.V == "vnet",
		}
		for _, a := range []string{w.CIDR.V, w.CIDR6.V} {
			if a != "" {
				b.Addresses = append(b.Addresses, a)
			}
		}
		all = append(all, b)
	}
	return all, nil
}

// Machines lists the machine types that QEMU on this node can run: "pc-i440fx-10.1", "pc-q35-9.2+pve1", ... Any token
// may ask.
func (p *PVE) Machines(ctx context.Context) ([]string, error) {
	var rows []struct{ ID wireString }
	c, err := p.get(ctx, "list machine types of node "+p.node, p.nodePath("/capabilities/qemu/machines"), &rows)
	if err != nil {
		return nil, err
	}
	all := make([]string, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "id", w.ID.Set); err != nil {
			return nil, err
		}
		all = append(all, w.ID.V)
	}
	return all, nil
}

// CPUModel is a processor type that a VM can be given. Vendor is what the guest sees: "GenuineIntel", "AuthenticAMD",
// "default" or "" for those that are not one vendor's.
type CPUModel struct{ Name, Vendor string }

// CPUModels lists the processor types that this node knows. Custom ones ("custom-NAME") are left out without Sys.Audit
// on /nodes. Any token may ask.
func (p *PVE) CPUModels(ctx context.Context) ([]CPUModel, error) {
	var rows []struct{ Name, Vendor wireString }
	c, err := p.get(ctx, "list processor types of node "+p.node, p.nodePath("/capabilities/qemu/cpu"), &rows)
	if err != nil {
		return nil, err
	}
	all := make([]CPUModel, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "name", w.Name.Set); err != nil {
			return nil, err
		}
		all = append(all, CPUModel{Name: w.Name.V, Vendor: w.Vendor.V})
	}
	return all, nil
}

// HAResources lists the ids that the cluster's HA stack manages, as "vm:100" or "ct:101", also of guests that do not
// exist any more (Sys.Audit on /).
func (p *PVE) HAResources(ctx context.Context) ([]string, error) {
	var rows []struct{ SID wireString }
	c, err := p.get(ctx, "list HA resources", "/cluster/ha/resources", &rows)
	if err != nil {
		return nil, err
	}
	all := make([]string, 0, len(rows))
	for i, w := range rows {
		if err := need(c, i, "sid", w.SID.Set); err != nil {
			return nil, err
		}
		all = append(all, w.SID.V)
	}
	return all, nil
}
