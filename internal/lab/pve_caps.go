package lab

import (
	"strings"
)

func capRoutes() []route[*PVE] {
	return []route[*PVE]{
		newRoute("GET", "/nodes/{node}/capabilities/qemu/machines", "#unprotected arch:string=x86_64|aarch64", (*PVE).machines),
		newRoute("GET", "/nodes/{node}/capabilities/qemu/cpu", "#unprotected arch:string=x86_64|aarch64", (*PVE).cpuModels),
	}
}

// hostFlags are the flags of the fake's processor: those of x86-64-v3 and no more.
const hostFlags = "fpu sse sse2 cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3 aes avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"

// machines lists what QEMU can run, newest first: of the versions around the one of the release.
func (p *PVE) machines(*call) (any, error) {
	versions := []string{"10.1+pve1", "10.1", "10.0+pve1", "10.0", "9.2+pve1", "9.2", "9.0", "8.1", "6.2", "5.1"}
	if p.major() < 9 {
		versions = versions[4:]
	}
	rows := []map[string]any{}
	for _, kind := range []string{"i440fx", "q35"} {
		for _, v := range versions {
			row := map[string]any{"id": "pc-" + kind + "-" + v, "type": kind, "version": v}
			if strings.Contains(v, "+pve") {
				row["changes"] = "revision of Proxmox"
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// cpuModels lists what a VM can be given. Custom models, which the lab does not have, would be shown to
// those only who may audit all nodes.
func (p *PVE) cpuModels(*call) (any, error) {
	rows := []map[string]any{}
	add := func(vendor string, names ...string) {
		for _, name := range names {
			rows = append(rows, map[string]any{"name": name, "vendor": vendor, "custom": 0})
		}
	}
	add("default", "x86-64-v2", "x86-64-v2-AES", "x86-64-v3", "x86-64-v4", "kvm64", "qemu64", "host", "max")
	add("GenuineIntel", "Broadwell", "Haswell", "Skylake-Server")
	add("AuthenticAMD", "EPYC", "EPYC-Milan", "Opteron_G5")
	return rows, nil
}

// seesBridge says whether the list of bridges shows one to a token: with a right on the bridge or on any
// of its VLANs. [pve-access-control RPCEnvironment.pm check_sdn_bridge]
func (p *PVE) seesBridge(token, name string) bool {
	bridge := "/sdn/zones/localnetwork/" + name
	sees := func(path string) bool {
		return p.allowed(token, path, "SDN.Audit") || p.allowed(token, path, "SDN.Use")
	}
	if sees(bridge) {
		return true
	}
	for path := range p.cfg.ACL[token] {
		if strings.HasPrefix(path, bridge+"/") && sees(path) {
			return true
		}
	}
	return false
}
