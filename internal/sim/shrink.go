package sim

import (
	"regexp"
	"slices"
)

// Shrink looks for as few planned troubles as still lead to the same violation:
// it leaves out ever smaller parts of the plan (delta debugging) for as long as
// the same invariant is violated. It returns the result of the smallest run and
// the numbers of the items that were left out. tries bounds the runs.
func Shrink(o Options, failed Result, tries int) (Result, map[int]bool) {
	best, out := failed, clone(o.Without)
	run := func(without map[int]bool) (Result, bool) {
		tries--
		again := o
		again.Without = without
		r := Run(again)
		return r, r.Violation != nil && kindOf(r) == kindOf(failed)
	}
	left := remaining(failed.Plan, out)
	for size := (len(left) + 1) / 2; size > 0 && tries > 0; {
		reduced := false
		for from := 0; from < len(left) && tries > 0; from += size {
			without := clone(out)
			for _, n := range left[from:min(from+size, len(left))] {
				without[n] = true
			}
			if r, same := run(without); same {
				best, out, reduced = r, without, true
				left = remaining(r.Plan, out)
				from -= size // what followed has moved up
			}
		}
		if !reduced || size > len(left) {
			size /= 2
		}
	}
	return best, out
}

func clone(m map[int]bool) map[int]bool {
	out := make(map[int]bool, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// remaining are the numbers of a plan that are not left out.
func remaining(plan []Planned, without map[int]bool) []int {
	var out []int
	for _, p := range plan {
		if !without[p.Number] {
			out = append(out, p.Number)
		}
	}
	slices.Sort(out)
	return out
}

var invariantName = regexp.MustCompile(`invariant [^ ]+ violated`)

// kindOf says which invariant a run violated; of another end, its whole text.
func kindOf(r Result) string {
	if r.Violation == nil {
		return ""
	}
	text := r.Violation.Error()
	if kind := invariantName.FindString(text); kind != "" {
		return kind
	}
	return text
}
