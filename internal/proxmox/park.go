package proxmox

import (
	"slices"
	"strings"
)

// A parked guest is kept and cannot serve: it does not start with its host, its network
// cables are out (link_down, qm.conf(5) and pct.conf(5), netN), and Proxmox refuses to
// remove it or its disks (protection). What it was like stands in its description.
const parkPrefix = "www-park: "

// Parked says whether a guest's configuration is that of a parked one.
func (g GuestConfig) Parked() bool {
	_, ok := g.parkLine()
	return ok && g.Values["protection"] == "1" && g.Values["onboot"] != "1" && len(g.linked()) == 0
}

// WasParked says whether Park has written into a guest's description, and nobody undid it.
func (g GuestConfig) WasParked() bool {
	_, ok := g.parkLine()
	return ok
}

// parkLine finds what Park has written into the description.
func (g GuestConfig) parkLine() (map[string]string, bool) {
	for line := range strings.Lines(g.Values["description"]) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), parkPrefix)
		if !ok {
			continue
		}
		fields := map[string]string{}
		for _, pair := range strings.Fields(rest) {
			key, value, _ := strings.Cut(pair, "=")
			fields[key] = value
		}
		return fields, true
	}
	return nil, false
}

// linked lists the network interfaces whose cable is in, in order.
func (g GuestConfig) linked() []string {
	var out []string
	for key, value := range g.Values {
		if isNet(key) && !slices.Contains(strings.Split(value, ","), "link_down=1") {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

func isNet(key string) bool {
	rest, ok := strings.CutPrefix(key, "net")
	return ok && rest != "" && strings.Trim(rest, "0123456789") == ""
}

// Park gives the changes that park a guest, none when it is parked. op is the operation
// that wants it, for who reads the description; onboot says whether the guest started with
// its host before anybody changed that for it.
func (g GuestConfig) Park(op string, onboot bool) map[string]string {
	if g.Parked() {
		return nil
	}
	set := map[string]string{"onboot": "0", "protection": "1"}
	linked := g.linked()
	for _, key := range linked {
		set[key] = withLink(g.Values[key], "link_down=1")
	}
	was, again := g.parkLine()
	nets, protection, boot := linked, flag(g.Values["protection"] == "1"), flag(onboot || g.Values["onboot"] == "1")
	if again { // somebody has changed it since: what it was like before it was parked counts
		nets, protection, boot = append(strings.Split(was["nets"], ","), linked...), was["protection"], was["onboot"]
		slices.Sort(nets)
		nets = slices.DeleteFunc(slices.Compact(nets), func(n string) bool { return !isNet(n) })
	}
	line := parkPrefix + "nets=" + strings.Join(nets, ",") + " protection=" + protection + " onboot=" + boot + " op=" + op
	set["description"] = strings.TrimRight(line+"\n"+withoutPark(g.Values["description"]), "\n")
	return set
}

// Unpark gives the changes that undo Park, none when the guest is not parked: keys to set,
// and keys to delete.
func (g GuestConfig) Unpark() (set map[string]string, del []string) {
	was, ok := g.parkLine()
	if !ok {
		return nil, nil
	}
	set = map[string]string{}
	if text := withoutPark(g.Values["description"]); text != "" {
		set["description"] = text
	} else {
		del = []string{"description"}
	}
	if was["protection"] != "1" {
		set["protection"] = "0"
	}
	if was["onboot"] == "1" {
		set["onboot"] = "1"
	}
	for key := range strings.SplitSeq(was["nets"], ",") {
		if value, there := g.Values[key]; there && isNet(key) {
			set[key] = withLink(value, "")
		}
	}
	return set, del
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// withLink writes an interface with another state of its cable, "" for in.
func withLink(value, link string) string {
	parts := slices.DeleteFunc(strings.Split(value, ","), func(p string) bool { return strings.HasPrefix(p, "link_down=") })
	if link != "" {
		parts = append(parts, link)
	}
	return strings.Join(parts, ",")
}

func withoutPark(description string) string {
	var kept []string
	for line := range strings.Lines(description) {
		line = strings.TrimRight(line, "\r\n")
		if !strings.HasPrefix(strings.TrimSpace(line), parkPrefix) {
			kept = append(kept, line)
		}
	}
	return strings.TrimRight(strings.Join(kept, "\n"), "\n")
}
