package failover

import "strconv"

// A rolling upgrade has agents of two versions in one group, and what one of them cannot
// read in the log stops it. So what is new in the log waits: an agent reports up to which
// version it reads (Report.Reads), the leader raises MinVersion once every member reads
// more, and only then may entries of the kinds and fields that came with it be written.

// reads is the version that an agent of this report reads.
func (r Report) reads() int { return max(1, r.Reads) }

// ReadBy returns the newest version, at most one that is given, that every member reads by its
// own word. One that has not been heard counts as not upgraded: nobody is left behind.
func (s *State) ReadBy(most int) int {
	for id := range s.Members {
		most = min(most, s.Reports[id].Report.reads())
	}
	return most
}

// raise lets entries of a newer version be written once every member reads them.
func (d *decider) raise() {
	if len(d.s.Members) == 0 {
		return
	}
	if v := d.s.ReadBy(CommandVersion); v > d.s.MinVersion {
		d.propose(RaiseVersion{Version: v})
	}
}

func (c RaiseVersion) apply(s *State, st Stamp) error {
	if c.Version <= s.MinVersion {
		return reject(CodeDuplicate, "what", "version "+strconv.Itoa(c.Version))
	}
	if c.Version > s.ReadBy(CommandVersion) {
		return reject(CodeInvalid, "what", "version "+strconv.Itoa(c.Version)+", which not every member reads")
	}
	s.MinVersion = c.Version
	s.event(st, because(CodeRaised, "version", strconv.Itoa(c.Version)), Event{})
	return nil
}
