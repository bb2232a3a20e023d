package proxmox_test

import (
	"context"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/proxmox"
	"github.com/raoull/worldwidewelsh/internal/proxmox/proxmoxtest"
)

// FuzzAnswers gives any body to every call: the result is a value or an *Error, never a panic, and a call that takes
// an answer takes it again.
func FuzzAnswers(f *testing.F) {
	for _, c := range proxmoxtest.Cases() {
		f.Add(200, data(c.Answer))
	}
	f.Add(500, `{"data":null,"message":"x"}`)
	f.Add(400, `{"errors":{"a":[1]}}`)
	f.Add(200, `{"data":{"memory":{"total":1e400}}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			status = 200
		}
		pve, pbs := clients(t, handler(status, body))
		for _, c := range proxmoxtest.Cases() {
			err := c.Run(context.Background(), pve, pbs)
			if err != nil && proxmox.KindOf(err) == proxmox.Other && status == 200 {
				t.Errorf("%s: untyped error %v for %q", c.Name, err, body)
			}
			if err == nil && (status < 200 || status > 299) {
				t.Errorf("%s: status %d was taken for a success", c.Name, status)
			}
		}
	})
}

// FuzzParseArchiveConfig also checks that what is read can be overridden without keeping a trace of the old network.
func FuzzParseArchiveConfig(f *testing.F) {
	f.Add(vmArchive, false)
	f.Add("rootfs: l:v,size=1G\nnet0: name=eth0,hwaddr=BC:24:11:00:00:03,bridge=vmbr0\nlxc.x: y\nmp0: /a,mp=/b\n", true)
	f.Add("scsi0: ,,,size=99999999999999T\nnet0:\nnet1: =\n", false)
	f.Fuzz(func(t *testing.T, text string, ct bool) {
		kind := proxmox.VM
		if ct {
			kind = proxmox.CT
		}
		a, err := proxmox.ParseArchiveConfig(kind, text)
		if err != nil {
			return
		}
		for _, d := range a.Disks {
			if d.Bytes < 0 {
				t.Errorf("disk %+v has a negative size", d)
			}
		}
		checkOverrides(t, a)
	})
}

func checkOverrides(t *testing.T, a proxmox.ArchiveConfig) {
	t.Helper()
	nets, err := proxmox.OverrideNets(a, "vmbr9", 120)
	if err != nil {
		return
	}
	if len(nets) != len(a.Nets) {
		t.Errorf("%d of %d networks were overridden", len(nets), len(a.Nets))
	}
	again, err := proxmox.OverrideNets(proxmox.ArchiveConfig{Kind: a.Kind, Nets: nets}, "vmbr9", 120)
	if err != nil {
		t.Errorf("what was made is not understood: %v", err)
	}
	for name, value := range nets {
		bridges, tags := 0, 0
		for part := range strings.SplitSeq(value, ",") {
			key, _, _ := strings.Cut(part, "=")
			switch key {
			case "bridge":
				bridges++
			case "tag":
				tags++
			case "link_down", "trunks":
				t.Errorf("%s keeps %s: %q", name, key, value)
			}
		}
		if bridges != 1 || tags != 1 || again[name] != value {
			t.Errorf("%s has %d bridges and %d tags, and again is %q: %q", name, bridges, tags, again[name], value)
		}
	}
}

func FuzzOverrideNets(f *testing.F) {
	f.Add("virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,tag=20", false)
	f.Add("model=e1000,macaddr=BC:24:11:00:00:01", false)
	f.Add("name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:03,ip=10.1.0.5/24", true)
	f.Fuzz(func(t *testing.T, value string, ct bool) {
		a := proxmox.ArchiveConfig{Kind: proxmox.VM, Nets: map[string]string{"net0": value}}
		if ct {
			a.Kind = proxmox.CT
		}
		checkOverrides(t, a)
	})
}

func FuzzParseUPID(f *testing.F) {
	f.Add("UPID:pve-1:0000C0DE:1A0001E24:65A0B1C2:qmrestore:9001:wwwd@pve!agent:")
	f.Add("UPID:pbs1:0000C0DE:0001E240:00000007:65A0B1C2:verify:x:a@pbs:")
	f.Add("::::::::::")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := proxmox.ParseUPID(s)
		p, errPBS := proxmox.ParsePBSUPID(s)
		if err == nil && errPBS == nil {
			t.Errorf("%q is a task id of both", s)
		}
		if err == nil && (u.String() != s || u.Node == "" || u.Type == "" || strings.ContainsAny(u.Node+u.Type, "/ ")) || errPBS == nil && p.String() != s {
			t.Errorf("%q was read as %+v or %+v", s, u, p)
		}
	})
}

func FuzzParseMarker(f *testing.F) {
	f.Add("mine\nwww: network=a guest=b op=c token=1 role=r\n")
	f.Add("www: network=%20 guest=+ op=c token=18446744073709551615")
	f.Fuzz(func(t *testing.T, description string) {
		m, ok := proxmox.ParseMarker(description)
		if again, okAgain := proxmox.ParseMarker(m.Describe(description)); ok && (!okAgain || again != m) {
			t.Errorf("%q: %+v became %+v %v", description, m, again, okAgain)
		}
	})
}

func FuzzRestoreProgress(f *testing.F) {
	f.Add("pbs-restore drive-scsi0.img.fidx x\nprogress 42% (read 9 bytes\nrestore image complete (bytes=99,\n", int64(100))
	f.Fuzz(func(t *testing.T, log string, size int64) {
		size &= 1<<50 - 1
		p := proxmox.RestoreProgress(logLines(strings.Split(log, "\n")...), []proxmox.Disk{{Name: "scsi0", Bytes: size, Saved: true}})
		if p.Done < 0 || p.Total < p.Done || p.Total < size {
			t.Errorf("got %+v of a disk of %d bytes", p, size)
		}
	})
}
