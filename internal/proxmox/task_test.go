package proxmox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/raoull/worldwidewelsh/internal/proxmox"
)

func upidAt(t testing.TB, start time.Time, typ, id, auth string) proxmox.UPID {
	t.Helper()
	u, err := proxmox.ParseUPID(fmt.Sprintf("UPID:pve1:0000C0DE:0001E240:%08X:%s:%s:%s:", start.Unix(), typ, id, auth))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestParseUPID(t *testing.T) {
	const s = "UPID:pve-1:0000C0DE:1A0001E24:65A0B1C2:qmrestore:9001:wwwd@pve!agent:"
	u, err := proxmox.ParseUPID(s)
	if err != nil {
		t.Fatal(err)
	}
	want := proxmox.UPID{Node: "pve-1", PID: 0xC0DE, PStart: 0x1A0001E24, Start: time.Unix(0x65A0B1C2, 0).UTC(), Type: "qmrestore", ID: "9001", Auth: "wwwd@pve!agent"}
	if diff := cmp.Diff(want, u, cmpopts.IgnoreUnexported(proxmox.UPID{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if b, err := json.Marshal(u); err != nil || string(b) != `"`+s+`"` || u.String() != s || u.IsZero() {
		t.Errorf("got %s %v, want the text as it was", b, err)
	}
	if u, err := proxmox.ParseUPID("UPID:pve1:0000C0DE:0001E240:65A0B1C2:aptupdate::root@pam:"); err != nil || u.ID != "" {
		t.Errorf("no id: got %+v %v", u, err)
	}
	const pbs = "UPID:pbs1:0000C0DE:0001E240:00000007:65A0B1C2:verify:x:a@pbs:"
	if p, err := proxmox.ParsePBSUPID(pbs); err != nil || p.TaskID != 7 || p.Node != "pbs1" || p.Start.Unix() != 0x65A0B1C2 {
		t.Errorf("pbs: got %+v %v", p, err)
	}
	if u, err := proxmox.ParsePBSUPID(s); err == nil {
		t.Errorf("a PVE's task was taken for a PBS's: %+v", u)
	}
}

func TestParseUPIDRefuses(t *testing.T) {
	for _, bad := range []string{
		"", "UPID", "UPID:::::::::", "UPID:pbs1:0000C0DE:0001E240:00000007:65A0B1C2:verify:x:a@pbs:", "UPID:pve1:0000C0DE:0001E240:65A0B1C2:qmrestore:9001:a@pve", "upid:pve1:0000C0DE:0001E240:65A0B1C2:x:1:a@pve:",
		"UPID:../x:0000C0DE:0001E240:65A0B1C2:x:1:a@pve:", "UPID:pve1:zz:0001E240:65A0B1C2:x:1:a@pve:", "UPID:pve1:0000C0DE:0001E240:zz:x:1:a@pve:",
		"UPID:pve1:0000C0DE:0001E240:65A0B1C2::1:a@pve:", "UPID:pve1:0000C0DE:0001E240:65A0B1C2:x:1::", "UPID:pve1:0000C0DE:0001E240:65A0B1C2:x:1\n:a@pve:",
		"UPID:pve1:0000C0DE:0001E240:FFFFFFFFFFFF:x:1:a@pve:",
	} {
		if u, err := proxmox.ParseUPID(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, u)
		}
	}
}

func TestTaskStatus(t *testing.T) {
	u := upidAt(t, backupTime, "qmrestore", "9001", testToken)
	tests := []struct {
		name, answer string
		want         proxmox.TaskStatus
		ok, cut      bool
		warnings     int
	}{
		{"running", `{"status":"running"}`, proxmox.TaskStatus{UPID: u, Running: true}, false, false, 0},
		{"ok", `{"status":"stopped","exitstatus":"OK"}`, proxmox.TaskStatus{UPID: u, Exit: "OK"}, true, false, 0},
		{"warnings", `{"status":"stopped","exitstatus":"WARNINGS: 3"}`, proxmox.TaskStatus{UPID: u, Exit: "WARNINGS: 3"}, true, false, 3},
		{"failed", `{"status":"stopped","exitstatus":"start failed: OK"}`, proxmox.TaskStatus{UPID: u, Exit: "start failed: OK"}, false, false, 0},
		{"crashed", `{"status":"stopped","exitstatus":"unexpected status"}`, proxmox.TaskStatus{UPID: u, Exit: "unexpected status"}, false, true, 0},
		{"cancelled vm", `{"status":"stopped","exitstatus":"command 'x' failed: interrupted by signal"}`, proxmox.TaskStatus{UPID: u, Exit: "command 'x' failed: interrupted by signal"}, false, true, 0},
		{"cancelled ct", `{"status":"stopped","exitstatus":"unable to restore CT 1 - command 'x' failed: received interrupt"}`, proxmox.TaskStatus{UPID: u, Exit: "unable to restore CT 1 - command 'x' failed: received interrupt"}, false, true, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := pveAnswering(t, 200, data(test.answer)).Task(t.Context(), u)
			if err != nil || got != test.want || got.OK() != test.ok || got.Interrupted() != test.cut || got.Warnings() != test.warnings {
				t.Errorf("got %+v %v, OK %v, interrupted %v, %d warnings; want %+v, %v, %v, %d",
					got, err, got.OK(), got.Interrupted(), got.Warnings(), test.want, test.ok, test.cut, test.warnings)
			}
			if failed := got.Err(nil) != nil; failed == (test.ok || test.want.Running) {
				t.Errorf("Err gave %v", got.Err(nil))
			}
		})
	}
	for _, bad := range []string{`{"status":"stopped"}`, `{"status":"stopped","exitstatus":""}`, `{"status":"paused"}`, `{}`} {
		if got, err := pveAnswering(t, 200, data(bad)).Task(t.Context(), u); proxmox.KindOf(err) != proxmox.BadAnswer {
			t.Errorf("%s: got %+v %v, want kind bad answer", bad, got, err)
		}
	}
}

func TestTaskErrFindsCauseInLog(t *testing.T) {
	status := proxmox.TaskStatus{
		UPID: upidAt(t, backupTime, "qmrestore", "9001", testToken),
		Exit: "command '/usr/bin/proxmox-backup-client restore vm/100/T index.json' failed: exit code 255",
	}
	tail := []proxmox.LogLine{
		{N: 1, Text: "storage 'old' does not exist"},
		{N: 2, Text: "Error: missing key - manifest was created with key aa:bb:cc"},
		{N: 3, Text: "error before or during data restore, some or all disks were not completely restored. VM 9001 state is NOT cleaned up."},
		{N: 4, Text: "TASK ERROR: " + status.Exit},
	}
	err := status.Err(tail)
	want := "task qmrestore 9001: Error: missing key - manifest was created with key aa:bb:cc (" + status.Exit + ")"
	if proxmox.KindOf(err) != proxmox.KeyMissing || err.Error() != want {
		t.Errorf("got kind %q: %v\nwant key missing: %s", proxmox.KindOf(err), err, want)
	}
	if got := proxmox.KindOf(status.Err(nil)); got != proxmox.Other {
		t.Errorf("without a log: got kind %q, want other", got)
	}
	status.Exit = "403 Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)"
	e, ok := errors.AsType[*proxmox.Error](status.Err(tail))
	if !ok || e.Kind != proxmox.Forbidden || e.Privilege != "SDN.Use" || e.PrivPath != "/sdn/zones/localnetwork/vmbr0" {
		t.Errorf("got %+v, want SDN.Use missing on the bridge", e)
	}
}

func TestTasksAndFindTask(t *testing.T) {
	u := upidAt(t, backupTime, "qmrestore", "9001", testToken)
	ended := upidAt(t, backupTime.Add(-time.Minute), "qmrestore", "9001", testToken)
	foreign := upidAt(t, backupTime.Add(time.Minute), "qmrestore", "9001", "root@pam")
	body := fmt.Sprintf(`[{"upid":%q,"status":"RUNNING"},{"upid":%q,"status":"OK","endtime":1772330500},{"upid":%q}]`, u, ended, foreign)
	got, err := pveAnswering(t, 200, data(body)).Tasks(t.Context(), proxmox.TaskFilter{})
	want := []proxmox.TaskStatus{
		{UPID: u, Running: true},
		{UPID: ended, Exit: "OK", End: time.Unix(1772330500, 0).UTC()},
		{UPID: foreign, Running: true},
	}
	if err != nil || !cmp.Equal(got, want, cmp.Comparer(func(a, b proxmox.UPID) bool { return a == b })) {
		t.Fatalf("got %+v %v, want %+v", got, err, want)
	}
	tests := []struct {
		name, typ string
		id        int
		since     time.Time
		want      proxmox.UPID
	}{
		{"newest of ours", "qmrestore", 9001, time.Time{}, u},
		{"at that second", "qmrestore", 9001, backupTime, u},
		{"too old", "qmrestore", 9001, backupTime.Add(time.Second), proxmox.UPID{}},
		{"other type", "vzrestore", 9001, time.Time{}, proxmox.UPID{}},
		{"other guest", "qmrestore", 900, time.Time{}, proxmox.UPID{}},
	}
	for _, test := range tests {
		found, ok := proxmox.FindTask(got, test.typ, test.id, testToken, test.since)
		if found.UPID != test.want || ok == test.want.IsZero() {
			t.Errorf("%s: got %v %v, want %v", test.name, found.UPID, ok, test.want)
		}
	}
}

func TestTaskLog(t *testing.T) {
	got, err := pveFor(t, "TaskLog").TaskLog(t.Context(), upidAt(t, backupTime, "qmrestore", "9001", testToken), 0, 0)
	check(t, got, err, []proxmox.LogLine{
		{N: 1, Text: "progress 1% (read 4194304 bytes, zeroes = 0% (0 bytes), duration 0 sec)"}, {N: 2, Text: "TASK OK"},
	})
}

func logLines(texts ...string) []proxmox.LogLine {
	lines := make([]proxmox.LogLine, len(texts))
	for i, s := range texts {
		lines[i] = proxmox.LogLine{N: i + 1, Text: s}
	}
	return lines
}

func TestRestoreProgress(t *testing.T) {
	const gib = int64(1) << 30
	begin := func(disk string) string {
		return "restore proxmox backup image: /usr/bin/pbs-restore --repository u@pbs@h:d vm/100/2026-03-01T02:00:00Z drive-" + disk + ".img.fidx /dev/zvol/rpool/vm-9001-disk-0 --verbose --format raw --skip-zero"
	}
	disks := []proxmox.Disk{{Name: "scsi0", Bytes: 4 * gib, Saved: true}, {Name: "scsi1", Bytes: 12 * gib, Saved: true}, {Name: "scsi2", Bytes: gib}}
	log := []string{
		"new volume ID is 'local-zfs:vm-9001-disk-0'", // before the first disk
		begin("scsi0"),
		"connecting to repository 'u@pbs@h:d'", "using up to 4 threads", "fetching up to 16 chunks in parallel", // since PVE 9.0
		"progress 50% (read 2147483648 bytes, zeroes = 10% (1 bytes), duration 3 sec)",
		"restore image complete (bytes=4294967296, duration=6.00s, speed=682.67MB/s)",
		begin("scsi1"),
		"progress 25% (read 3221225472 bytes, zeroes = 0% (0 bytes), duration 9 sec)",
		"progress 24% (read 3000000000 bytes, zeroes = 0% (0 bytes), duration 9 sec)", // never backwards
		"restore image complete (bytes=12884901888, duration=6.00s, speed=682.67MB/s)",
	}
	total := 16 * gib
	tests := []struct {
		lines int
		want  proxmox.Progress
	}{
		{0, proxmox.Progress{Total: total}},
		{1, proxmox.Progress{Total: total}},
		{2, proxmox.Progress{Known: true, Total: total, Disk: "scsi0"}},
		{5, proxmox.Progress{Known: true, Total: total, Disk: "scsi0"}},
		{6, proxmox.Progress{Known: true, Total: total, Disk: "scsi0", Done: 2 * gib}},
		{7, proxmox.Progress{Known: true, Total: total, Done: 4 * gib, Disks: 1}},
		{8, proxmox.Progress{Known: true, Total: total, Disk: "scsi1", Done: 4 * gib, Disks: 1}},
		{9, proxmox.Progress{Known: true, Total: total, Disk: "scsi1", Done: 7 * gib, Disks: 1}},
		{10, proxmox.Progress{Known: true, Total: total, Disk: "scsi1", Done: 7 * gib, Disks: 1}},
		{11, proxmox.Progress{Known: true, Total: total, Done: total, Disks: 2}},
	}
	for _, test := range tests {
		if got := proxmox.RestoreProgress(logLines(log[:test.lines]...), disks); got != test.want {
			t.Errorf("after %d lines: got %+v, want %+v", test.lines, got, test.want)
		}
	}
	unknown := proxmox.RestoreProgress(logLines(log[:9]...), nil)
	if want := (proxmox.Progress{Known: true, Total: 7 * gib, Disk: "scsi1", Done: 7 * gib, Disks: 1}); unknown != want {
		t.Errorf("sizes unknown: got %+v, want %+v", unknown, want)
	}
	// The older line, without the zeroes.
	old := logLines(begin("efidisk0"), "progress 7% (read 77 bytes, duration 1 sec)")
	if got, want := proxmox.RestoreProgress(old, []proxmox.Disk{{Name: "efidisk0", Bytes: 1000, Saved: true}}), (proxmox.Progress{Known: true, Total: 1000, Disk: "efidisk0", Done: 77}); got != want {
		t.Errorf("old format: got %+v, want %+v", got, want)
	}
	ct := logLines("recovering backed-up configuration from 'pbs:backup/ct/1/T'", "restoring 'pbs:backup/ct/1/T' now..", "merging backed-up and given configuration..", "TASK OK")
	if got, want := proxmox.RestoreProgress(ct, []proxmox.Disk{{Name: "rootfs", Bytes: 5, Saved: true}}), (proxmox.Progress{Total: 5}); got != want {
		t.Errorf("container: got %+v, want %+v", got, want)
	}
}

// TestStartRefused: only where nothing can have run. A start that timed out may have gone on.
func TestStartRefused(t *testing.T) {
	for _, tt := range []struct {
		kind, exit string
		running    bool
		want       bool
	}{
		{"qmstart", "start failed: QEMU exited with code 1", false, true},
		{"vzstart", "startup for container '9001' failed", false, true},
		{"vzstart", "command 'systemctl start pve-container@9001' failed: exit code 1", false, true},
		{"qmstart", "storage 'local-zfs' is not online", false, true},
		{"qmstart", "bridge 'vmbr9' does not exist", false, true},
		{"qmstart", "start failed: command '/usr/bin/kvm -id 1' failed: got timeout", false, false},
		{"qmstart", "start failed: QEMU exited with code 1", true, false},
		{"qmstart", "OK", false, false},
		{"qmstart", "WARNINGS: 1", false, false},
		{"qmstart", "unexpected status", false, false},
		{"qmstart", "VM 9001 already running", false, false},
		{"qmstop", "start failed: QEMU exited with code 1", false, false},
	} {
		task := proxmox.TaskStatus{UPID: proxmox.UPID{Type: tt.kind}, Exit: tt.exit, Running: tt.running}
		if got := task.StartRefused(); got != tt.want {
			t.Errorf("%s %q, running %t: got %t, want %t", tt.kind, tt.exit, tt.running, got, tt.want)
		}
	}
}
