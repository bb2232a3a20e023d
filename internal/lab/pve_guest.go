package lab

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The two kinds of guest, as the API's paths name them.
const (
	qemu = "qemu"
	lxc  = "lxc"
)

// guest is one VM or CT of a host.
type guest struct {
	ID       int               `json:"id"`
	Kind     string            `json:"kind"`
	Conf     map[string]string `json:"conf"`
	Disks    []disk            `json:"disks"`
	OS       osInfo            `json:"os"`
	Text     []byte            `json:"text"` // the lines in the data area of the first disk
	Running  bool              `json:"running"`
	Deaf     bool              `json:"deaf,omitempty"` // to a request to shut down
	Started  time.Time         `json:"started"`
	Born     time.Time         `json:"born"`
	Written  time.Time         `json:"written"`            // of the last line
	Restored string            `json:"restored,omitempty"` // volid
	Pool     string            `json:"pool,omitempty"`
}

// disk is one volume. Body is its content behind the data area (all of it for further disks); nil stands
// for zeros.
type disk struct {
	Key      string    `json:"key"`
	Storage  string    `json:"storage"`
	Volume   string    `json:"volume"`
	Size     int64     `json:"size"`
	Body     []ChunkID `json:"body"`
	Owner    int       `json:"owner"`
	Kind     string    `json:"kind"`
	NoBackup bool      `json:"noBackup,omitempty"`
}

func vmPath(id int) string { return "/vms/" + strconv.Itoa(id) }

func label(kind string) string {
	if kind == lxc {
		return "CT"
	}
	return "VM"
}

func confFile(kind string, id int) string {
	return fmt.Sprintf("%s/%d.conf", map[string]string{qemu: "qemu-server", lxc: "lxc"}[kind], id)
}

func nameKey(kind string) string {
	if kind == lxc {
		return "hostname"
	}
	return "name"
}

// name returns the guest's name; a bare configuration has none and the API makes one up.
func (g *guest) name() string {
	if n := g.Conf[nameKey(g.Kind)]; n != "" {
		return n
	}
	if g.Kind == lxc {
		return "CT" + strconv.Itoa(g.ID)
	}
	return "VM " + strconv.Itoa(g.ID)
}

// memory returns the configured memory in bytes.
func (g *guest) memory() int64 {
	n, err := strconv.ParseInt(g.Conf["memory"], 10, 64)
	if err != nil {
		n = 512
	}
	return n << 20
}

func (g *guest) diskBytes() (n int64) {
	for _, d := range g.Disks {
		n += d.Size
	}
	return n
}

// bootDisk returns the size of the first disk, which is what the API calls maxdisk.
func (g *guest) bootDisk() int64 {
	if len(g.Disks) == 0 {
		return 0
	}
	return g.Disks[0].Size
}

func (g *guest) start(now time.Time) {
	g.Running = true
	g.Started = now
	g.Written = now.Truncate(time.Second)
}

// booted tells whether the system inside is up: its agent and its service answer.
func (g *guest) booted(now time.Time) bool { return g.Running && !now.Before(g.Started.Add(bootTime)) }

// write appends the lines that a running guest has written up to now: one each time, or one in ten
// where the host was advanced over a longer gap.
func (g *guest) write(now time.Time, every time.Duration) {
	if !g.booted(now) || len(g.Disks) == 0 {
		return
	}
	step := every
	if now.Sub(g.Written) > 5*every {
		step = 10 * every
	}
	if g.Written.Add(step).After(now) {
		return
	}
	_, n := lastLine(g.Text)
	for at := g.Written.Add(step); !at.After(now); at = at.Add(step) {
		n++
		g.Text = appendBounded(g.Text, dataLine(at, g.OS.Name, n, ""), textRoom(g.Disks[0].Size))
		g.Written = at
	}
}

