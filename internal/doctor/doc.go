// Package doctor says, before a disaster, what would go wrong in it: each check
// is a pure function of the replicated State and of what the agent of one site
// read of its own machines (Facts), and gives findings with a stable code and
// the next command to type.
//
// The checks that need State only speak for every site; the others speak for
// the site whose agent read the facts, since an agent calls only the Proxmox of
// its own site.
package doctor
