package proxmox

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var bridgeText = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,31}$`)

// netOptions are the keys of a VM's netN besides the model; any other key is a model (qemu-server has 13 and may get
// more), which has the MAC as its value.
var netOptions = []string{"bridge", "firewall", "link_down", "macaddr", "model", "mtu", "queues", "rate", "tag", "trunks"}

// dropped are the keys that are not taken over: the old place in the network, a pulled cable, and trunks, which would
// give the guest foreign VLANs.
var dropped = []string{"bridge", "tag", "link_down", "trunks"}

// OverrideNets puts every network card of the archive on bridge with the VLAN tag vlan (0 = untagged, for a bridge or
// vnet that is the VLAN). Model, MAC address and all else but tag, trunks and link_down stay; a container keeps
// its name, addresses and gateways. A key that is left out of the overrides of a restore would still name the lost
// site's bridge, so a card that cannot be read, or has no MAC, is an error that names it.
func OverrideNets(a ArchiveConfig, bridge string, vlan int) (map[string]string, error) {
	if !bridgeText.MatchString(bridge) {
		return nil, fmt.Errorf("override networks: %q is not a bridge", bridge)
	}
	if vlan < 0 || vlan > 4094 {
		return nil, fmt.Errorf("override networks: VLAN %d is not between 0 and 4094", vlan)
	}
	all := make(map[string]string, len(a.Nets))
	for _, name := range slices.Sorted(maps.Keys(a.Nets)) {
		card, err := parseNet(a.Kind, a.Nets[name])
		if err != nil {
			return nil, fmt.Errorf("override networks: %s: %w", name, err)
		}
		parts := append(card.head, "bridge="+bridge)
		if vlan != 0 {
			parts = append(parts, "tag="+strconv.Itoa(vlan))
		}
		all[name] = strings.Join(append(parts, card.rest...), ",")
	}
	return all, nil
}

// LinkDown pulls the cable of every card (overrides as OverrideNets gives them), for a start that nobody may see.
func LinkDown(nets map[string]string) map[string]string {
	all := make(map[string]string, len(nets))
	for name, value := range nets {
		all[name] = value + ",link_down=1"
	}
	return all
}

// card is a netN taken apart: what names it, and what else stays.
type card struct{ head, rest []string }

func parseNet(kind Kind, value string) (card, error) {
	var c card
	own := []string{"model", "macaddr"} // go into the head
	if kind == CT {
		own = []string{"name", "hwaddr"}
	}
	seen := make(map[string]string)
	for part := range strings.SplitSeq(value, ",") {
		pairs, err := netPart(kind, strings.TrimSpace(part))
		if err != nil {
			return card{}, err
		}
		for _, p := range pairs {
			if _, twice := seen[p.key]; twice {
				return card{}, fmt.Errorf("%s stands twice", p.key)
			}
			seen[p.key] = p.value
			if !slices.Contains(own, p.key) && !slices.Contains(dropped, p.key) {
				c.rest = append(c.rest, p.key+"="+p.value)
			}
		}
	}
	if seen[own[0]] == "" {
		return card{}, fmt.Errorf("no %s", own[0])
	}
	if err := checkMAC(seen[own[1]]); err != nil {
		return card{}, err
	}
	c.head = []string{seen["model"] + "=" + seen["macaddr"]}
	if kind == CT {
		c.head = []string{"name=" + seen["name"], "hwaddr=" + seen["hwaddr"]}
	}
	return c, nil
}

type pair struct{ key, value string }

// netPart reads one part of a netN. The model of a VM's card may stand alone or have the MAC address as its value.
func netPart(kind Kind, part string) ([]pair, error) {
	key, value, ok := strings.Cut(part, "=")
	switch {
	case kind == VM && key != "" && !slices.Contains(netOptions, key) && ok:
		return []pair{{"model", key}, {"macaddr", value}}, nil
	case kind == VM && key != "" && !slices.Contains(netOptions, key):
		return []pair{{"model", key}}, nil
	case key == "" || value == "":
		return nil, fmt.Errorf("%q is not of the form key=value", clip(part, maxExcerpt))
	}
	return []pair{{key, value}}, nil
}

// checkMAC demands the address: without one PVE invents another at every restore, and leases and licences are lost.
func checkMAC(s string) error {
	if s == "" {
		return fmt.Errorf("no MAC address")
	}
	if m, err := net.ParseMAC(s); err != nil || len(m) != 6 || m[0]&1 != 0 {
		return fmt.Errorf("%q is not a MAC address", clip(s, maxExcerpt))
	}
	return nil
}
