package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/raoull/worldwidewelsh/internal/lab/site"
)

// usage is what one agent takes of the machine.
type usage struct {
	site string
	rss  int64   // bytes
	cpu  float64 // cores
}

// ticksPerSecond is the unit of /proc/PID/stat: USER_HZ, 100 on every Linux that Go
// runs on (proc(5), sysconf(_SC_CLK_TCK)).
const ticksPerSecond = 100

// watchUsage looks at every agent for d and returns what each took.
func watchUsage(ctx context.Context, r *room, d time.Duration) ([]usage, error) {
	r.say("watching the agents at rest for %s", d)
	before := map[string]float64{}
	begun := time.Now()
	for _, name := range r.living() {
		_, cpu, err := r.usageOf(name)
		if err != nil {
			return nil, err
		}
		before[name] = cpu
	}
	if err := site.Sleep(ctx, d); err != nil {
		return nil, err
	}
	took := time.Since(begun).Seconds()
	var out []usage
	for _, name := range r.living() {
		rss, cpu, err := r.usageOf(name)
		if err != nil {
			return nil, err
		}
		out = append(out, usage{site: name, rss: rss, cpu: (cpu - before[name]) / took})
	}
	return out, nil
}

// usageOf reads an agent's resident memory in bytes and its processor time in seconds.
func (r *room) usageOf(name string) (rss int64, cpu float64, err error) {
	pid, err := r.children.PID(agentOf(name))
	if err != nil {
		return 0, 0, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read usage of %s: %w", name, err)
	}
	rss, cpu, err = parseStat(string(stat), int64(os.Getpagesize()))
	if err != nil {
		return 0, 0, fmt.Errorf("read usage of %s: %w", name, err)
	}
	return rss, cpu, nil
}

// parseStat reads /proc/PID/stat (proc(5)): fields 14 and 15 are processor time in user
// and kernel mode, 24 is resident memory in pages. The name in parentheses, field 2, may
// hold anything.
func parseStat(stat string, page int64) (rss int64, cpu float64, err error) {
	end := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[end+1:])
	if end < 0 || len(fields) < 22 {
		return 0, 0, fmt.Errorf("%q is not a line of /proc/PID/stat", stat)
	}
	var n [3]int64
	for i, at := range []int{11, 12, 21} { // counted from field 3
		if n[i], err = strconv.ParseInt(fields[at], 10, 64); err != nil {
			return 0, 0, fmt.Errorf("field %d of /proc/PID/stat: %w", at+3, err)
		}
	}
	return n[2] * page, float64(n[0]+n[1]) / ticksPerSecond, nil
}
