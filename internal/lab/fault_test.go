package lab_test

import (
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab"
)

// TestFaults applies each effect to one restore request and looks at the answer and at what happened.
func TestFaults(t *testing.T) {
	tests := []struct {
		fault  lab.Fault
		status int
		hint   lab.Hint
		tasks  int // restores that run afterwards
		body   string
	}{
		{fault: lab.Fault{Effect: lab.EffectDelay, Delay: time.Minute}, status: 200, hint: lab.Hint{Delay: time.Minute}, tasks: 1, body: "UPID"},
		{fault: lab.Fault{Effect: lab.EffectHang}, status: 503, hint: lab.Hint{Reply: lab.ReplyHangs}},
		{fault: lab.Fault{Effect: lab.EffectStatus, Status: 596, Text: "Connection timed out"}, status: 596},
		{fault: lab.Fault{Effect: lab.EffectDropReply}, status: 200, hint: lab.Hint{Reply: lab.ReplyDropped}, tasks: 1},
		{fault: lab.Fault{Effect: lab.EffectTwice}, status: 500, tasks: 1, body: "already exists"},
		{fault: lab.Fault{Effect: lab.EffectCrashHost}, status: 200, hint: lab.Hint{Reply: lab.ReplyHangs, Crash: "pve:moulin"}},
		{fault: lab.Fault{Effect: lab.EffectHTML}, status: 200, body: "<html>"},
		{fault: lab.Fault{Effect: lab.EffectTruncate}, status: 200, tasks: 1, body: `{"data":"UPID`},
		{fault: lab.Fault{Effect: lab.EffectRevokeToken}, status: 401, hint: lab.Hint{Delay: 3 * time.Second}},
		{fault: lab.Fault{Effect: lab.EffectFillStorage, Text: "local-zfs"}, status: 200, tasks: 1},
		{fault: lab.Fault{Effect: lab.EffectWrongKey}, status: 200, tasks: 1},
		{fault: lab.Fault{Effect: lab.EffectLoseSnapshot, Text: "vm/100"}, status: 200, tasks: 1},
		{fault: lab.Fault{Effect: lab.EffectCorruptSnapshot, Text: "vm/100"}, status: 200, tasks: 1},
		{fault: lab.Fault{Effect: lab.EffectLoseKey}, status: 500, body: "no encryption key file found!"},
		{fault: lab.Fault{Effect: lab.EffectSkewClock, Delay: -time.Hour}, status: 200, tasks: 1},
		{fault: lab.Fault{Effect: lab.EffectStallHost}, status: 503, hint: lab.Hint{Reply: lab.ReplyHangs}},
		{fault: lab.Fault{Effect: lab.EffectRevokePrivilege, Text: "VM.Allocate"}, status: 403, body: "Permission check failed"},
		{fault: lab.Fault{Effect: lab.EffectOfflineStorage, Text: "local-zfs"}, status: 200, tasks: 1},
		{fault: lab.Fault{Effect: lab.EffectHoldLock, Text: "900", Delay: time.Minute}, status: 500, hint: lab.Hint{Delay: 10 * time.Second}, body: "can't lock file '/var/lock/qemu-server/lock-900.conf' - got timeout"},
		{fault: lab.Fault{Effect: lab.EffectLoseQuorum}, status: 500, body: "cluster not ready - no quorum?"},
		{fault: lab.Fault{Effect: lab.EffectBackendDown}, status: 595},
		{fault: lab.Fault{Effect: lab.EffectProxyCut}, status: 596, hint: lab.Hint{Delay: 30 * time.Second}, tasks: 1},
		{fault: lab.Fault{Effect: lab.EffectBackendClosed}, status: 599},
		{fault: lab.Fault{Effect: lab.EffectKillTask}, status: 200, tasks: 1},
	}
	seen := map[lab.Effect]bool{}
	for _, tt := range tests {
		seen[tt.fault.Effect] = true
		t.Run(string(tt.fault.Effect), func(t *testing.T) {
			w := newWorld(t, func(p *lab.PVEConfig, _ *lab.PBSConfig) { p.Cluster = "duo" })
			w.backup(100)
			args := vmArgs(w, "900")
			var faults lab.Faults
			tt.fault.Where, tt.fault.Times = "pve:moulin", 1
			tt.fault.Match = lab.Match{Method: "POST", Path: "/nodes/*/qemu"}
			if err := faults.Add(tt.fault); err != nil {
				t.Fatal(err)
			}
			w.pveRT = lab.InProcess(lab.WithFaults("pve:moulin", w.pve, &faults))
			w.call("GET", "/version", nil) // does not match
			if n := len(faults.List()); n != 1 {
				t.Fatalf("%d faults in force, want 1", n)
			}
			r := w.try("POST", nodePath("/qemu"), args)
			if r.status != tt.status || w.hint != tt.hint || !strings.Contains(r.raw, tt.body) {
				t.Errorf("answer %d %q with %+v, want %d %q with %+v", r.status, r.raw, w.hint, tt.status, tt.body, tt.hint)
			}
			if n := len(faults.List()); n != 0 {
				t.Errorf("%d faults in force after it hit, want 0", n)
			}
			w.pve.PowerOn(w.now)
			w.pve.Heal()
			rows, _ := w.call("GET", nodePath("/tasks"), pairs("source", "active")).([]any)
			if len(rows) != tt.tasks {
				t.Errorf("%d running tasks, want %d", len(rows), tt.tasks)
			}
		})
	}
	for _, e := range lab.Effects() {
		if !seen[e] {
			t.Errorf("effect %s is not tested", e)
		}
	}
}

func TestFaultsHitOnlyWhatTheyName(t *testing.T) {
	w := newWorld(t)
	var faults lab.Faults
	for _, f := range []lab.Fault{
		{Where: "pve:quai", Effect: lab.EffectHTML},
		{Where: "pve:moulin", Match: lab.Match{Path: "/nodes/*/status/current", Skip: 1}, Effect: lab.EffectStatus, Status: 595, Times: 2},
	} {
		if err := faults.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	w.pveRT = lab.InProcess(lab.WithFaults("pve:moulin", w.pve, &faults))
	var got []int
	for range 4 {
		got = append(got, w.try("GET", nodePath("/qemu/100/status/current"), nil).status, w.try("GET", nodePath("/status"), nil).status)
	}
	want := []int{200, 200, 595, 200, 595, 200, 200, 200}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("statuses = %v, want %v", got, want)
		}
	}
	faults.Clear()
	if n := len(faults.List()); n != 0 {
		t.Errorf("%d faults after Clear", n)
	}
}

func TestFaultsAreValidated(t *testing.T) {
	tests := []struct {
		name  string
		fault lab.Fault
		want  string
	}{
		{"unknown effect", lab.Fault{Effect: "explode"}, `fault effect "explode"`},
		{"delay without a time", lab.Fault{Effect: lab.EffectDelay}, "delay must be longer than 0"},
		{"status without a number", lab.Fault{Effect: lab.EffectStatus}, "status 0 is not in 200..999"},
		{"skew of nothing", lab.Fault{Effect: lab.EffectSkewClock}, "by how much"},
		{"lock without a name", lab.Fault{Effect: lab.EffectHoldLock, Delay: time.Second}, "text must say which"},
		{"privilege without a name", lab.Fault{Effect: lab.EffectRevokePrivilege}, "text must say which"},
		{"negative times", lab.Fault{Effect: lab.EffectHang, Times: -1}, "must not be negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var f lab.Faults
			if err := f.Add(tt.fault); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Add(%+v) = %v, want %q", tt.fault, err, tt.want)
			}
		})
	}
}
