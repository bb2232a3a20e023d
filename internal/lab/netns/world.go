package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// World is the networks of a lab's sites. Close removes them.
type World struct {
	lab    *site.Lab
	prefix string   // of every namespace
	made   []string // namespaces, in the order of their making
}

// namePrefix begins the name of every namespace that this package makes; the id of the
// process that made it follows.
const namePrefix = "wwwlab-"

// interfacePrefix begins the name of every WireGuard interface; the same follows.
const interfacePrefix = "ww"

// commandLimit bounds one call of ip, nft or wg.
const commandLimit = 30 * time.Second

// NewWorld makes the namespaces of a routed lab and joins them; the mesh has no tunnels
// yet. serial tells the worlds of one process apart. Namespaces whose process has died
// without removing them are removed first.
func NewWorld(ctx context.Context, l *site.Lab, serial int) (*World, error) {
	if !l.Routed {
		return nil, errors.New("make network: the lab is one on loopback")
	}
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	w := &World{lab: l, prefix: fmt.Sprintf("%s%d-%d-", namePrefix, os.Getpid(), serial)}
	err := w.build(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make network: %w", err), w.Close(context.WithoutCancel(ctx)))
	}
	return w, nil
}

func (w *World) internet() string          { return w.prefix + "internet" }
func (w *World) site(name string) string   { return w.prefix + name }
func (w *World) router(name string) string { return w.prefix + "rt-" + name }
func (w *World) wireguard(i int) string    { return fmt.Sprintf("%s%sx%d", interfacePrefix, w.short(), i) }
func (w *World) index(name string) int     { return slices.Index(w.lab.Names(), name) }
func (w *World) known(name string) error   { _, err := w.lab.Index(name); return err }
func octet(i int) int                      { return i + 1 } // of site i, in every address of it
func wan(i int) (internet, router string) {
	return fmt.Sprintf("100.64.%d.1", octet(i)), fmt.Sprintf("100.64.%d.2", octet(i))
}

func lan(i int) (router, site string) {
	return fmt.Sprintf("192.168.%d.1", octet(i)), fmt.Sprintf("192.168.%d.2", octet(i))
}

// short is what tells this world's interfaces from those of others: wireguard-go keeps
// the control sockets of all namespaces in one directory, by the interface's name, and
// a name has 15 characters at most.
func (w *World) short() string {
	return strings.ReplaceAll(strings.Trim(strings.TrimPrefix(w.prefix, namePrefix), "-"), "-", "s")
}

