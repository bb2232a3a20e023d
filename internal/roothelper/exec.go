package roothelper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Exec is the Runner that really runs commands: by absolute path, without a
// shell, with a fixed environment and nothing to read. The end of the context
// ends the command and all that it started.
type Exec struct{}

var _ Runner = Exec{}

const (
	maxOutput = 1 << 20 // bytes of standard output; more is an error
	maxStderr = 4 << 10 // bytes of standard error that are kept
	// pipesClose is how long a command's output is awaited after its end, when
	// something that it started holds on to it.
	pipesClose = 2 * time.Second
)

// CommandError is a command that could not be run or failed.
type CommandError struct {
	Command string // path and arguments
	Stderr  string // what it said, the beginning
	Err     error
}

// Error gives the command, its end and the last line that it said.
func (e *CommandError) Error() string {
	said := strings.TrimSpace(e.Stderr)
	if said = said[strings.LastIndexByte(said, '\n')+1:]; said == "" {
		return fmt.Sprintf("%s: %v", e.Command, e.Err)
	}
	return fmt.Sprintf("%s: %v: %s", e.Command, e.Err, said)
}

// Unwrap gives the cause.
func (e *CommandError) Unwrap() error { return e.Err }

// Run runs a command; see Runner.
func (Exec) Run(ctx context.Context, path string, args ...string) ([]byte, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("run %q: not an absolute path", path)
	}
	stdout, stderr := &limited{left: maxOutput}, &limited{left: maxStderr}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/"}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = pipesClose
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		err = errors.Join(ctx.Err(), err)
	case err == nil && stdout.over:
		err = fmt.Errorf("printed more than %d bytes", maxOutput)
	}
	if err != nil {
		return nil, &CommandError{Command: strings.Join(append([]string{path}, args...), " "), Stderr: stderr.buf.String(), Err: err}
	}
	return stdout.buf.Bytes(), nil
}

// limited keeps the first bytes and swallows the rest, so that the command
// neither blocks nor fills the memory.
type limited struct {
	buf  bytes.Buffer // not embedded: its ReadFrom would go past Write
	left int
	over bool
}

var _ io.Writer = (*limited)(nil)

// Write keeps what still fits.
func (l *limited) Write(b []byte) (int, error) {
	keep := b[:min(len(b), l.left)]
	l.left -= len(keep)
	l.over = l.over || len(keep) < len(b)
	l.buf.Write(keep)
	return len(b), nil
}
