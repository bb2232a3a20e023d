package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raoull/worldwidewelsh/failover"
	"github.com/raoull/worldwidewelsh/internal/config"
	"github.com/raoull/worldwidewelsh/internal/doctor"
	"github.com/raoull/worldwidewelsh/internal/message"
)

// machine is what the checks before init and join ask of this machine; tests
// make their own.
type machine struct {
	uid        int
	lookup     func(username string) (gid string, err error)
	addresses  func() ([]netip.Addr, error)
	listen     func(addr netip.AddrPort) error
	dial       func(ctx context.Context, addr string) error
	unsynced   func() bool
	free       func(dir string) (uint64, error) // bytes, of the nearest directory that exists
	encryption func(dir string) doctor.Disk
	pingRange  func() (string, error)
	agentRuns  bool
}

// leastFree holds the log, its snapshots and the copies beside, many times over.
const leastFree = 1 << 30

// checks looks at everything that makes init or join fail later, or the agent
// useless; the reasons' severity stands in the catalogue.
func (m machine) checks(ctx context.Context, conf *config.Config, peer string) []failover.Reason {
	var out []failover.Reason
	bad := func(code string, pairs ...string) { out = append(out, reason(code, pairs...)) }
	if m.uid != 0 {
		bad("WWW-2501")
	}
	gid, err := m.lookup("wwwd")
	if err != nil {
		bad("WWW-2502")
	}
	m.checkAddress(conf.Listen.Mesh, bad)
	if m.unsynced() {
		bad("WWW-2505")
	}
	if free, err := m.free(conf.DataDir); err == nil && free < leastFree {
		bad("WWW-2506", "dir", conf.DataDir, "free", strconv.FormatUint(free, 10))
	}
	if d := m.encryption(conf.DataDir); d.Encrypted == doctor.EncryptedNo {
		bad("WWW-2507", "dir", conf.DataDir, "device", d.Device)
	}
	if text, err := m.pingRange(); err == nil && gid != "" && !inRange(text, gid) {
		bad("WWW-2508", "group", gid)
	}
	if peer != "" {
		if err := m.dial(ctx, peer); err != nil {
			bad("WWW-2509", "address", peer, "why", err.Error())
		}
	}
	return out
}

func (m machine) checkAddress(mesh netip.AddrPort, bad func(string, ...string)) {
	addrs, err := m.addresses()
	if err != nil {
		return
	}
	own := mesh.Addr().IsLoopback()
	for _, a := range addrs {
		own = own || a.Unmap() == mesh.Addr().Unmap()
	}
	if !own {
		bad("WWW-2503", "address", mesh.Addr().String())
		return
	}
	if err := m.listen(mesh); err != nil && !m.agentRuns {
		bad("WWW-2504", "address", mesh.String(), "why", err.Error())
	}
}

// inRange says whether a group is in "FIRST LAST" (icmp(7), ping_group_range).
func inRange(text, gid string) bool {
	var first, last uint64
	if _, err := fmt.Sscan(text, &first, &last); err != nil {
		return true // not known
	}
	g, err := strconv.ParseUint(gid, 10, 64)
	return err != nil || first <= g && g <= last
}

// thisMachine asks the kernel.
func thisMachine(socket string) machine {
	return machine{
		uid: os.Geteuid(),
		lookup: func(name string) (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Gid, nil
		},
		addresses: ownAddresses,
		listen: func(addr netip.AddrPort) error {
			l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr.String())
			if err != nil {
				return err
			}
			return l.Close()
		},
		dial: func(ctx context.Context, addr string) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			return c.Close()
		},
		unsynced: func() bool {
			var t unix.Timex // only read: no mode is set
			state, err := unix.Adjtimex(&t)
			return err == nil && (state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0)
		},
		free:       freeBytes,
		encryption: func(dir string) doctor.Disk { return doctor.Encryption(os.DirFS("/"), existing(dir)) },
		pingRange: func() (string, error) {
			b, err := os.ReadFile("/proc/sys/net/ipv4/ping_group_range")
			return strings.TrimSpace(string(b)), err
		},
		agentRuns: socketAnswers(socket),
	}
}

func ownAddresses() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr())
		}
	}
	return out, nil
}

// existing is the directory, or the nearest one above it that exists.
func existing(dir string) string {
	for dir != "/" && dir != "." {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(existing(dir), &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}

func socketAnswers(path string) bool {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was said
	return true
}

// preflight shows what the checks found and stops if anything is an error.
func (a *app) preflight(found []failover.Reason) error {
	failed := 0
	for _, r := range found {
		m, _ := message.Entry(a.lang(), r.Code)
		mark, t := "!", warn
		if m.Severity == message.Error {
			mark, t = "x", bad
			failed++
		}
		fmt.Fprintf(a.con.Err, "%s %s %s\n    %s\n", a.show.paint(t, mark), r.Code,
			message.Text(a.lang(), r.Code, r.Args), message.Hint(a.lang(), r.Code, r.Args))
	}
	if failed > 0 {
		return fail(exitRefused, "WWW-3034", "problems", strconv.Itoa(failed))
	}
	return nil
}
