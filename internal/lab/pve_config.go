package lab

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The options of a guest's configuration that the lab takes, beside those of a single call.
const (
	vmOptions = "acpi:boolean agent:string args:string autostart:boolean balloon:integer bios:string=seabios|ovmf boot:string " +
		"citype:string=configdrive2|nocloud|opennebula ciuser:string cipassword:string cores:integer cpu:string cpulimit:number " +
		"cpuunits:integer description:string efidisk0:string hookscript:string hotplug:string ide[n]:string ipconfig[n]:string " +
		"kvm:boolean localtime:boolean lock:string machine:string memory:string name:string nameserver:string net[n]:string " +
		"numa:boolean onboot:boolean ostype:string protection:boolean sata[n]:string scsi[n]:string scsihw:string " +
		"searchdomain:string serial[n]:string smbios1:string sockets:integer sshkeys:string startup:string tablet:boolean " +
		"tags:string template:boolean tpmstate0:string vcpus:integer vga:string virtio[n]:string vmgenid:string force:boolean "
	ctOptions = "arch:string cmode:string=shell|console|tty console:boolean cores:integer cpulimit:number cpuunits:integer " +
		"description:string dev[n]:string features:string hookscript:string hostname:string lock:string memory:integer mp[n]:string " +
		"nameserver:string net[n]:string onboot:boolean ostype:string protection:boolean rootfs:string searchdomain:string " +
		"startup:string swap:integer tags:string template:boolean timezone:string tty:integer unprivileged:boolean "
)

// rootOnly are the options that the handlers hold against the literal user root@pam; no token has that name.
var rootOnly = []string{"args", "hookscript", "lock", "vmgenid"}

// integers are the options that come back as JSON numbers; a CT's memory is one too, a VM's is a string.
var integers = []string{
	"acpi", "autostart", "balloon", "console", "cores", "cpuunits", "kvm", "localtime", "numa", "onboot", "protection",
	"sockets", "swap", "tablet", "template", "tty", "unprivileged", "vcpus",
}

func digest(text string) string {
	sum := sha1.Sum([]byte(text)) // the algorithm of PVE's config digests, not a protection
	return hex.EncodeToString(sum[:])
}

