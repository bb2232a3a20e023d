package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Program is something of this site's that an operation calls by name. It is given
// what it is called for as variables of its environment ("WWW_GUEST=nuage").
type Program interface {
	// Run returns the first line that it wrote, and nil when it ended well;
	// ErrNotYet when it asks to be called again.
	Run(ctx context.Context, env []string) (said string, err error)
}

// ErrNotYet is the answer of a program that is to be called again: exit code 75, which
// sysexits.h calls EX_TEMPFAIL.
var ErrNotYet = errors.New("not yet (exit code 75)")

const exitNotYet = 75

// ExecProgram runs a command line.
type ExecProgram struct{ Command []string }

// Run implements Program. The program starts with a bare environment, in a process group of
// its own; when ctx ends, the whole group is killed.
func (p ExecProgram) Run(ctx context.Context, env []string) (string, error) {
	out, err := runCommand(ctx, p.Command, append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}, env...))
	said, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	switch exit, ok := errors.AsType[*exec.ExitError](err); {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return said, context.DeadlineExceeded
	case ok && exit.ExitCode() == exitNotYet:
		return said, ErrNotYet
	}
	return said, err
}

// maxOutput bounds what is read of a program's output.
const maxOutput = 4 << 10

// runCommand runs a command line to its end and returns what it wrote to its standard
// output, or its complaints if there is nothing else. env nil: the agent's own environment.
func runCommand(ctx context.Context, command, env []string) (string, error) {
	if err := trusted(command); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = env
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{w: &out, left: maxOutput}, &limited{w: &complaint, left: maxOutput}
	err := cmd.Run()
	said := cmp.Or(out.String(), complaint.String())
	if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(command, " "), err)
		if text := strings.TrimSpace(complaint.String()); text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
	}
	return said, err
}

// trusted refuses a program that others than root and this agent's own user could change.
func trusted(command []string) error {
	if len(command) == 0 {
		return errors.New("no command")
	}
	info, err := os.Stat(command[0])
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s is not a file that only its owner can write (chmod go-w)", command[0])
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user than root (chown root)", command[0])
	}
	return nil
}

// limited writes at most so many bytes and drops the rest.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	if _, err := l.w.Write(b[:n]); err != nil {
		return 0, err
	}
	return len(b), nil
}
