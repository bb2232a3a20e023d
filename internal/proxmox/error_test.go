package proxmox_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/raoull/worldwidewelsh/internal/proxmox"
	"github.com/raoull/worldwidewelsh/internal/proxmox/proxmoxtest"
)

type kindTest struct {
	status        int
	text          string // of message; for 400 "PARAMETER=complaint"
	want          proxmox.ErrorKind
	priv, privFor string
}

// apiTexts are the texts of PVE's API as such: the reference sheet's error table (section 1).
func apiTexts() []kindTest {
	return []kindTest{
		{status: 400, text: "vmid=property is missing and it is not optional", want: proxmox.BadRequest},
		{status: 400, text: "x=property is not defined in schema and the schema does not allow additional properties", want: proxmox.BadRequest},
		{status: 400, text: "scsi0=option conflicts with option 'archive'", want: proxmox.BadRequest},
		{status: 400, text: "storage=No such storage.", want: proxmox.StorageUnusable},
		{status: 400, text: "vmid=VM 100 already exists", want: proxmox.Exists},
		{status: 400, text: "force=missing property required by 'force'", want: proxmox.BadRequest},
		{status: 400, text: "upid=no such task", want: proxmox.NotFound},
		{status: 400, text: "upid=unable to parse worker upid", want: proxmox.BadRequest},
		{status: 400, text: "delete=unknown option 'x'", want: proxmox.BadRequest},
		{status: 400, text: "start=type check ('boolean') failed - got '7'", want: proxmox.BadRequest},
		{status: 400, text: "net0=invalid format - x", want: proxmox.BadRequest},
		{status: 400, text: "storage=storage 'X' does not support container directories", want: proxmox.StorageUnusable},
		{status: 401, want: proxmox.Unauthorized},
		{status: 403, text: "Permission check failed (/vms/100, VM.Allocate)", want: proxmox.Forbidden, priv: "VM.Allocate", privFor: "/vms/100"},
		{status: 403, text: "Permission check failed (/vms/100, VM.Config.Network|VM.Config.Cloudinit)", want: proxmox.Forbidden, priv: "VM.Config.Network|VM.Config.Cloudinit", privFor: "/vms/100"},
		{status: 403, text: "Permission check failed (/, Sys.Modify for modifying tag 'z')", want: proxmox.Forbidden, priv: "Sys.Modify", privFor: "/"},
		{status: 403, text: "Permission check failed (user != root@pam)", want: proxmox.Forbidden, priv: "root@pam"},
		{status: 403, text: "Permission check failed (changing feature flags (except nesting) is only allowed for root@pam)", want: proxmox.Forbidden, priv: "root@pam"},
		{status: 403, text: "Permission check failed (pool 'x' does not exist)", want: proxmox.Forbidden, privFor: "/pool/x"},
		{status: 403, text: "Permission check failed", want: proxmox.Forbidden},
		{status: 403, text: "Permission check failed (URI '/x' not available with API token, need proper ticket.)", want: proxmox.Forbidden},
		{status: 500, text: "Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist", want: proxmox.NotFound},
		{status: 500, text: "hostname lookup 'N' failed - failed to get address info for: N: Name or service not known", want: proxmox.BadRequest},
		{status: 501, text: "Method 'GET /x' not implemented", want: proxmox.BadRequest},
		{status: 500, text: "only root can set 'lock' config", want: proxmox.Forbidden, priv: "root@pam"},
		{status: 500, text: "Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm", want: proxmox.Forbidden, priv: "root@pam"},
		{status: 595, want: proxmox.Unreachable},
		{status: 596, want: proxmox.Busy},
		{status: 599, want: proxmox.Busy},
	}
}

