package proxmox_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

const vmArchive = `#Nextcloud %C3%A9t%C3%A9
#www%3A network=assos guest=nextcloud op=3 token=7 role=away
agent: 1
boot: order=scsi0;ide2
cores: 2
cpu: host
efidisk0: local-lvm:vm-100-disk-1,efitype=4m,size=4M
hostpci0: 0000:01:00
ide2: local:iso/debian.iso,media=cdrom,size=600M
ide3: local-lvm:vm-100-cloudinit,media=cdrom
machine: pc-q35-9.0
memory: 4096
name: nextcloud
net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,tag=20
net1: e1000=BC:24:11:00:00:02,bridge=vmbr1,link_down=1
scsi0: local-lvm:vm-100-disk-0,iothread=1,size=32G
scsi1: local-lvm:vm-100-disk-2,backup=0,size=1T
serial0: socket
smbios1: uuid=6a0d
tpmstate0: local-lvm:vm-100-disk-3,size=4M,version=v2.0
virtio1: /dev/sdb,size=10G
#qmdump#map:efidisk0:drive-efidisk0:local-lvm:raw:
#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:
#qmdump#map:tpmstate0:drive-tpmstate0-backup:local-lvm:raw:
`

func TestParseArchiveConfigVM(t *testing.T) {
	a, err := proxmox.ParseArchiveConfig(proxmox.VM, vmArchive)
	if err != nil {
		t.Fatal(err)
	}
	wantDisks := []proxmox.Disk{
		{Name: "efidisk0", Storage: "local-lvm", Bytes: 4 << 20, Saved: true},
		{Name: "scsi0", Storage: "local-lvm", Bytes: 32 << 30, Saved: true},
		{Name: "scsi1", Storage: "local-lvm", Bytes: 1 << 40},
		{Name: "tpmstate0", Storage: "local-lvm", Bytes: 4 << 20, Saved: true},
		{Name: "virtio1", Storage: "/dev/sdb", Bytes: 10 << 30},
	}
	if diff := cmp.Diff(wantDisks, a.Disks); diff != "" {
		t.Errorf("disks (-want +got):\n%s", diff)
	}
	if got, want := a.SavedBytes(), int64(32<<30+8<<20); got != want {
		t.Errorf("SavedBytes() = %d, want %d", got, want)
	}
	if want := "Nextcloud été\nwww: network=assos guest=nextcloud op=3 token=7 role=away"; a.Description != want {
		t.Errorf("description %q, want %q", a.Description, want)
	}
	if a.Raw["name"] != "nextcloud" || len(a.Nets) != 2 {
		t.Errorf("raw name %q and %d nets, want nextcloud and 2", a.Raw["name"], len(a.Nets))
	}
	checkWarnings(t, a, []string{"host bound hostpci0", "firewall net0", "not saved scsi1", "bind mount virtio1", "host bound cpu", "host bound machine"})
}

