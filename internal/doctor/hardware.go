package doctor

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// judged says whether an obstacle is one that machine and processor judge
// exactly, from what this host has: then its general warning says nothing more.
func (h here) judged(o Obstacle) bool {
	return o.What == HostBound && o.Key == "machine" && h.Facts.Hardware.Machines != nil
}

var machineText = regexp.MustCompile(`^pc-(i440fx|q35)-(\d+)\.(\d+)(?:\.\d+)?(?:\+pve(\d+))?$`)

// version is that of a machine type: major.minor, and Proxmox's own revision of it.
type version struct{ major, minor, pve int }

func (a version) compare(b version) int {
	return cmp.Or(cmp.Compare(a.major, b.major), cmp.Compare(a.minor, b.minor), cmp.Compare(a.pve, b.pve))
}

func parseMachine(s string) (kind string, v version, ok bool) {
	m := machineText.FindStringSubmatch(s)
	if m == nil {
		return "", version{}, false
	}
	n := func(i int) int { n, _ := strconv.Atoi(m[i]); return n } // digits, or nothing
	return m[1], version{n(2), n(3), n(4)}, true
}

// machine checks that this host can run the machine type that a VM is pinned
// to. A start is refused when QEMU, or qemu-server's revision of it, is older;
// versions that QEMU has dropped are not in its list any more.
// [qemu-server src/PVE/QemuServer.pm config_to_command]
func (h here) machine(r *result, a Archive) {
	name, _, _ := strings.Cut(strings.TrimPrefix(a.Machine, "type="), ",")
	kind, want, pinned := parseMachine(name)
	if !pinned || h.Facts.Hardware.Machines == nil {
		return
	}
	var all []version
	for _, m := range h.Facts.Hardware.Machines {
		if k, v, ok := parseMachine(m); ok && k == kind {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return // nothing to hold it against
	}
	r.checked++
	newest := slices.MaxFunc(all, version.compare)
	// Revisions of one version: the host runs all up to its newest of it.
	same := slices.ContainsFunc(all, func(v version) bool {
		return v.major == want.major && v.minor == want.minor && v.pve >= want.pve
	})
	known := slices.ContainsFunc(all, func(v version) bool { return v.major == want.major && v.minor == want.minor })
	switch {
	case same:
	case known, want.compare(newest) > 0:
		r.add(found(Restore, CodeMachineNew, h.Local.Site, subject(a.Guest, a.Line), "machine", name, "newest", newest.String(), "kind", kind))
	default:
		r.add(found(Restore, CodeMachineOld, h.Local.Site, subject(a.Guest, a.Line), "machine", name, "kind", kind))
	}
}

// String gives "10.1" or "10.1+pve1".
func (a version) String() string {
	s := strconv.Itoa(a.major) + "." + strconv.Itoa(a.minor)
	if a.pve > 0 {
		s += "+pve" + strconv.Itoa(a.pve)
	}
	return s
}

// levelFlags are the processor flags, as /proc/cpuinfo names them, that each
// level of PVE's abstract models asks for beyond the one before.
// [qemu-server src/PVE/QemuServer/CPUConfig.pm builtin models; x86-64 psABI]
var levelFlags = []struct {
	model string
	flags []string
}{
	{"x86-64-v2", []string{"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}},
	{"x86-64-v2-AES", []string{"aes"}},
	{"x86-64-v3", []string{"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}},
	{"x86-64-v4", []string{"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}},
}

// needs lists the flags that an abstract model asks for; nil for any other.
func needs(model string) []string {
	var out []string
	for _, l := range levelFlags {
		out = append(out, l.flags...)
		if l.model == model {
			return out
		}
	}
	return nil
}

// processor checks that this host knows the processor type of a VM and has what
// it asks for: PVE starts QEMU with "enforce", which refuses what is lacking.
func (h here) processor(r *result, a Archive) {
	hw := h.Facts.Hardware
	model, _, _ := strings.Cut(strings.TrimPrefix(a.CPU, "cputype="), ",")
	if model == "" || model == "host" || model == "max" || hw.Models == nil {
		return
	}
	r.checked++
	tell := func(code string, pairs ...string) {
		r.add(found(Restore, code, h.Local.Site, subject(a.Guest, a.Line), append(pairs, "model", model, "cpu", hw.CPU)...))
	}
	vendor, known := hw.Models[model]
	lacking := slices.DeleteFunc(needs(model), func(f string) bool { return slices.Contains(hw.Flags, f) })
	switch {
	case !known && strings.HasPrefix(model, "custom-"):
		tell(CodeModelHidden)
	case !known:
		tell(CodeModelUnknown)
	case hw.Flags != nil && len(lacking) > 0:
		tell(CodeFlagsLacking, "flags", strings.Join(lacking, ", "))
	case otherVendor(vendor, hw.CPU):
		tell(CodeOtherVendor, "vendor", vendor)
	}
}

// otherVendor says whether a model is of one of the two great vendors and the
// host's processor of the other.
func otherVendor(vendor, cpu string) bool {
	return vendor == "GenuineIntel" && strings.Contains(cpu, "AMD") || vendor == "AuthenticAMD" && strings.Contains(cpu, "Intel")
}