// renderConfig writes a configuration as its file: the description as leading comment lines, then the
// keys in order.
func renderConfig(conf map[string]string) string {
	var b strings.Builder
	if d := conf["description"]; d != "" {
		for line := range strings.SplitSeq(strings.TrimSuffix(d, "\n"), "\n") {
			b.WriteString("#" + encodeText(line) + "\n")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(conf)) {
		if k != "description" {
			fmt.Fprintf(&b, "%s: %s\n", k, conf[k])
		}
	}
	return b.String()
}

// encodeText escapes as PVE::Tools::encode_text: what is not printable ASCII, and the two characters that
// have a meaning in the file.
func encodeText(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < 0x20 || c > 0x7e || c == '%' || c == ':' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// savedDisk is one disk of a backup: a "#qmdump#map:" line of a VM, a volume of a CT.
type savedDisk struct{ key, archive, storage string }

// parseConfig reads the configuration out of a backup.
func parseConfig(text string) (conf map[string]string, disks []savedDisk) {
	conf = map[string]string{}
	var notes []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m, ok := strings.CutPrefix(line, "#qmdump#map:"); ok {
			if f := strings.Split(m, ":"); len(f) >= 3 {
				disks = append(disks, savedDisk{key: f[0], archive: f[1] + ".img.fidx", storage: f[2]})
			}
			continue
		}
		if c, ok := strings.CutPrefix(line, "#"); ok {
			if d, err := url.PathUnescape(c); err == nil {
				c = d
			}
			notes = append(notes, c)
			continue
		}
		if k, v, ok := strings.Cut(line, ": "); ok {
			conf[k] = v
		}
	}
	if len(notes) > 0 {
		conf["description"] = strings.Join(notes, "\n")
	}
	return conf, disks
}

// isDiskKey tells whether a key names a disk of a VM or a volume of a CT.
func isDiskKey(k string) bool {
	base := strings.TrimRight(k, "0123456789")
	return k == "rootfs" || (base != k && slices.Contains([]string{"ide", "sata", "scsi", "virtio", "mp", "efidisk", "tpmstate"}, base))
}

// shownConfig is the answer to GET config.
func shownConfig(g *guest) map[string]any {
	out := map[string]any{"digest": digest(renderConfig(g.Conf))}
	for k, v := range g.Conf {
		n, err := strconv.Atoi(v)
		switch {
		case err == nil && (slices.Contains(integers, k) || (k == "memory" && g.Kind == lxc)):
			out[k] = n
		case k == "description" && g.Kind == lxc && !strings.HasSuffix(v, "\n"):
			out[k] = v + "\n"
		default:
			out[k] = v
		}
	}
	return out
}

func getConfig(kind string) func(*PVE, *call) (any, error) {
	return func(p *PVE, c *call) (any, error) {
		g, err := p.guestOf(c, kind)
		if err != nil {
			return nil, err
		}
		if err := p.need(c, vmPath(g.ID), "VM.Audit"); err != nil {
			return nil, err
		}
		return shownConfig(g), nil
	}
}

func putConfig(kind string) func(*PVE, *call) (any, error) {
	return func(p *PVE, c *call) (any, error) { return nil, p.changeConfig(c, kind) }
}

// postConfig changes a VM's configuration as a task, which the lab always ends at once.
func (p *PVE) postConfig(c *call) (any, error) {
	if err := p.changeConfig(c, qemu); err != nil {
		return nil, err
	}
	t := p.begin("qmconfig", c.vars["vmid"], c.token)
	t.finish(p.wall(), nil)
	if c.has("background_delay") {
		return nil, nil
	}
	return t.UPID, nil
}

func (p *PVE) changeConfig(c *call, kind string) error {
	g, err := p.guestOf(c, kind)
	if err != nil {
		return err
	}
	set, remove, err := p.configChange(c, g)
	if err != nil {
		return err
	}
	if !p.quorate() {
		return errText("unable to open file '/etc/pve/nodes/%s/%s.tmp.%d' - Permission denied", p.cfg.Node, confFile(kind, g.ID), 1000+p.st.Seq)
	}
	wait := p.lockHeld(strconv.Itoa(g.ID))
	if p.restoring(g.ID) != nil || wait > lockTimeout {
		return p.lockTimeout(g)
	}
	c.delay += wait
	if lock := g.Conf["lock"]; lock != "" {
		return errText("%s is locked (%s)", label(kind), lock)
	}
	if want := c.str("digest"); want != "" && want != digest(renderConfig(g.Conf)) {
		return errText("checksum mismatch (file change by other user?)")
	}
	for _, k := range remove {
		p.removeKey(g, k)
	}
	for k, v := range set {
		g.Conf[k] = v
	}
	p.dirty = true
	return nil
}

// configChange checks what a config call wants to set and to remove.
func (p *PVE) configChange(c *call, g *guest) (set map[string]string, remove []string, err error) {
	set = map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(c.args)) {
		switch {
		case slices.Contains([]string{"delete", "digest", "background_delay", "force", "revert", "skiplock"}, k):
			continue
		case isDiskKey(k):
			return nil, nil, errText("%s: the lab does not attach disks", k)
		}
		if err := p.mayOverride(c, vmPath(g.ID), k, g.Kind); err != nil {
			return nil, nil, err
		}
		set[k] = p.optionValue(g.Kind, k, c.str(k))
		if k == "tags" && g.Kind == qemu {
			set[k] = normalTags(set[k])
		}
	}
	for k := range strings.FieldsFuncSeq(c.str("delete"), func(r rune) bool { return r == ',' || r == ';' || r == ' ' }) {
		if slices.Contains(rootOnly, k) {
			return nil, nil, errText("only root can set '%s' config", k)
		}
		if !knownOption(g.Kind, k) {
			return nil, nil, badParam("delete", "unknown option '%s'", k)
		}
		remove = append(remove, k)
	}
	return set, remove, nil
}

func knownOption(kind, k string) bool {
	options := vmOptions
	if kind == lxc {
		options = ctOptions
	}
	r := newRoute[*PVE]("PUT", "/", options, nil)
	return r.param(k) != nil
}

// optionValue writes a value as it is stored: booleans as 0 and 1, a NIC with an address.
func (p *PVE) optionValue(kind, k, v string) string {
	if strings.HasPrefix(k, "net") && k != "nets" && k[len(k)-1] >= '0' && k[len(k)-1] <= '9' {
		return p.withMAC(kind, v)
	}
	if slices.Contains([]string{"onboot", "protection", "acpi", "kvm", "numa", "tablet", "template", "autostart", "localtime", "unprivileged", "console"}, k) {
		return strconv.Itoa(bit(truth(v)))
	}
	return v
}

// normalTags lower-cases, sorts and dedups tags as a VM's config PUT does.
func normalTags(s string) string {
	tags := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r == ';' || r == ',' || r == ' ' })
	slices.Sort(tags)
	return strings.Join(slices.Compact(tags), ";")
}

// removeKey removes an option; a disk becomes an unused one and keeps its data.
func (p *PVE) removeKey(g *guest, k string) {
	for i := range g.Disks {
		if g.Disks[i].Key == k {
			n := 0
			for g.Conf["unused"+strconv.Itoa(n)] != "" {
				n++
			}
			g.Disks[i].Key = "unused" + strconv.Itoa(n)
			g.Conf[g.Disks[i].Key] = g.Disks[i].Volume
		}
	}
	delete(g.Conf, k)
}

