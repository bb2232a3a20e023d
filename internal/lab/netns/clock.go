package netns

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel has namespaces for the monotonic clock but none for the wall clock
// (time_namespaces(7)), and a preloaded library does not reach a static Go program. But
// every process reads its clock through a page of code that the kernel maps into it
// (vdso(7)), and what a debugger writes there is that process's alone: Chaos Mesh shifts
// clocks so. The new code asks the kernel and adds to the answer if it is of the wall
// clock; amd64 only.
//
//	b8 e4 00 00 00   mov eax, 228 (clock_gettime)    49 bb …    mov r11, seconds
//	0f 05            syscall                         4c 01 1e   add [rsi], r11
//	85 ff            test edi, edi (CLOCK_REALTIME)  c3         ret
//	75 0d            jnz ret
func shiftedClock(seconds int64) []byte {
	code := []byte{0xb8, 0xe4, 0, 0, 0, 0x0f, 0x05, 0x85, 0xff, 0x75, 0x0d, 0x49, 0xbb}
	code = binary.LittleEndian.AppendUint64(code, uint64(seconds))
	return append(code, 0x4c, 0x01, 0x1e, 0xc3)
}

// stopTries bounds the waiting for a process to stop outside the code to be replaced.
const stopTries = 100

// JumpClock moves the wall clock of a process to by, in whole seconds, from the true
// time: two jumps do not add up. Its monotonic clock and all other processes go on as
// before. The caller must be allowed to trace the process (ptrace(2)).
func JumpClock(pid int, by time.Duration) error {
	err := patchClock(pid, shiftedClock(int64(by/time.Second)))
	if err != nil {
		return fmt.Errorf("jump the clock of process %d: %w", pid, err)
	}
	return nil
}

func patchClock(pid int, code []byte) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("only done on amd64, this is %s", runtime.GOARCH)
	}
	at, err := clockFunction(pid, len(code))
	if err != nil {
		return err
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	for range stopTries {
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			return err
		}
		outside := awaitOutside(pid, at, at+uint64(len(code)))
		if outside {
			_, err = mem.WriteAt(code, int64(at))
		}
		if err := errors.Join(err, unix.Kill(pid, unix.SIGCONT)); err != nil || outside {
			return err
		}
	}
	return errors.New("it never stops outside the clock's code")
}

// awaitOutside waits for all threads of a process to stop, and says whether none has
// stopped between two addresses. Whoever is further inside the function goes on in code
// that is not replaced.
func awaitOutside(pid int, from, to uint64) bool {
	for range stopTries {
		switch counters, stopped := threads(pid); {
		case !stopped:
			pauseThread()
		default:
			for _, pc := range counters {
				if pc >= from && pc < to {
					return false
				}
			}
			return true
		}
	}
	return false
}

// pauseThread leaves the processor to others for a moment.
func pauseThread() {
	ts := unix.NsecToTimespec(int64(time.Millisecond))
	_ = unix.Nanosleep(&ts, nil) // cut short it is as good
}

// threads returns where the threads of a process stand; stopped says that all stand.
func threads(pid int) (counters []uint64, stopped bool) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(files) == 0 {
		return nil, false
	}
	for _, dir := range files {
		// Fields as of proc_pid_stat(5), after the name in parentheses: the state.
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if i := bytes.LastIndexByte(stat, ')'); err != nil || i < 0 || !bytes.HasPrefix(stat[i:], []byte(") T")) {
			return nil, false
		}
		// proc_pid_syscall(5): the last field is the program counter.
		line, err := os.ReadFile(filepath.Join(dir, "syscall"))
		f := strings.Fields(string(line))
		if err != nil || len(f) < 3 {
			return nil, false
		}
		pc, err := strconv.ParseUint(f[len(f)-1], 0, 64)
		if err != nil {
			return nil, false
		}
		counters = append(counters, pc)
	}
	return counters, true
}

// clockFunction returns the address of the code that reads the clock in a process, if
// there is room for size bytes.
func clockFunction(pid, size int) (uint64, error) {
	image, base, err := vdso(pid)
	if err != nil {
		return 0, err
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, fmt.Errorf("read vdso: %w", err)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return 0, fmt.Errorf("read vdso: %w", err)
	}
	for _, s := range symbols {
		if s.Name != "__vdso_clock_gettime" {
			continue
		}
		if s.Size < uint64(size) {
			return 0, fmt.Errorf("the clock's code in the vdso of this kernel has %d bytes, %d are needed", s.Size, size)
		}
		return base + s.Value, nil
	}
	return 0, errors.New("the vdso has no clock_gettime")
}

// vdso returns the image that the kernel has mapped into a process, and where.
func vdso(pid int) ([]byte, uint64, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		if !strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil || to <= from {
			return nil, 0, fmt.Errorf("read the vdso's place: %q", line)
		}
		mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
		if err != nil {
			return nil, 0, err
		}
		defer mem.Close()
		image := make([]byte, to-from)
		if _, err := mem.ReadAt(image, int64(from)); err != nil {
			return nil, 0, fmt.Errorf("read vdso: %w", err)
		}
		return image, from, nil
	}
	return nil, 0, errors.New("no vdso is mapped")
}
