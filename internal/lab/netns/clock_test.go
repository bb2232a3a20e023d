package netns_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab/netns"
)

// asClock makes this program tell the time instead of testing: on every line that it
// reads it prints its wall clock and its monotonic one, in nanoseconds.
const asClock = "NETNS_TEST_AS_CLOCK"

func TestMain(m *testing.M) {
	if os.Getenv(asClock) == "" {
		os.Exit(m.Run())
	}
	begun := time.Now()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		now := time.Now()
		fmt.Println(now.UnixNano(), now.Sub(begun).Nanoseconds())
	}
}

func TestJumpClock(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("jumping clocks is only done on amd64")
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0]) // it ends when its input does
	cmd.Env = append(os.Environ(), asClock+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process whose clock jumped ended badly: %v", err)
		}
	})
	ask := func() (wall time.Time, mono time.Duration) {
		t.Helper()
		var nanos, since int64
		if _, err := fmt.Fprintln(in); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscanln(out, &nanos, &since); err != nil {
			t.Fatal(err)
		}
		return time.Unix(0, nanos), time.Duration(since)
	}
	_, last := ask()
	for _, by := range []time.Duration{time.Hour, -time.Hour, 0} {
		asked := time.Now()
		if err := netns.JumpClock(cmd.Process.Pid, by); err != nil {
			t.Fatalf("JumpClock(%s): %v", by, err)
		}
		wall, mono := ask()
		spent := time.Since(asked)
		if early, late := wall.Sub(asked.Add(by)), wall.Sub(asked.Add(by+spent)); early < -time.Second || late > 0 {
			t.Errorf("JumpClock(%s) between %s and %s later: its clock says %s", by, asked, spent, wall)
		}
		if step := mono - last; step < 0 || step > time.Minute {
			t.Errorf("JumpClock(%s) moved its monotonic clock by %s, want it to go on", by, step)
		}
		last = mono
	}
	if err := netns.JumpClock(1<<22+1, time.Hour); err == nil {
		t.Error("JumpClock of a process that cannot exist: no error, want one")
	}
}