// overridePrivilege is what a token needs to set an option (reference/proxmox.md 8).
func overridePrivilege(k, kind string) string {
	base := strings.TrimRight(k, "0123456789")
	switch {
	case base == "net" || (kind == lxc && slices.Contains([]string{"hostname", "nameserver", "searchdomain"}, k)):
		return "VM.Config.Network"
	case k == "memory" || k == "balloon" || k == "swap":
		return "VM.Config.Memory"
	case slices.Contains([]string{"cores", "sockets", "cpu", "cpulimit", "cpuunits", "numa", "vcpus"}, k):
		return "VM.Config.CPU"
	case base == "ipconfig" || slices.Contains([]string{"ciuser", "cipassword", "citype", "sshkeys", "nameserver", "searchdomain"}, k):
		return "VM.Config.Cloudinit"
	case k == "boot" || isDiskKey(k):
		return "VM.Config.Disk"
	case slices.Contains([]string{"vga", "scsihw", "smbios1", "bios", "machine", "serial"}, base):
		return "VM.Config.HWType"
	default:
		return "VM.Config.Options"
	}
}

// mayOverride checks the right to set one option in a config call or as an override of a restore.
func (p *PVE) mayOverride(c *call, path, k, kind string) error {
	base := strings.TrimRight(k, "0123456789")
	switch {
	case base == "net" && base != k && strings.Contains(c.str(k), "host-managed=") && (kind == qemu || p.major() < 9):
		return badParam(k, "invalid format - format error\n%s.host-managed: property is not defined in schema and the schema does not allow additional properties\n", k)
	case slices.Contains(rootOnly, k):
		return errText("only root can set '%s' config", k)
	case base == "dev":
		return &apiError{status: http.StatusForbidden, text: "Permission check failed (configuring device passthrough is only allowed for root@pam)"}
	case k == "features" && strings.Trim(strings.ReplaceAll(c.str(k), "nesting=1", ""), ",") != "":
		return &apiError{status: http.StatusForbidden, text: "Permission check failed (changing feature flags (except nesting) is only allowed for root@pam)"}
	case k == "features" && !c.yes("unprivileged"):
		return &apiError{status: http.StatusForbidden, text: "Permission check failed (changing feature flags for privileged container is only allowed for root@pam)"}
	case k == "startup" && kind == qemu:
		return p.need(c, "/", "Sys.Modify")
	}
	if err := p.need(c, path, overridePrivilege(k, kind)); err != nil {
		return err
	}
	if base == "net" && base != k {
		return p.mayUse(c.token, c.str(k))
	}
	return nil
}

// mayUse checks SDN.Use for a NIC's bridge and tag.
func (p *PVE) mayUse(token, nic string) error {
	n := parseNIC(nic)
	if n.bridge == "" {
		return nil // QEMU's user network needs no right
	}
	path := "/sdn/zones/localnetwork/" + n.bridge
	if p.allowed(token, path, "SDN.Use") || (n.tag != "" && p.allowed(token, path+"/"+n.tag, "SDN.Use")) {
		return nil
	}
	return forbidden(path, "SDN.Use")
}

// nic is what the lab reads out of a netN value.
type nic struct {
	mac, bridge, tag, name, ip string
	down                       bool
}

// parseNIC reads a NIC of a VM ("virtio=MAC,bridge=vmbr0,tag=120") or a CT ("name=eth0,bridge=..,hwaddr=MAC").
func parseNIC(s string) nic {
	var n nic
	for part := range strings.SplitSeq(s, ",") {
		k, v, _ := strings.Cut(part, "=")
		switch k {
		case "bridge":
			n.bridge = v
		case "tag":
			n.tag = v
		case "link_down":
			n.down = truth(v)
		case "name":
			n.name = v
		case "ip":
			n.ip = v
		case "hwaddr", "macaddr":
			n.mac = v
		default:
			if strings.Count(v, ":") == 5 {
				n.mac = v
			}
		}
	}
	return n
}

// withMAC gives a NIC without an address a new one.
func (p *PVE) withMAC(kind, s string) string {
	if parseNIC(s).mac != "" {
		return s
	}
	if kind == lxc {
		return s + ",hwaddr=" + p.newMAC()
	}
	model, rest, more := strings.Cut(s, ",")
	model = strings.TrimPrefix(model, "model=") + "=" + p.newMAC()
	if more {
		return model + "," + rest
	}
	return model
}

// replaceMAC gives a NIC a new address.
func (p *PVE) replaceMAC(s string) string {
	if mac := parseNIC(s).mac; mac != "" {
		return strings.Replace(s, mac, p.newMAC(), 1)
	}
	return s
}