func (p *PVE) newGuest(spec GuestSpec, data []byte) (*guest, error) {
	kind := map[string]string{qemu: qemu, lxc: lxc, "vm": qemu, "ct": lxc}[spec.Kind]
	content := map[string]string{qemu: "images", lxc: "rootdir"}[kind]
	switch {
	case kind == "":
		return nil, fmt.Errorf("kind %q: want qemu or lxc", spec.Kind)
	case spec.ID < 100:
		return nil, errors.New("the id must be at least 100")
	case p.st.Guests[spec.ID] != nil:
		return nil, errors.New("the id is taken")
	case spec.Name == "" || strings.ContainsAny(spec.Name, " \n\x00"):
		return nil, fmt.Errorf("name %q: want a word", spec.Name)
	}
	storage := spec.Storage
	for _, s := range p.sortedStorages() {
		if storage == "" && s.Type != "pbs" && s.holds(content) {
			storage = s.ID
		}
	}
	if _, ok := p.storages[storage]; !ok {
		return nil, fmt.Errorf("no storage %q for %s", storage, content)
	}
	g := &guest{
		ID: spec.ID, Kind: kind, Born: p.st.Now, Conf: newConf(spec, kind), Deaf: spec.Deaf,
		OS: osInfo{Name: spec.Name, HostNames: spec.HostNames, Addresses: spec.Addresses},
	}
	for _, k := range slices.Sorted(maps.Keys(spec.Nets)) {
		g.Conf[k] = p.withMAC(kind, spec.Nets[k]) // in order: it may draw a random address
	}
	return g, p.fillDisks(g, spec, storage, data)
}

func newConf(spec GuestSpec, kind string) map[string]string {
	memory := spec.Memory
	if memory == 0 {
		memory = 512 << 20
	}
	conf := map[string]string{
		nameKey(kind): spec.Name, "memory": strconv.FormatInt(memory>>20, 10), "onboot": strconv.Itoa(spec.Onboot),
		"cores": "1", "ostype": map[string]string{qemu: "l26", lxc: "debian"}[kind],
	}
	if kind == qemu {
		conf["agent"], conf["scsihw"], conf["boot"] = "1", "virtio-scsi-single", "order=scsi0"
	} else {
		conf["unprivileged"], conf["arch"], conf["swap"] = "1", "amd64", "512"
	}
	for k, v := range map[string]string{"tags": spec.Tags, "description": spec.Description} {
		if v != "" {
			conf[k] = v
		}
	}
	maps.Copy(conf, spec.Extra)
	return conf
}

func (p *PVE) fillDisks(g *guest, spec GuestSpec, storage string, data []byte) error {
	first := map[string]string{qemu: "scsi0", lxc: "rootfs"}[g.Kind]
	for i, d := range append([]DiskSpec{{Key: first, Size: spec.DiskSize}}, spec.Disks...) {
		size := wholeDisk(d.Size)
		x := disk{
			Key: d.Key, Storage: storage, Size: size, Owner: g.ID, Kind: g.Kind, NoBackup: d.NoBackup,
			Volume: p.volumeName(storage, g.Kind, g.ID, i),
		}
		from := int64(0)
		if i == 0 {
			from = dataArea(size)
			if _, err := encodeArea(size, g.OS, data); err != nil {
				return err
			}
			g.Text = slices.Clone(data)
		}
		for at := from; at < size; at += ChunkSize {
			id, err := p.local.Put(fillerChunk(spec.Name, d.Key, at/ChunkSize))
			if err != nil {
				return err
			}
			x.Body = append(x.Body, id)
		}
		g.Disks = append(g.Disks, x)
		g.Conf[d.Key] = diskValue(x)
	}
	return nil
}

// diskValue is a disk's line in the configuration.
func diskValue(d disk) string {
	v := d.Volume + ",size=" + formatSize(d.Size)
	switch {
	case strings.HasPrefix(d.Key, "mp"):
		v = d.Volume + ",mp=/mnt/" + d.Key + ",size=" + formatSize(d.Size)
		if !d.NoBackup {
			v += ",backup=1" // mount points other than rootfs are left out unless it is set
		}
	case d.NoBackup:
		v += ",backup=0"
	}
	return v
}

func (p *PVE) volumeName(storage, kind string, id, n int) string {
	if p.storages[storage].Type == "dir" {
		return fmt.Sprintf("%s:%d/vm-%d-disk-%d.raw", storage, id, id, n)
	}
	prefix := "vm"
	if kind == lxc && p.storages[storage].Type == "zfspool" {
		prefix = "subvol"
	}
	return fmt.Sprintf("%s:%s-%d-disk-%d", storage, prefix, id, n)
}

