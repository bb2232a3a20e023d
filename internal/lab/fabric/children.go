package fabric

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultGrace = 2 * time.Second
	logFileMode  = fs.FileMode(0o600)
	exitsHeld    = 64
)

// Errors of Children.
var (
	ErrNotRunning     = errors.New("not running") // never started, or ended
	ErrRunning        = errors.New("already running")
	ErrChildrenClosed = errors.New("children are closed")
)

// ChildrenConfig holds what a Children needs.
type ChildrenConfig struct {
	Logger *slog.Logger  // nil discards
	Grace  time.Duration // what Close leaves each child between SIGTERM and SIGKILL; 0 is 2 s
}

// Exit tells that a child has ended.
type Exit struct {
	Name  string
	Err   error // as of exec.Cmd.Wait: nil is status 0
	Asked bool  // Kill, Stop or Close ended it
}

// Children runs the processes of the lab. Each leads a process group of its own,
// so that a Ctrl-C in the terminal reaches the supervisor only, and dies with the
// supervisor whatever ends that. All methods may be called from any goroutine.
type Children struct {
	log   *slog.Logger
	grace time.Duration
	work  chan func()   // for the launcher
	over  chan struct{} // closed when all children are gone: ends the launcher
	exits chan Exit
	wg    sync.WaitGroup

	mu      sync.Mutex // held over signals, never over a wait
	closed  bool
	running []*child // by start
}

type child struct {
	name  string
	cmd   *exec.Cmd
	asked bool          // guarded by Children.mu
	done  chan struct{} // closed when it is reaped and out of running
}

// NewChildren returns an empty Children. Close ends it.
func NewChildren(c ChildrenConfig) *Children {
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	cs := &Children{
		log: log.With("component", "children"), grace: cmp.Or(c.Grace, defaultGrace),
		work: make(chan func()), over: make(chan struct{}), exits: make(chan Exit, exitsHeld),
	}
	cs.wg.Go(cs.launcher)
	return cs
}

// launcher starts all processes. The kernel sends the parent-death signal when the
// thread that forked ends (prctl(2)), not the process, so that thread is kept.
func (c *Children) launcher() {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	for {
		select {
		case do := <-c.work:
			do()
		case <-c.over:
			return
		}
	}
}

// launched runs do on the launcher's thread and returns its result.
func (c *Children) launched(do func() error) error {
	result := make(chan error, 1)
	select {
	case c.work <- func() { result <- do() }:
		return <-result
	case <-c.over:
		return ErrChildrenClosed
	}
}