func checkWarnings(t *testing.T, a proxmox.ArchiveConfig, want []string) {
	t.Helper()
	var got []string
	for _, w := range a.Warnings {
		got = append(got, strings.TrimSpace(string(w.Code)+" "+w.Key))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestParseArchiveConfigCT(t *testing.T) {
	a, err := proxmox.ParseArchiveConfig(proxmox.CT, `arch: amd64
hostname: mail
lxc.cgroup2.devices.allow: c 10:200 rwm
lxc.cgroup2.devices.allow = c 10:201 rwm
memory: 512
dev0: /dev/ttyUSB0
mp0: local-zfs:subvol-101-disk-1,mp=/srv,backup=1,size=8G
mp1: /mnt/nas,mp=/nas
mp2: local-zfs:subvol-101-disk-2,mp=/tmp,size=1G
net0: name=eth0,bridge=vmbr0,gw=10.1.0.1,hwaddr=BC:24:11:00:00:03,ip=10.1.0.5/24,tag=20,type=veth
rootfs: volume=local-zfs:subvol-101-disk-0,size=4.5G
what is this
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []proxmox.Disk{
		{Name: "mp0", Storage: "local-zfs", Bytes: 8 << 30, Saved: true},
		{Name: "mp2", Storage: "local-zfs", Bytes: 1 << 30},
		{Name: "rootfs", Storage: "local-zfs", Bytes: 9 << 29, Saved: true},
	}
	if diff := cmp.Diff(want, a.Disks); diff != "" {
		t.Errorf("disks (-want +got):\n%s", diff)
	}
	checkWarnings(t, a, []string{
		"unread line", "root only dev0", "root only lxc.cgroup2.devices.allow", "bind mount mp1", "not saved mp2", "privileged unprivileged",
	})
	if got := a.Raw["lxc.cgroup2.devices.allow"]; got != "c 10:200 rwm\nc 10:201 rwm" {
		t.Errorf("repeated key holds %q", got)
	}
	b, err := proxmox.ParseArchiveConfig(proxmox.CT, "unprivileged: 1\nrootfs: l:v,size=1G\n[snap]\nnet0: x\n")
	if err != nil || len(b.Nets) != 0 {
		t.Errorf("got %+v %v, want nothing of the snapshot", b, err)
	}
	checkWarnings(t, b, []string{"unread line"})
	for _, bad := range []string{"", "\n\n", "#only a description\n", "<html>\n"} {
		if a, err := proxmox.ParseArchiveConfig(proxmox.VM, bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, a)
		}
	}
}

func TestOverrideNets(t *testing.T) {
	tests := []struct {
		name, in, want string
		kind           proxmox.Kind
		vlan           int
	}{
		{"vm", "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,tag=20", "virtio=BC:24:11:00:00:01,bridge=vmbr9,tag=120,firewall=1", proxmox.VM, 120},
		{"vm model last", "bridge=vmbr0,mtu=1400,virtio=BC:24:11:00:00:01", "virtio=BC:24:11:00:00:01,bridge=vmbr9,tag=120,mtu=1400", proxmox.VM, 120},
		{"vm model and macaddr", "model=e1000,macaddr=BC:24:11:00:00:01,bridge=vmbr0", "e1000=BC:24:11:00:00:01,bridge=vmbr9,tag=120", proxmox.VM, 120},
		{"vm bare model", "vmxnet3,macaddr=BC:24:11:00:00:01,rate=10", "vmxnet3=BC:24:11:00:00:01,bridge=vmbr9,tag=120,rate=10", proxmox.VM, 120},
		{"vm without bridge", "e1000-82540em=BC:24:11:00:00:01", "e1000-82540em=BC:24:11:00:00:01,bridge=vmbr9,tag=120", proxmox.VM, 120},
		{"vm link down and trunks", "virtio=BC:24:11:00:00:01,bridge=vmbr0,link_down=1,trunks=10;20-30,queues=4", "virtio=BC:24:11:00:00:01,bridge=vmbr9,queues=4", proxmox.VM, 0},
		{
			"ct", "name=eth0,bridge=vmbr0,firewall=1,gw=10.1.0.1,hwaddr=BC:24:11:00:00:03,ip=10.1.0.5/24,ip6=auto,link_down=1,tag=20,type=veth",
			"name=eth0,hwaddr=BC:24:11:00:00:03,bridge=vmbr9,tag=120,firewall=1,gw=10.1.0.1,ip=10.1.0.5/24,ip6=auto,type=veth", proxmox.CT, 120,
		},
		{"vm no MAC", "virtio,bridge=vmbr0", "", proxmox.VM, 120},
		{"vm bad MAC", "virtio=BC:24:11:00:00,bridge=vmbr0", "", proxmox.VM, 120},
		{"vm multicast MAC", "virtio=01:24:11:00:00:01,bridge=vmbr0", "", proxmox.VM, 120},
		{"vm no model", "bridge=vmbr0,tag=3", "", proxmox.VM, 120},
		{"vm two models", "virtio=BC:24:11:00:00:01,e1000=BC:24:11:00:00:02", "", proxmox.VM, 120},
		{"vm model twice", "virtio=BC:24:11:00:00:01,model=e1000", "", proxmox.VM, 120},
		{"vm tag twice", "virtio=BC:24:11:00:00:01,tag=1,tag=2", "", proxmox.VM, 120},
		{"vm empty", "", "", proxmox.VM, 120},
		{"ct no name", "hwaddr=BC:24:11:00:00:03,bridge=vmbr0", "", proxmox.CT, 120},
		{"ct no MAC", "name=eth0,bridge=vmbr0", "", proxmox.CT, 120},
		{"ct junk", "name=eth0,hwaddr=BC:24:11:00:00:03,bridge", "", proxmox.CT, 120},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := proxmox.ArchiveConfig{Kind: test.kind, Nets: map[string]string{"net3": test.in}}
			got, err := proxmox.OverrideNets(a, "vmbr9", test.vlan)
			if test.want == "" {
				if err == nil || !strings.Contains(err.Error(), "net3: ") {
					t.Errorf("got %q %v, want an error that names net3", got, err)
				}
				return
			}
			if err != nil || got["net3"] != test.want || len(got) != 1 {
				t.Errorf("got  %q (%v)\nwant %q", got, err, test.want)
			}
		})
	}
	three := proxmox.ArchiveConfig{Kind: proxmox.VM, Nets: map[string]string{
		"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0", "net1": "e1000=BC:24:11:00:00:02,bridge=vmbr1,tag=7", "net11": "virtio=BC:24:11:00:00:03",
	}}
	got, err := proxmox.OverrideNets(three, "vmbr9", 120)
	want := map[string]string{
		"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr9,tag=120", "net1": "e1000=BC:24:11:00:00:02,bridge=vmbr9,tag=120",
		"net11": "virtio=BC:24:11:00:00:03,bridge=vmbr9,tag=120",
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("every card has to be overridden, %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []struct {
		bridge string
		vlan   int
	}{{"", 1}, {"a,b", 1}, {"vmbr0", -1}, {"vmbr0", 4095}} {
		if got, err := proxmox.OverrideNets(proxmox.ArchiveConfig{Kind: proxmox.VM}, bad.bridge, bad.vlan); err == nil {
			t.Errorf("bridge %q, VLAN %d: got %v, want an error", bad.bridge, bad.vlan, got)
		}
	}
	if got := proxmox.LinkDown(map[string]string{"net0": "virtio=X"}); got["net0"] != "virtio=X,link_down=1" {
		t.Errorf("LinkDown gave %v", got)
	}
}

func TestMarker(t *testing.T) {
	m := proxmox.Marker{Network: "assos", Guest: "nextcloud moulin", Op: "op-12", Role: "away", Token: 18204}
	got, ok := proxmox.ParseMarker(m.Describe("mine\nwww: network=old guest=x op=1 token=2 role=y\nand mine") + "\n")
	if !ok || got != m {
		t.Errorf("got %+v %v, want %+v", got, ok, m)
	}
	if want := m.Line() + "\nmine\nand mine"; m.Describe("mine\n"+m.Line()+"\nand mine\n") != want {
		t.Errorf("got %q, want %q", m.Describe("mine\n"+m.Line()+"\nand mine\n"), want)
	}
	if diff := cmp.Diff([]string{"www", "www-op-12"}, m.Tags()); diff != "" {
		t.Error(diff)
	}
	if got := (proxmox.Marker{Op: "Été 7"}).Tags()[1]; got != "www-op--t--7" {
		t.Errorf("got tag %q", got)
	}
	for _, bad := range []string{
		"", "no marker", "www: ", "www: network=a guest=b op=c", "www: network=a guest=b op=c token=x role=r", "www: network=a guest= op=c token=1",
		"www: network=a network=b guest=b op=c token=1", "www: network=%zz guest=b op=c token=1",
		"www: network=a guest=b op=c token=1\nwww: network=a guest=b op=d token=2",
		"www: network=a guest=b op=c token=1\nwww: torn",
	} {
		if m, ok := proxmox.ParseMarker(bad); ok {
			t.Errorf("%q: got %+v, want none", bad, m)
		}
	}
	twice := "www: network=a guest=b op=c token=1\nwww: network=a guest=b op=c token=1 new=field"
	if _, ok := proxmox.ParseMarker(twice); !ok {
		t.Error("the same marker twice was not taken")
	}
}

func TestVolid(t *testing.T) {
	volid := proxmox.Volid("pbs-quai", proxmox.CT, 101, time.Date(2026, 3, 1, 4, 0, 0, 0, time.FixedZone("", 7200)))
	if volid != "pbs-quai:backup/ct/101/2026-03-01T02:00:00Z" {
		t.Errorf("got %q", volid)
	}
	v, err := proxmox.ParseVolid(volid)
	if want := (proxmox.VolumeID{Storage: "pbs-quai", Kind: proxmox.CT, VMID: 101, Time: backupTime}); err != nil || v != want {
		t.Errorf("got %+v %v, want %+v", v, err, want)
	}
	for _, bad := range []string{
		"", "x", "pbs:backup/vm/100", "pbs:backup/host/100/2026-03-01T02:00:00Z", "pbs:backup/vm/nas/2026-03-01T02:00:00Z", "pbs:backup/vm/99/2026-03-01T02:00:00Z",
		"pbs:backup/vm/0100/2026-03-01T02:00:00Z", "pbs:backup/vm/100/yesterday", "p/s:backup/vm/100/2026-03-01T02:00:00Z", "pbs:backup/vm/100/2026-03-01T02:00:00Z/x",
		"pbs:backup/vm/100/2026-03-01T02:00:00.5Z", "local:backup/vzdump-qemu-100.vma",
	} {
		if v, err := proxmox.ParseVolid(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, v)
		}
	}
}
