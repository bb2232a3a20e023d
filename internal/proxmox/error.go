package proxmox

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// ErrorKind says what a caller can do about a failure. It is the only part of an error that code may switch on.
type ErrorKind string

// The kinds. Where a text of Proxmox tells more than the status code, the text decides (see Classify).
const (
	Unauthorized    ErrorKind = "unauthorized"     // 401: the token is unknown, disabled or expired; costs 3 s each time
	Forbidden       ErrorKind = "forbidden"        // a privilege is missing: Error.Privilege and PrivPath name it when the server does; "root@pam" = no token may
	NotFound        ErrorKind = "not found"        // the guest, task or snapshot path asked for does not exist (never used for a storage or a node)
	Exists          ErrorKind = "exists"           // the VMID is taken
	Locked          ErrorKind = "locked"           // the guest carries a lock property (create, backup, ...): minutes to for ever
	NoQuorum        ErrorKind = "no quorum"        // the host's own corosync cluster has no majority: a person must act
	Busy            ErrorKind = "busy"             // another call holds a lock file, or a read was cut by the proxy: try again later, nothing was done
	OutcomeUnknown  ErrorKind = "outcome unknown"  // a write may or may not have been done: look before any other try
	StorageFull     ErrorKind = "storage full"     // the target storage took no more data
	StorageUnusable ErrorKind = "storage unusable" // the target storage is absent, disabled, offline or of the wrong content type
	BackupServer    ErrorKind = "backup server"    // PVE answered, but could not use its PBS: down, wrong fingerprint or credentials, no datastore
	BackupBroken    ErrorKind = "backup broken"    // this restore point cannot be restored: try the next older
	KeyMissing      ErrorKind = "key missing"      // the storage entry has no encryption key
	KeyWrong        ErrorKind = "key wrong"        // the storage entry has another key than the backup
	SnapshotGone    ErrorKind = "snapshot gone"    // the restore point was pruned meanwhile
	Protected       ErrorKind = "protected"        // the guest has protection=1
	Running         ErrorKind = "running"          // the guest runs
	NotRunning      ErrorKind = "not running"      // the guest does not run
	NoAgent         ErrorKind = "no guest agent"   // the QEMU guest agent is not configured or does not answer
	NoBridge        ErrorKind = "no bridge"        // the bridge does not exist here or cannot carry the VLAN
	Changed         ErrorKind = "changed"          // the digest does not match: someone changed the config
	Interrupted     ErrorKind = "interrupted"      // the task was stopped or its host crashed
	BadRequest      ErrorKind = "bad request"      // the request is wrong: our mistake or an unfit version; never retry as it is
	BadAnswer       ErrorKind = "bad answer"       // a read was answered by something that is no valid answer of this API
	Unreachable     ErrorKind = "unreachable"      // not sent, or (reads only) not answered
	Other           ErrorKind = "other"            // none of these; the message says all that is known
)

// Error is the one error type of this package's calls. It never holds a secret.
type Error struct {
	Op        string            // verb and object, "restore vm 9001"
	Method    string            // HTTP method, "" when no request was made
	Path      string            // path and query below /api2/json
	Status    int               // HTTP status, 0 without an answer
	Reason    string            // reason phrase of the answer (carries the message before PVE 8.4)
	Message   string            // the server's text, or what is wrong with the answer
	Params    map[string]string // per parameter, what the server has against it (400)
	Kind      ErrorKind
	Privilege string // for Forbidden: "VM.Allocate", alternatives joined by "|", "root@pam", "" when unsaid
	PrivPath  string // for Forbidden: "/vms/100", "" when unsaid
	Err       error  // the cause below HTTP, if any
}

// Error renders "verb object: status message (parameter: complaint; ...)".
func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	if e.Kind == OutcomeUnknown {
		b.WriteString("outcome unknown: ")
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, "%d ", e.Status)
	}
	switch {
	case e.Message != "":
		b.WriteString(e.Message)
	case e.Reason != "":
		b.WriteString(e.Reason)
	case e.Status != 0:
		b.WriteString("without a text")
	default:
		b.WriteString(string(e.Kind))
	}
	if e.Kind == Forbidden && e.PrivPath != "" && !strings.Contains(b.String(), e.PrivPath) {
		fmt.Fprintf(&b, " (%s, %s)", e.PrivPath, e.Privilege) // as PVE writes it where it does
	}
	for i, name := range slices.Sorted(maps.Keys(e.Params)) {
		sep := "; "
		if i == 0 {
			sep = " ("
		}
		b.WriteString(sep + name + ": " + e.Params[name])
	}
	if len(e.Params) > 0 {
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap gives the cause below HTTP (context.DeadlineExceeded, syscall.ECONNREFUSED, ...), so that errors.Is sees it.
func (e *Error) Unwrap() error { return e.Err }

// KindOf gives the kind of err: "" for nil, Other for an error that is not of this package.
func KindOf(err error) ErrorKind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Other
}