// Start runs cmd under a name that no running child has. Its standard output and
// error are appended to logFile, unless that is empty.
func (c *Children) Start(name string, cmd *exec.Cmd, logFile string) error {
	if logFile != "" {
		out, err := os.OpenFile(logFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, logFileMode)
		if err != nil {
			return fmt.Errorf("start %s: open log: %w", name, err)
		}
		defer out.Close() // the child has its own descriptor
		cmd.Stdout, cmd.Stderr = out, out
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pgid = true, 0
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := c.launched(func() error { return c.launch(name, cmd) }); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	c.log.Info("child started", "name", name, "pid", cmd.Process.Pid)
	return nil
}

// launch runs on the launcher alone, so that a name cannot be taken meanwhile.
func (c *Children) launch(name string, cmd *exec.Cmd) error {
	c.mu.Lock()
	_, err := c.find(name)
	closed := c.closed
	c.mu.Unlock()
	switch {
	case closed:
		return ErrChildrenClosed
	case err == nil:
		return ErrRunning
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ch := &child{name: name, cmd: cmd, done: make(chan struct{})}
	c.mu.Lock()
	c.running = append(c.running, ch)
	c.mu.Unlock()
	c.wg.Go(func() { c.watch(ch) })
	return nil
}

// find returns the running child of that name. The caller holds c.mu.
func (c *Children) find(name string) (*child, error) {
	i := slices.IndexFunc(c.running, func(ch *child) bool { return ch.name == name })
	if i < 0 {
		return nil, ErrNotRunning
	}
	return c.running[i], nil
}

// watch waits for the end of a child, ends what is left of its group and reaps it.
// Until it is reaped its id cannot be given to another process, so every signal is
// sent before, under c.mu, and none reaches a stranger.
func (c *Children) watch(ch *child) {
	pid := ch.cmd.Process.Pid
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	c.mu.Lock()
	c.running = slices.DeleteFunc(c.running, func(o *child) bool { return o == ch })
	asked := ch.asked
	_ = unix.Kill(-pid, unix.SIGKILL) // often nobody is left
	c.mu.Unlock()
	e := Exit{Name: ch.name, Err: ch.cmd.Wait(), Asked: asked}
	c.log.Info("child ended", "name", ch.name, "pid", pid, "asked", asked, "err", e.Err)
	select {
	case c.exits <- e: // before done, so that the order is that of the ends
		close(ch.done)
		return
	default: // whoever waits for the end must not wait for the reader of exits
		close(ch.done)
	}
	select {
	case c.exits <- e:
	case <-c.over:
	}
}

// Exited delivers the end of every child, asked for or not. Close closes it: what
// nobody has received by then, up to 64 ends, can still be read; more is dropped.
func (c *Children) Exited() <-chan Exit { return c.exits }

// Alive reports whether a child of that name runs.
func (c *Children) Alive(name string) bool {
	_, err := c.get(name)
	return err == nil
}

// PID returns the process id of a running child.
func (c *Children) PID(name string) (int, error) {
	ch, err := c.get(name)
	if err != nil {
		return 0, fmt.Errorf("find process of %s: %w", name, err)
	}
	return ch.cmd.Process.Pid, nil
}

// Signal sends a signal to the process group of a child.
func (c *Children) Signal(name string, sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch, err := c.find(name)
	if err == nil {
		err = unix.Kill(-ch.cmd.Process.Pid, sig)
	}
	if err != nil {
		return fmt.Errorf("send %s to %s: %w", unix.SignalName(sig), name, err)
	}
	return nil
}

// end sends a signal that is to end a child, unless it has ended.
func (c *Children) end(ch *child, sig syscall.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.running, ch) {
		return nil
	}
	ch.asked = true
	return unix.Kill(-ch.cmd.Process.Pid, sig)
}

func (c *Children) get(name string) (*child, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(name)
}

// Kill ends a child and all of its process group at once, as a power cut does, and
// waits until it is gone. The peers of its sockets see that: Fabric.Kill comes first.
func (c *Children) Kill(name string) error {
	ch, err := c.get(name)
	if err == nil {
		err = c.end(ch, unix.SIGKILL)
	}
	if err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	<-ch.done
	return nil
}

// Stop asks a child to end, kills it after grace, and waits until it is gone.
func (c *Children) Stop(name string, grace time.Duration) error {
	ch, err := c.get(name)
	if err == nil {
		err = c.stop(ch, grace)
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	return nil
}

func (c *Children) stop(ch *child, grace time.Duration) error {
	if err := c.end(ch, unix.SIGTERM); err != nil {
		return err
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-ch.done:
		return nil
	case <-t.C:
	}
	c.log.Warn("child did not end in time", "name", ch.name, "grace", grace)
	if err := c.end(ch, unix.SIGKILL); err != nil {
		return err
	}
	<-ch.done
	return nil
}

// Close stops all children, the last started first, and waits for them.
func (c *Children) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if again {
		return nil
	}
	// After an empty turn of the launcher no start is underway, and no other follows.
	errs := []error{c.launched(func() error { return nil })}
	c.mu.Lock()
	last := slices.Clone(c.running)
	c.mu.Unlock()
	for _, ch := range slices.Backward(last) {
		if err := c.stop(ch, c.grace); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", ch.name, err))
		}
	}
	close(c.over)
	c.wg.Wait()
	close(c.exits)
	return errors.Join(errs...)
}
