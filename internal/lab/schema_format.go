package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// formats checks texts against the vendor's registered formats (PVE::JSONSchema and those that
// pve-storage, pve-guest-common, qemu-server and pve-container register). A format that is not here has
// no check of its own.
type formats struct{ patterns map[string]*regexp.Regexp }

func newFormats() formats {
	f := formats{patterns: map[string]*regexp.Regexp{}}
	for name, text := range map[string]string{
		"pve-vmid":       `[1-9][0-9]{2,8}`,
		"pve-node":       `[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?`,
		"pve-storage-id": `(?i)[a-z][a-z0-9\-_.]*[a-z0-9]`,
		"pve-configid":   `(?i)[a-z][a-z0-9_-]+`,
		"pve-poolid":     `[A-Za-z0-9.\-_]+(?:/[A-Za-z0-9.\-_]+){0,2}`,
		"pve-bridge-id":  `[-_.\w]+`,
		"pve-iface":      `(?i)[a-z][a-z0-9_]{1,20}(?:[:.][0-9]+)?`,
		"pve-tag":        `(?i)[a-z0-9_][a-z0-9_\-+.]*`,
		"pve-volume-id":  `(?i)[a-z][a-z0-9\-_.]*[a-z0-9]:.+`,
		"mac-addr":       `(?i)[a-f0-9][02468ace](?::[a-f0-9]{2}){5}`,
		"disk-size":      `[0-9]+(?:\.[0-9]+)?[KMGT]?`,
		"dns-name":       `(?:(?i)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)(?:\.(?i)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*`,
		"urlencoded":     `[A-Za-z0-9_.%~*'()!-]*`,

		"pve-task-status-type": `ok|error|warning|unknown`,
		"pve-storage-content":  `images|rootdir|vztmpl|iso|backup|snippets|import|none`,
		"pve-vlan-id-or-range": `[0-9]{1,4}(?:-[0-9]{1,4})?`,
		"pve-startup-order":    `(?:(?:order=)?[0-9]+|up=[0-9]+|down=[0-9]+)(?:,(?:order=[0-9]+|up=[0-9]+|down=[0-9]+))*`,
		"pve-qm-boot":          `(?:legacy=)?[acdn]{1,4}|order=[a-z0-9;]*`,
		"pve-hotplug-features": `0|1|(?:network|disk|cpu|memory|usb|cloudinit)(?:,(?:network|disk|cpu|memory|usb|cloudinit))*`,
		"pve-qm-smbios1":       `(?:[a-z0-9]+=[^,]*)(?:,[a-z0-9]+=[^,]*)*`,
	} {
		f.patterns[name] = regexp.MustCompile(`^(?:` + text + `)$`)
	}
	return f
}

// wrong says what is wrong with a text of a format, "" when nothing is.
func (f formats) wrong(name, v string) string {
	if one, isList := strings.CutSuffix(name, "-list"); isList {
		for part := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == ',' || r == ';' || r == ' ' || r == 0 }) {
			if msg := f.wrong(one, part); msg != "" {
				return msg
			}
		}
		return ""
	}
	ok := true
	switch name {
	case "ipv4", "ipv6", "ip", "address":
		a, err := netip.ParseAddr(v)
		ok = (err == nil && (name == "ip" || name == "address" || a.Is4() == (name == "ipv4"))) || (name == "address" && f.wrong("dns-name", v) == "")
	case "CIDRv4", "CIDRv6", "CIDR":
		ok = isCIDR(name, v)
	case "pve-ipv4-config":
		ok = v == "dhcp" || v == "manual" || isCIDR("CIDRv4", v)
	case "pve-ipv6-config":
		ok = v == "auto" || v == "dhcp" || v == "manual" || isCIDR("CIDRv6", v)
	case "pve-volume-id-or-absolute-path", "pve-volume-id-or-qm-path":
		ok = strings.HasPrefix(v, "/") || v == "none" || v == "cdrom" || f.wrong("pve-volume-id", v) == ""
	default:
		if re := f.patterns[name]; re != nil {
			ok = re.MatchString(v)
		}
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("%q is no %s", v, name)
}

func isCIDR(kind, v string) bool {
	p, err := netip.ParsePrefix(v)
	return err == nil && (kind == "CIDR" || p.Addr().Is4() == (kind == "CIDRv4"))
}

// formatName returns the registered format of a property, "" when it has none or an own one.
func (p *property) formatName() string {
	var name string
	if len(p.Format) == 0 || json.Unmarshal(p.Format, &name) != nil {
		return ""
	}
	return name
}

// missingKeys returns the required keys that a property string lacks, and those given twice.
func (p *property) missingKeys(given []string) string {
	slices.Sort(given)
	for i := 1; i < len(given); i++ {
		if given[i] == given[i-1] {
			return "key " + given[i] + " is given twice"
		}
	}
	var missing []string
	for k, sub := range p.format {
		if sub == nil || bool(sub.Optional) || sub.Alias != "" || slices.Contains(given, k) || p.aliased(k, given) {
			continue
		}
		missing = append(missing, k)
	}
	if len(missing) == 0 {
		return ""
	}
	slices.Sort(missing)
	return "key " + strings.Join(missing, ", ") + " is missing"
}

// aliased tells whether a key came in the shorthand of an alias: "virtio=MAC" gives model and macaddr.
func (p *property) aliased(key string, given []string) bool {
	for _, g := range given {
		if sub := p.format[g]; sub != nil && (sub.Alias == key || sub.KeyAlias == key) {
			return true
		}
	}
	return false
}