// freeVolume returns the first volume name of a guest that is not taken, counting from n.
func (p *PVE) freeVolume(storage, kind string, id, n int) (string, int) {
	taken := map[string]bool{}
	for _, d := range p.st.Stray {
		taken[d.Volume] = true
	}
	if g := p.st.Guests[id]; g != nil {
		for _, d := range g.Disks {
			taken[d.Volume] = true
		}
	}
	for taken[p.volumeName(storage, kind, id, n)] {
		n++
	}
	return p.volumeName(storage, kind, id, n), n + 1
}

// canStart checks what a start needs of the host. What the real tools print goes to the task's log.
func (p *PVE) canStart(g *guest, t *task) error {
	var missing []string
	for k, v := range g.Conf {
		if !strings.HasPrefix(k, "net") || strings.TrimRight(k, "0123456789") != "net" {
			continue
		}
		if text := p.bridgeError(parseNIC(v)); text != "" {
			missing = append(missing, text)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		t.logf("%s", missing[0])
		if g.Kind == lxc {
			return fmt.Errorf("command 'systemctl start pve-container@%d' failed: exit code 1", g.ID)
		}
		t.logf("kvm: -netdev type=tap,id=net0: network script /usr/libexec/qemu-server/pve-bridge failed with status 6400")
		return errors.New("start failed: QEMU exited with code 1")
	}
	for _, d := range g.Disks {
		if p.st.Offline[d.Storage] {
			return fmt.Errorf("storage '%s' is not online", d.Storage)
		}
	}
	if len(g.Disks) == 0 {
		return nil // a bare stub starts, and finds nothing to boot
	}
	if m := g.Conf["machine"]; g.Kind == qemu && p.tooNew(m) {
		t.logf("kvm: -machine type=%s: unsupported machine type, use -machine help to list supported machines", m)
		return errors.New("start failed: QEMU exited with code 1")
	}
	if free := p.cfg.Memory - p.usedMemory(); g.Kind == qemu && !g.Running && g.memory() > free {
		t.logf("kvm: cannot set up guest memory 'pc.ram': Cannot allocate memory")
		return errors.New("start failed: QEMU exited with code 1")
	}
	return nil
}

// tooNew tells whether a pinned machine version ("pc-q35-10.1") is newer than this host's QEMU: such a
// guest restores and does not start.
func (p *PVE) tooNew(machine string) bool {
	machine, _, _ = strings.Cut(machine, ",")
	machine, _, _ = strings.Cut(machine, "+") // "+pve1", Proxmox's own revision
	pinned, err := parseVersion(machine[strings.LastIndexByte(machine, '-')+1:])
	if err != nil {
		return false // not pinned
	}
	mine, err := parseVersion(p.qemuVersion())
	return err == nil && !mine.atLeast(pinned.major, pinned.minor)
}

func (p *PVE) qemuVersion() string {
	switch {
	case p.cfg.QEMU != "":
		return p.cfg.QEMU
	case p.major() < 9:
		return "9.2"
	}
	return "10.1"
}

// bridgeError says why a NIC cannot be plugged in, "" when it can. On a VLAN-aware bridge any tag is
// taken: one outside its VIDs has no connection but the guest starts.
func (p *PVE) bridgeError(n nic) string {
	if n.bridge == "" {
		return ""
	}
	b, ok := p.bridge(n.bridge)
	switch {
	case !ok:
		return fmt.Sprintf("bridge '%s' does not exist", n.bridge)
	case n.tag != "" && !b.VLANAware && b.Ports == "":
		return fmt.Sprintf("no physical interface on bridge '%s'", n.bridge)
	}
	return ""
}

func (p *PVE) bridge(name string) (BridgeConfig, bool) {
	for _, b := range p.cfg.Bridges {
		if b.Name == name {
			return b, true
		}
	}
	return BridgeConfig{}, false
}

// carries tells whether a bridge passes frames of a tag ("" = untagged).
func (b BridgeConfig) carries(tag string) bool {
	n, err := strconv.Atoi(tag)
	if tag == "" || err != nil || !b.VLANAware {
		return true
	}
	for part := range strings.FieldsFuncSeq(b.vids(), func(r rune) bool { return r == ' ' || r == ',' || r == ';' }) {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		lo, err1 := strconv.Atoi(from)
		hi, err2 := strconv.Atoi(to)
		if err1 == nil && err2 == nil && lo <= n && n <= hi {
			return true
		}
	}
	return false
}