// restoreTexts are the texts seen around restores: the reference sheet's sections 3 to 5 and 7.
func restoreTexts() []kindTest {
	return []kindTest{
		{status: 500, text: "cluster not ready - no quorum?", want: proxmox.NoQuorum},
		{status: 500, text: "unable to open file '/etc/pve/nodes/pve1/qemu-server/100.conf.tmp.17' - Permission denied", want: proxmox.NoQuorum},
		{status: 500, text: "unable to restore VM 100 - VM 100 already exists on node 'pve1'", want: proxmox.Exists},
		{status: 500, text: "CT 100 already exists on node 'pve1'", want: proxmox.Exists},
		{status: 500, text: "unable to restore VM 100 - close (rename) atomic file '/etc/pve/x.conf' failed: File exists", want: proxmox.Exists},
		{status: 500, text: "unable to restore VM 100 - VM is locked (create)", want: proxmox.Locked},
		{status: 500, text: "unable to restore CT 100 - CT is locked (create)", want: proxmox.Locked},
		{status: 500, text: "unable to restore VM 100 - can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout", want: proxmox.Busy},
		{status: 500, text: "can't lock file '/run/lock/lxc/pve-config-100.lock' - got timeout", want: proxmox.Busy},
		{status: 500, text: "unable to restore VM 100 - - protection mode enabled", want: proxmox.Protected},
		{status: 500, text: "can't remove VM 100 - protection mode enabled", want: proxmox.Protected},
		{status: 500, text: "unable to restore VM 100 - vm is running", want: proxmox.Running},
		{status: 500, text: "can't overwrite running container", want: proxmox.Running},
		{status: 500, text: "VM 100 is running - destroy failed", want: proxmox.Running},
		{status: 500, text: "unable to destroy CT 100 - container is running", want: proxmox.Running},
		{status: 500, text: "VM 100 already running", want: proxmox.Running},
		{status: 500, text: "CT 100 already running", want: proxmox.Running},
		{status: 500, text: "CT 100 not running", want: proxmox.NotRunning},
		{status: 500, text: "VM 100 is not running", want: proxmox.NotRunning},
		{status: 500, text: "No QEMU guest agent configured", want: proxmox.NoAgent},
		{status: 500, text: "QEMU guest agent is not running", want: proxmox.NoAgent},
		{status: 500, text: "cfs-lock 'storage-S' error: got lock request timeout", want: proxmox.Busy},
		{status: 500, text: "cfs-lock 'storage-S' error: no quorum!", want: proxmox.NoQuorum},
		{status: 500, text: "proxmox-backup-client failed: Error: missing key - manifest was created with key aa:bb:cc", want: proxmox.KeyMissing},
		{status: 500, text: "encryption configured ('aa:bb') but no encryption key file found!", want: proxmox.KeyMissing},
		{status: 500, text: "Error: wrong key - manifest's key aa does not match provided key bb", want: proxmox.KeyWrong},
		{status: 500, text: "error listing snapshots - 400 Bad Request", want: proxmox.BackupServer},
		{status: 500, text: "S: error fetching datastores - 500 Can't connect to 10.0.0.1:8007 (Connection refused)", want: proxmox.BackupServer},
		{status: 500, text: "S: error fetching datastores - 401 Unauthorized", want: proxmox.BackupServer},
		{status: 500, text: "S: error fetching datastores - 500 read timeout", want: proxmox.BackupServer},
		{status: 500, text: "fingerprint '91:aa' not verified, abort!", want: proxmox.BackupServer},
		{status: 500, text: "S: Cannot find datastore 'D', check permissions and existence!", want: proxmox.BackupServer},
		{status: 500, text: "Error: snapshot vm/100/2024-01-01T00:00:00Z does not exist.", want: proxmox.SnapshotGone},
		{status: 500, text: "storage 'X' does not exist", want: proxmox.StorageUnusable},
		{status: 500, text: "storage 'X' is disabled", want: proxmox.StorageUnusable},
		{status: 500, text: "Content type 'images' is not available on storage 'X'", want: proxmox.StorageUnusable},
		{status: 500, text: "storage 'X' is not online", want: proxmox.StorageUnusable},
		{status: 500, text: "unable to restore VM 100 - got no size for 'scsi0'", want: proxmox.BackupBroken},
		{status: 500, text: "archive does not contain data for drive 'scsi0'", want: proxmox.BackupBroken},
		{status: 500, text: "backup does not look like a qemu-server backup (missing 'qemu-server.conf' file)", want: proxmox.BackupBroken},
		{status: 500, text: "unable to restore VM 100 - got unexpected backup format 'pbs-ct'", want: proxmox.BackupBroken},
		{status: 500, text: "restore failed: unable to read fixed index 'drive-scsi0.img.fidx' - x", want: proxmox.BackupBroken},
		{status: 500, text: `restore failed: reading file "/srv/backups/.chunks/0a1b/0a1b" failed: No such file or directory (os error 2)`, want: proxmox.BackupBroken},
		{status: 500, text: `Error: reading file "/srv/backups/.chunks/0a1b/0a1b" failed: Input/output error (os error 5)`, want: proxmox.BackupBroken},
		{status: 500, text: "restore failed: reading file failed: No such file or directory (os error 2)", want: proxmox.BackupBroken},
		{status: 500, text: "Error: unable to read dynamic index 'root.pxar.didx' - x", want: proxmox.BackupBroken},
		{status: 500, text: "rootfs configuration could not be recovered, please check and specify manually!", want: proxmox.BackupBroken},
		{status: 500, text: "unable to restore CT 101 - unable to detect disk size - please specify mp0 (size)", want: proxmox.BackupBroken},
		{status: 500, text: "restore failed: Data blob has wrong CRC checksum.", want: proxmox.BackupBroken},
		{status: 500, text: "Error: error extracting archive - detected chunk with wrong digest.", want: proxmox.BackupBroken},
		{status: 500, text: "restore failed: write_data_callback failed (-28)", want: proxmox.StorageFull},
		{status: 500, text: "write failed: No space left on device", want: proxmox.StorageFull},
		{status: 500, text: "unable to restore CT 101 - 403 Permission check failed (/, Sys.Modify)", want: proxmox.Forbidden, priv: "Sys.Modify", privFor: "/"},
		{status: 500, text: "unable to restore CT 101 - restoring 'mp0' to bind mount is only possible for root", want: proxmox.Forbidden, priv: "root@pam"},
		{status: 500, text: "bridge 'vmbr9' does not exist", want: proxmox.NoBridge},
		{status: 500, text: "no physical interface on bridge 'vmbr9'", want: proxmox.NoBridge},
		{status: 500, text: "start failed: command 'kvm' failed: got timeout", want: proxmox.Busy},
		{status: 500, text: "checksum mismatch (file change by other user?)", want: proxmox.Changed},
		{status: 500, text: "command 'x' failed: interrupted by signal", want: proxmox.Interrupted},
		{status: 500, text: "command 'x' failed: received interrupt", want: proxmox.Interrupted},
		{status: 500, text: "unexpected status", want: proxmox.Interrupted},
		{status: 500, text: "unable to restore CT 101 - configuring device passthrough is only allowed for root@pam", want: proxmox.Forbidden, priv: "root@pam"},
		{status: 500, text: "Unable to decrypt key (wrong password?)", want: proxmox.KeyWrong},
		{status: 500, text: "Error: snapshot ct/101/2024-01-01T00:00:00Z does not exist.", want: proxmox.SnapshotGone},
		{status: 500, text: "can't lock file '/var/lock/qemu-server/lock-100.conf' - x", want: proxmox.Busy},
		{status: 500, text: "storage ID 'S' already defined", want: proxmox.Exists},
		{status: 500, text: "cannot create 'rpool/data/vm-100-disk-0': out of space", want: proxmox.StorageFull},
		{status: 500, text: "lvcreate 'pve/vm-100-disk-0' error: not enough free space in pool", want: proxmox.StorageFull},
		{status: 500, text: "lvcreate error: Volume group \"pve\" has insufficient free space (12 extents): 25 required.", want: proxmox.StorageFull},
		{status: 500, text: "write failed: Disk quota exceeded", want: proxmox.StorageFull},
		{status: 500, text: "Error: error trying to connect: tcp connect error: Connection refused (os error 111)", want: proxmox.BackupServer},
		{status: 500, text: "start failed: QEMU exited with code 1", want: proxmox.Other},
	}
}