func (w *World) build(ctx context.Context) error {
	if err := w.add(ctx, w.internet()); err != nil {
		return err
	}
	for i := range w.lab.Sites {
		if err := w.buildSite(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// add makes a namespace that forwards, with its own loopback.
func (w *World) add(ctx context.Context, namespace string) error {
	if err := run(ctx, "", "ip", "netns", "add", namespace); err != nil {
		return err
	}
	w.made = append(w.made, namespace)
	if err := setSysctl(namespace, "ipv4/ip_forward", "1"); err != nil {
		return err
	}
	return batch(ctx, namespace, "link set lo up")
}

// buildSite makes a site's network and its router, and joins them to the internet.
func (w *World) buildSite(ctx context.Context, i int) error {
	name, p, line := w.lab.Sites[i].Name, w.lab.Plan(), fmt.Sprintf("s%d", octet(i))
	here, gate := w.site(name), w.router(name)
	if err := errors.Join(w.add(ctx, here), w.add(ctx, gate)); err != nil {
		return err
	}
	// Everybody may ping: wwwd must not need root (icmp(7)).
	if err := setSysctl(here, "ipv4/ping_group_range", "0 2147483647"); err != nil {
		return err
	}
	outer, inner := wan(i)
	gateway, eth0 := lan(i)
	if err := batch(ctx, w.internet(),
		"link add "+line+" type veth peer name wan netns "+gate,
		"addr add "+outer+"/30 dev "+line, "link set "+line+" up"); err != nil {
		return err
	}
	if err := batch(ctx, gate,
		"link add lan type veth peer name eth0 netns "+here,
		"addr add "+inner+"/30 dev wan", "addr add "+gateway+"/24 dev lan", fmt.Sprintf("addr add %s/32 dev lo", p.Router(i)),
		"link set wan up", "link set lan up", "route add default via "+outer); err != nil {
		return err
	}
	lines := []string{"addr add " + eth0 + "/24 dev eth0", "link set eth0 up"}
	for _, a := range w.addresses(i) {
		lines = append(lines, "addr add "+a+"/32 dev lo")
	}
	lines = append(lines,
		fmt.Sprintf("route add default via %s src %s", gateway, p.Public(i)),
		fmt.Sprintf("route add %s/32 via %s", p.Router(i), gateway))
	if err := batch(ctx, here, lines...); err != nil {
		return err
	}
	if err := batch(ctx, gate, fmt.Sprintf("route add %s/32 via %s", p.Public(i), eth0), "route add 10.77.0.0/16 via "+eth0); err != nil {
		return err
	}
	return batch(ctx, w.internet(), fmt.Sprintf("route add %s/32 via %s", p.Public(i), inner))
}

// addresses returns those of a site's machines and guests, all on its loopback
// interface: one process plays them all. Every site has those of all guests, each in
// a VLAN that exists everywhere and is empty where the guest does not run.
func (w *World) addresses(i int) []string {
	p := w.lab.Plan()
	out := []string{p.Public(i).String(), p.Management(i).String()}
	for _, h := range w.lab.Hosts(i) {
		out = append(out, p.Host(i, h.Index).String())
	}
	for _, g := range w.lab.Guests {
		out = append(out, p.Guest(i, w.lab.VLAN(g.Structure), g.Number).String())
	}
	return out
}

// Close removes the namespaces. What still runs in them loses its network.
func (w *World) Close(ctx context.Context) error {
	var errs []error
	for _, namespace := range slices.Backward(w.made) {
		errs = append(errs, run(ctx, "", "ip", "netns", "delete", namespace))
	}
	w.made = nil
	return errors.Join(errs...)
}

// sweep removes what processes that are gone have left: namespaces, and the control
// sockets of their WireGuards.
func sweep(ctx context.Context) error {
	sockets, err := filepath.Glob(filepath.Join(controlDir, interfacePrefix+"*.sock"))
	if err != nil {
		return fmt.Errorf("look for control sockets: %w", err)
	}
	var errs []error
	for _, socket := range sockets {
		first, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(socket), interfacePrefix), "s")
		if gone(first) {
			errs = append(errs, os.Remove(socket))
		}
	}
	entries, err := os.ReadDir(namedAt)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("look for namespaces: %w", err))
	}
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), namePrefix)
		if first, _, _ := strings.Cut(rest, "-"); ours && gone(first) {
			errs = append(errs, run(ctx, "", "ip", "netns", "delete", e.Name()))
		}
	}
	return errors.Join(errs...)
}

// gone says whether a text is the id of a process that does not run.
func gone(text string) bool {
	pid, err := strconv.Atoi(text)
	if err != nil {
		return false
	}
	_, err = os.Stat(fmt.Sprintf("/proc/%d", pid))
	return errors.Is(err, fs.ErrNotExist)
}

// batch runs lines of ip(8) in a namespace; the first that fails ends it.
func batch(ctx context.Context, namespace string, lines ...string) error {
	return run(ctx, strings.Join(lines, "\n")+"\n", "ip", "-n", namespace, "-batch", "-")
}

// inside runs a program in a namespace.
func inside(ctx context.Context, namespace, input string, args ...string) error {
	return run(ctx, input, "ip", append([]string{"netns", "exec", namespace}, args...)...)
}

// run runs a program to its end; its complaint is in the error.
func run(ctx context.Context, input, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}