// textRule gives kind to a text that contains every one of its parts.
type textRule struct {
	kind  ErrorKind
	parts []string
}

// textRules is read in order. The texts are those of qemu-server, pve-container, pve-storage, pve-cluster, pve-common,
// proxmox-backup-client and proxmox-backup-qemu (reference sheet proxmox.md, sections 1, 3-5 and 7).
var textRules = []textRule{
	{Forbidden, []string{"ermission check failed"}},
	{Forbidden, []string{"nly root can"}},
	{Forbidden, []string{"is only possible for root"}},
	{Forbidden, []string{"only allowed for root@pam"}},
	// Keys come before everything that a failing client command may also say.
	{KeyMissing, []string{"missing key - manifest was created with key"}},
	{KeyMissing, []string{"no encryption key file found"}},
	{KeyWrong, []string{"wrong key - manifest's key"}},
	{KeyWrong, []string{"Unable to decrypt key"}},
	{NoQuorum, []string{"no quorum"}},
	{NoQuorum, []string{"unable to open file '/etc/pve/", "Permission denied"}},
	{SnapshotGone, []string{"snapshot vm/", "does not exist"}},
	{SnapshotGone, []string{"snapshot ct/", "does not exist"}},
	{Protected, []string{"protection mode enabled"}},
	{Locked, []string{" is locked ("}},
	{Busy, []string{"can't lock file"}},
	{Busy, []string{"got lock request timeout"}},
	{NoAgent, []string{"guest agent is not running"}},
	{NoAgent, []string{"No QEMU guest agent configured"}},
	{Exists, []string{"rename) atomic file", "File exists"}},
	{Exists, []string{"already defined"}},
	{StorageFull, []string{"No space left on device"}},
	{StorageFull, []string{"out of space"}},
	{StorageFull, []string{"not enough free space"}},
	{StorageFull, []string{"nsufficient free space"}},
	{StorageFull, []string{"Disk quota exceeded"}},
	// A thin pool that is full fails the write with EIO, a full file system with ENOSPC; both arrive as this.
	{StorageFull, []string{"write_data_callback failed"}},
	{BackupServer, []string{"error fetching datastores"}},
	{BackupServer, []string{"error listing snapshots"}},
	{BackupServer, []string{"Cannot find datastore"}},
	{BackupServer, []string{"not verified, abort!"}},
	{BackupServer, []string{"error trying to connect"}},
	{StorageUnusable, []string{"No such storage"}},
	{StorageUnusable, []string{"storage '", "does not exist"}},
	{StorageUnusable, []string{"storage '", "is disabled"}},
	{StorageUnusable, []string{"storage '", "is not online"}},
	{StorageUnusable, []string{"Content type '", "is not available on storage"}},
	{StorageUnusable, []string{"does not support container directories"}},
	{BackupBroken, []string{"got no size for '"}},
	{BackupBroken, []string{"archive does not contain data for drive"}},
	{BackupBroken, []string{"backup does not look like a qemu-server backup"}},
	{BackupBroken, []string{"got unexpected backup format"}},
	{BackupBroken, []string{"unable to read fixed index"}},
	// A chunk that is gone (proxmox-backup api2/reader, download_chunk) or bad (pbs-datastore data_blob.rs, chunk_store.rs).
	{BackupBroken, []string{"reading file", "failed:", ".chunks/"}},
	{BackupBroken, []string{"restore failed: reading file"}},
	{BackupBroken, []string{"Data blob has wrong CRC checksum"}},
	{BackupBroken, []string{"detected chunk with wrong digest"}},
	{BackupBroken, []string{"unable to read dynamic index"}},
	{BackupBroken, []string{"rootfs configuration could not be recovered"}},
	{BackupBroken, []string{"unable to detect disk size"}},
	{NoBridge, []string{"bridge '", "does not exist"}},
	{NoBridge, []string{"no physical interface on bridge"}},
	{NotFound, []string{"onfiguration file '", "does not exist"}},
	{NotFound, []string{"no such task"}},
	{Changed, []string{"checksum mismatch"}},
	{Interrupted, []string{"interrupted by signal"}},
	{Interrupted, []string{"received interrupt"}},
	{Interrupted, []string{"unexpected status"}},
	{BadRequest, []string{"hostname lookup '", "failed"}},
	{Busy, []string{"got timeout"}},
}