func TestStatusAndTextGiveKind(t *testing.T) {
	for _, test := range slices.Concat(apiTexts(), restoreTexts()) {
		t.Run(fmt.Sprintf("%d %s", test.status, test.text), func(t *testing.T) {
			_, err := pveAnswering(t, test.status, errorBody(test.status, test.text)).Version(t.Context())
			e, ok := errors.AsType[*proxmox.Error](err)
			if !ok {
				t.Fatalf("got %v, want a *proxmox.Error", err)
			}
			if e.Status != test.status || e.Kind != test.want || e.Privilege != test.priv || e.PrivPath != test.privFor {
				t.Errorf("got %d %q privilege %q on %q, want %d %q privilege %q on %q",
					e.Status, e.Kind, e.Privilege, e.PrivPath, test.status, test.want, test.priv, test.privFor)
			}
		})
	}
}

// TestForbiddenNamesWhatIsMissing: the bare text of a missing VM.Allocate names
// neither privilege nor path, and a person needs both.
func TestForbiddenNamesWhatIsMissing(t *testing.T) {
	for text, want := range map[string]string{
		"Permission check failed": "restore vm 9001: 403 Permission check failed (/vms/9001, VM.Allocate)",
		"Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)":   "restore vm 9001: 403 Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)",
		"Permission check failed (/storage/x, Datastore.AllocateSpace|Perm)": "restore vm 9001: 403 Permission check failed (/storage/x, Datastore.AllocateSpace|Perm)",
	} {
		_, err := pveAnswering(t, 403, errorBody(403, text)).Restore(t.Context(), proxmox.RestoreRequest{
			Kind: proxmox.VM, VMID: 9001, Volid: "pbs:backup/vm/100/2024-01-01T00:00:00Z", Storage: "local-zfs",
		})
		if err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func errorBody(status int, text string) string {
	if text == "" {
		return ""
	}
	if status == 501 {
		return text
	}
	if status == 400 {
		name, complaint, _ := strings.Cut(text, "=")
		return fmt.Sprintf(`{"data":null,"errors":{%q:%q},"message":"Parameter verification failed.\n"}`, name, complaint)
	}
	return fmt.Sprintf(`{"data":null,"message":%q}`, text+"\n")
}

// TestReasonPhraseCounts is for PVE before 8.4, whose bodies have no message.
func TestReasonPhraseCounts(t *testing.T) {
	pve, _ := clients(t, proxmoxtest.Func(func(r *http.Request) (*http.Response, error) {
		body := io.NopCloser(strings.NewReader(`{"data":null}`))
		return &http.Response{StatusCode: 500, Status: "500 VM is locked (backup)", Body: body, Request: r}, nil
	}))
	_, err := pve.GuestStatus(t.Context(), proxmox.VM, 100)
	if got := proxmox.KindOf(err); got != proxmox.Locked {
		t.Errorf("got kind %q: %v", got, err)
	}
}

func TestErrorText(t *testing.T) {
	_, err := pveAnswering(t, 400, `{"data":null,"errors":{"vmid":"bad","archive":"worse"},"message":"Parameter verification failed.\n"}`).
		Restore(t.Context(), proxmoxtest.RestoreVM())
	want := "restore vm 9001: 400 Parameter verification failed. (archive: worse; vmid: bad)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = pveAnswering(t, 596, "").Restore(t.Context(), proxmoxtest.RestoreVM())
	want = "restore vm 9001: outcome unknown: 596 without a text"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestBareForbiddenOfRestoreNamesVMAllocate(t *testing.T) {
	_, err := pveAnswering(t, 403, `{"data":null,"message":"Permission check failed\n"}`).Restore(t.Context(), proxmoxtest.RestoreVM())
	e, ok := errors.AsType[*proxmox.Error](err)
	if !ok || e.Privilege != "VM.Allocate" || e.PrivPath != "/vms/9001" {
		t.Errorf("got %#v, want VM.Allocate on /vms/9001", err)
	}
}

func TestKindOf(t *testing.T) {
	if got := proxmox.KindOf(nil); got != "" {
		t.Errorf("KindOf(nil) = %q, want none", got)
	}
	if got := proxmox.KindOf(errors.New("x")); got != proxmox.Other {
		t.Errorf("KindOf(foreign) = %q, want other", got)
	}
	if got := proxmox.KindOf(fmt.Errorf("step: %w", &proxmox.Error{Kind: proxmox.Busy})); got != proxmox.Busy {
		t.Errorf("KindOf(wrapped) = %q, want busy", got)
	}
}
