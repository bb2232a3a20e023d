package fabric_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raoull/worldwidewelsh/internal/lab/fabric"
)

// helperMode is the environment variable that makes the test binary a child.
const helperMode = "FABRIC_TEST_HELPER"

// helper is the main of a child. "ready" on standard output says that it listens
// to its signals.
func helper(mode string) int {
	switch mode {
	case "exit3":
		return 3
	case "polite", "stubborn":
		got := make(chan os.Signal, 1)
		signal.Notify(got, syscall.SIGTERM, syscall.SIGUSR1)
		fmt.Println("ready")
		for s := range got {
			fmt.Println(s)
			if s == syscall.SIGTERM && mode == "polite" {
				return 0
			}
		}
	case "supervisor": // starts a child, tells its pid, and waits for its own death
		c := fabric.NewChildren(fabric.ChildrenConfig{})
		if err := c.Start("child", command("stubborn"), os.DevNull); err != nil {
			fmt.Println(err)
			return 1
		}
		pid, err := c.PID("child")
		fmt.Println(pid, err)
		<-c.Exited()
	}
	return 1
}

func command(mode string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperMode+"="+mode)
	return cmd
}

func newChildren(t *testing.T) *fabric.Children {
	t.Helper()
	c := fabric.NewChildren(fabric.ChildrenConfig{Grace: patience})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// startReady starts a child with a FIFO as its log and returns the lines of it
// once the child is ready.
func startReady(t *testing.T, c *fabric.Children, name, mode string) *bufio.Scanner {
	t.Helper()
	fifo := filepath.Join(t.TempDir(), name)
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	// A second writer, so that reading waits even while no child writes.
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	r.SetReadDeadline(time.Now().Add(patience))
	if err := c.Start(name, command(mode), fifo); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(r)
	next(t, lines, "ready")
	return lines
}

func next(t *testing.T, lines *bufio.Scanner, want string) {
	t.Helper()
	if !lines.Scan() || lines.Text() != want {
		t.Fatalf("child says %q, %v, want %q", lines.Text(), lines.Err(), want)
	}
}

func exited(t *testing.T, c *fabric.Children) fabric.Exit {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case e := <-c.Exited():
		return e
	case <-limit.C:
		t.Fatal("no child ended")
		return fabric.Exit{}
	}
}

// signalOf returns the signal that ended a child, 0 if none did.
func signalOf(err error) syscall.Signal {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.Sys().(syscall.WaitStatus).Signal()
	}
	return 0
}

func TestChildEndsByItself(t *testing.T) {
	c := newChildren(t)
	if err := c.Start("a", command("exit3"), ""); err != nil {
		t.Fatal(err)
	}
	e := exited(t, c)
	exit, ok := errors.AsType[*exec.ExitError](e.Err)
	if e.Name != "a" || e.Asked || !ok || exit.ExitCode() != 3 {
		t.Errorf("Exited: got %+v, want a, not asked, status 3", e)
	}
	if c.Alive("a") {
		t.Error("Alive: got true, want false")
	}
	if err := c.Kill("a"); !errors.Is(err, fabric.ErrNotRunning) {
		t.Errorf("Kill: got %v, want %v", err, fabric.ErrNotRunning)
	}
}

func TestKillStopSignal(t *testing.T) {
	for _, tt := range []struct {
		name, mode string
		end        func(*fabric.Children) error
		want       syscall.Signal // -1: an exit with status 0
	}{
		{"kill", "polite", func(c *fabric.Children) error { return c.Kill("a") }, syscall.SIGKILL},
		{"stop", "polite", func(c *fabric.Children) error { return c.Stop("a", patience) }, 0},
		{"stop the stubborn", "stubborn", func(c *fabric.Children) error { return c.Stop("a", quiet) }, syscall.SIGKILL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newChildren(t)
			lines := startReady(t, c, "a", tt.mode)
			if err := c.Signal("a", syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			next(t, lines, syscall.SIGUSR1.String())
			if err := c.Start("a", command("polite"), ""); !errors.Is(err, fabric.ErrRunning) {
				t.Errorf("second Start: got %v, want %v", err, fabric.ErrRunning)
			}
			pid, err := c.PID("a")
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.end(c); err != nil {
				t.Fatal(err)
			}
			if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
				t.Errorf("process %d after its end: got %v, want %v", pid, err, unix.ESRCH)
			}
			if e := exited(t, c); !e.Asked || signalOf(e.Err) != tt.want || (tt.want == 0) != (e.Err == nil) {
				t.Errorf("Exited: got %+v, want asked, signal %d", e, tt.want)
			}
			startReady(t, c, "a", "polite") // the name is free again
		})
	}
}

