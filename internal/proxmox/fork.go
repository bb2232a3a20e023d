package proxmox

import (
	"fmt"
	"slices"
	"strings"
)

// A forked guest is a copy that became a guest of its own: with network cards that no other
// guest has, their cables out until its people have given it another address, and nothing
// by which a program would take it for the guest that it was copied from.
const forkPrefix = "www-fork: "

// Forked says whether Fork was carried out on a guest.
func (g GuestConfig) Forked() bool {
	return strings.Contains("\n"+g.Values["description"], "\n"+forkPrefix)
}

// Fork gives the changes that make a copy a guest of its own, none when that was done: keys
// to set, and keys to delete. of names the guest that it was a copy of. PVE draws a new MAC
// address for a card that is given without one (qemu-server and pct, netN).
func (g GuestConfig) Fork(kind Kind, of, op string) (set map[string]string, del []string, err error) {
	if g.Forked() {
		return nil, nil, nil
	}
	set = map[string]string{"onboot": "0"}
	for key, value := range g.Values {
		if !isNet(key) {
			continue
		}
		if set[key], err = withoutMAC(kind, withLink(value, "link_down=1")); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	if was, parked := g.parkLine(); parked && was["protection"] != "1" {
		set["protection"] = "0"
	}
	if g.Values["vmgenid"] != "" {
		set["vmgenid"] = "1" // drawn anew
	}
	set["description"] = strings.TrimRight(forkPrefix+"of="+of+" op="+op+"\n"+withoutMarks(g.Values["description"]), "\n")
	tags := slices.DeleteFunc(g.Tags(), func(t string) bool { return t == "www" || strings.HasPrefix(t, "www-op-") })
	switch {
	case len(tags) == len(g.Tags()):
	case len(tags) > 0:
		set["tags"] = strings.Join(tags, ";")
	default:
		del = []string{"tags"}
	}
	return set, del, nil
}

// withoutMAC writes a network card without its address.
func withoutMAC(kind Kind, value string) (string, error) {
	var out []string
	for part := range strings.SplitSeq(value, ",") {
		pairs, err := netPart(kind, strings.TrimSpace(part))
		if err != nil {
			return "", err
		}
		switch {
		case pairs[0].key == "hwaddr" || pairs[0].key == "macaddr":
		case pairs[0].key == "model":
			out = append(out, pairs[0].value)
		default:
			out = append(out, part)
		}
	}
	return strings.Join(out, ","), nil
}

// withoutMarks is a description without what this program writes into it.
func withoutMarks(description string) string {
	var kept []string
	for line := range strings.Lines(withoutPark(description)) {
		if line = strings.TrimRight(line, "\r\n"); !strings.HasPrefix(strings.TrimSpace(line), markerPrefix) {
			kept = append(kept, line)
		}
	}
	return strings.TrimRight(strings.Join(kept, "\n"), "\n")
}