var (
	existsText     = regexp.MustCompile(`\b(VM|CT) \d+ already exists`)
	runningText    = regexp.MustCompile(`(VM|CT) \d+ (already running|is running)|\bvm is running|container is running|overwrite running container`)
	notRunningText = regexp.MustCompile(`(VM|CT) \d+ (is )?not running`)
	privilegeText  = regexp.MustCompile(`ermission check failed \((/[^,()]*),\s*([A-Za-z.]+(?:\s*\|\s*[A-Za-z.]+)*)`)
	rootOnlyText   = regexp.MustCompile(`root@pam|nly root can|only possible for root`)
	poolText       = regexp.MustCompile(`\(pool '([^']+)' does not exist\)`)
)

// Classify gives the kind that a text of Proxmox (message of an error, exit status of a task, line of its log) stands
// for, Other when the text is not known.
func Classify(text string) ErrorKind {
	switch {
	case existsText.MatchString(text):
		return Exists
	case notRunningText.MatchString(text):
		return NotRunning
	case runningText.MatchString(text):
		return Running
	}
	for _, r := range textRules {
		if !slices.ContainsFunc(r.parts, func(p string) bool { return !strings.Contains(text, p) }) {
			return r.kind
		}
	}
	return Other
}

// privilege reads the missing privilege and its path out of a 403 text: "Permission check failed (/vms/100, VM.Allocate)".
// Both are empty when the text does not say (PVE answers the bare text when VM.Allocate is missing on ID and pool).
func privilege(text string) (priv, path string) {
	if m := privilegeText.FindStringSubmatch(text); m != nil {
		return strings.ReplaceAll(m[2], " ", ""), m[1]
	}
	if rootOnlyText.MatchString(text) {
		return "root@pam", ""
	}
	if m := poolText.FindStringSubmatch(text); m != nil {
		return "", "/pool/" + m[1]
	}
	return "", ""
}

// statusKind gives the kind of an answer with a status that is no success. text is the server's message with the
// complaints about parameters; write says that a second request may do a second thing.
func statusKind(c call, status int, text string, params map[string]string) ErrorKind {
	switch {
	case status == 401:
		return Unauthorized
	case status == 403:
		return Forbidden
	case status >= 502:
		// 595-599 are pveproxy's own: it gave up on the process that may go on with the request. 502-504 are those of
		// any other proxy in between. 501 and 500 come from the process itself, which has then done nothing.
		return noAnswerKind(c, status)
	case status < 400:
		return BadAnswer
	}
	if k := Classify(text); k != Other {
		return k
	}
	switch status {
	case 404:
		return NotFound
	case 408, 429:
		return Busy
	case 400:
		// PBS answers 400 for nearly everything, so a bare 400 says little.
		if len(params) > 0 || text == "" || strings.Contains(strings.ToLower(text), "parameter verification") {
			return BadRequest
		}
	case 405, 411, 413, 414, 415, 422, 501:
		return BadRequest
	}
	return Other
}

func noAnswerKind(c call, status int) ErrorKind {
	switch {
	case c.write:
		return OutcomeUnknown
	case status == 595 || status == 502 || status == 503:
		return Unreachable
	}
	return Busy
}

// newTextError makes the error of a failed task out of its exit status and, where that only names a command that
// failed, of the lines of its log.
func newTextError(op, exit string, tail []LogLine) *Error {
	e := &Error{Op: op, Message: exit, Kind: Classify(exit)}
	text := exit
	if e.Kind == Other {
		for _, l := range slices.Backward(tail) {
			if k := Classify(l.Text); k != Other {
				e.Kind, text = k, l.Text
				// The cause first: commands are long, and notes are cut at their end.
				e.Message = clip(l.Text, maxMessage) + " (" + exit + ")"
				break
			}
		}
	}
	if e.Kind == Forbidden {
		e.Privilege, e.PrivPath = privilege(text)
	}
	return e
}

// requestError reports a request that was refused before it was sent.
func requestError(op, format string, args ...any) *Error {
	return &Error{Op: op, Kind: BadRequest, Message: fmt.Sprintf(format, args...)}
}