func TestLogIsAppendedTo(t *testing.T) {
	c := newChildren(t)
	log := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(log, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "echo out; echo err >&2")
	if err := c.Start("a", cmd, log); err != nil {
		t.Fatal(err)
	}
	exited(t, c)
	got, err := os.ReadFile(log)
	if want := "before\nout\nerr\n"; err != nil || string(got) != want {
		t.Errorf("log: got %q, %v, want %q", got, err, want)
	}
	if err := c.Start("b", command("polite"), filepath.Join(log, "b.log")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("Start with an impossible log: got %v, want %v", err, syscall.ENOTDIR)
	}
	if err := c.Start("c", exec.Command("/nonexistent"), ""); !errors.Is(err, os.ErrNotExist) || c.Alive("c") {
		t.Errorf("Start of nothing: got %v, alive %t, want %v", err, c.Alive("c"), os.ErrNotExist)
	}
}

func TestKillTakesTheWholeGroup(t *testing.T) {
	c := newChildren(t)
	out := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(out, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(out, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// The shell leaves a grandchild, tells its id, and waits for it.
	if err := c.Start("sh", exec.Command("/bin/sh", "-c", "sleep 1000 & echo $!; wait"), out); err != nil {
		t.Fatal(err)
	}
	r.SetReadDeadline(time.Now().Add(patience))
	lines := bufio.NewScanner(r)
	if !lines.Scan() {
		t.Fatalf("no id of the grandchild: %v", lines.Err())
	}
	if err := c.Kill("sh"); err != nil {
		t.Fatal(err)
	}
	// The end of the FIFO is that of its last writer, the grandchild.
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("after Kill: got %q, %v, want the end", lines.Text(), lines.Err())
	}
}

func TestCloseEndsInReverseOrder(t *testing.T) {
	c := fabric.NewChildren(fabric.ChildrenConfig{Grace: quiet})
	var want []string
	for i, mode := range []string{"polite", "stubborn", "polite"} {
		name := strconv.Itoa(i)
		startReady(t, c, name, mode)
		want = append([]string{name}, want...)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for e := range c.Exited() {
		got = append(got, e.Name)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("order of ends: got %v, want %v", got, want)
	}
	if err := c.Start("late", command("polite"), ""); !errors.Is(err, fabric.ErrChildrenClosed) {
		t.Errorf("Start after Close: got %v, want %v", err, fabric.ErrChildrenClosed)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestChildrenDieWithTheirSupervisor(t *testing.T) {
	sup := command("supervisor")
	out, err := sup.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sup.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, perr := strconv.Atoi(strings.TrimSuffix(line, " <nil>\n"))
	if err != nil || perr != nil {
		t.Fatalf("supervisor says %q: %v, %v", line, err, perr)
	}
	child, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	if err := sup.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := sup.Wait(); signalOf(err) != syscall.SIGKILL {
		t.Errorf("supervisor ended with %v, want %v", err, syscall.SIGKILL)
	}
	// A pidfd becomes readable when its process ends (pidfd_open(2)).
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}, int(patience/time.Millisecond))
	if n != 1 {
		t.Errorf("child %d outlives its supervisor: poll says %d, %v", pid, n, err)
		unix.PidfdSendSignal(child, unix.SIGKILL, nil, 0)
	}
}
