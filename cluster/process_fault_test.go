package cluster_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A leader that stands still is replaced; when it goes on, what it had under way
// does not count, whatever it believes.
func TestFrozenProcessesLoseNothing(t *testing.T) {
	procs := newProcs(t, 3, nil)
	e := form(t, procs, 60*time.Second)
	for range 3 {
		leader := e.acks(30, nil)
		signal(t, leader, syscall.SIGSTOP)
		e.acks(20, leader)
		signal(t, leader, syscall.SIGCONT)
		e.acks(20, nil)
	}
	// A majority stands still: nobody may acknowledge anything until it goes on.
	leader := e.acks(20, nil)
	for _, p := range procs {
		if p != leader {
			signal(t, p, syscall.SIGSTOP)
		}
	}
	settle := time.After(2 * time.Second) // longer than the lease; what was on its way has come
	for waiting, alone := true, 0; waiting; {
		select {
		case s := <-e.lines:
			e.ack(s)
			alone++
		case <-settle:
			waiting = false
			t.Logf("%d acknowledgements had been on their way", alone)
		}
	}
	select {
	case s := <-e.lines:
		t.Errorf("%s says %v while a majority stands still", s.by.dir, s.words)
	case <-time.After(500 * time.Millisecond):
	}
	for _, p := range procs {
		if p != leader {
			signal(t, p, syscall.SIGCONT)
		}
	}
	e.acks(20, nil)
	e.end(procs)
}

func signal(t *testing.T, p *proc, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// smallDisk is a data directory that can be full.
type smallDisk struct {
	dir     string
	mounted bool // a file system of its own; else the process is limited
}

const smallSize = "size=4m"

func newSmallDisk(t *testing.T, dir string) *smallDisk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d := &smallDisk{dir: dir}
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, smallSize+",mode=0700")
	if err != nil {
		t.Logf("no file system of its own (%v): the size of files is limited instead", err)
		return d
	}
	d.mounted = true
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *smallDisk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill leaves no byte free.
func (d *smallDisk) fill(t *testing.T, p *proc) {
	t.Helper()
	if !d.mounted {
		// The kernel ends a process that writes beyond, as raft ends itself when
		// it cannot write its term.
		if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 8192, Max: unix.RLIM_INFINITY}, nil); err != nil {
			t.Fatal(err)
		}
		return
	}
	f, err := os.Create(d.ballast())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
}

// empty gives the space back.
func (d *smallDisk) empty(t *testing.T, p *proc) {
	t.Helper()
	if !d.mounted {
		err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}, nil)
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
		return
	}
	if err := os.Remove(d.ballast()); err != nil {
		t.Fatal(err)
	}
}

// A process whose disk is full costs the group its voice and nothing else: it is
// replaced as leader, the others go on, and when there is space again, with or
// without a restart, it has everything.
func TestFullDiskLosesNothing(t *testing.T) {
	disks := map[string]*smallDisk{}
	procs := newProcs(t, 3, func(dir string) { disks[filepath.Dir(dir)] = newSmallDisk(t, dir) })
	e := form(t, procs, 60*time.Second)
	for _, whom := range []string{"leader", "follower"} {
		leader := e.acks(30, nil)
		full := leader
		if whom == "follower" {
			for _, p := range procs {
				if p != leader {
					full = p
				}
			}
		}
		disk := disks[full.dir]
		disk.fill(t, full)
		// Whatever it still acknowledges, it does together with the others.
		e.acks(60, full)
		disk.empty(t, full)
		if whom == "leader" {
			full.kill(t) // as it stands: perhaps it lives, perhaps it has ended itself
			full.start(t, e.lines)
		}
		e.acks(20, nil)
	}
	revive(t, e, procs)
	e.end(procs)
}

// revive starts processes again that have ended themselves.
func revive(t *testing.T, e *ears, procs []*proc) {
	t.Helper()
	for _, p := range procs {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WNOHANG, nil)
		if err != nil {
			t.Fatal(err)
		}
		if pid != 0 {
			t.Logf("%s had ended itself: %v", p.dir, status)
			p.start(t, e.lines)
		}
	}
}
