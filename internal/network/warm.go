package network

// Values of standby.
const (
	Cold        = "cold" // restored when it is needed
	WarmStandby = "warm" // kept restored and stopped at one survivor
)

// Warm says whether a guest is to be kept restored ahead of time.
func (s *Spec) Warm(g GuestID) bool { return s.Guests[g].Standby == WarmStandby }

// standby warns of a guest that is declared warm and never fails over: what
// stands ready for it would stand there for nothing, so nothing is kept.
func (c *checker) standby(path string, g Guest) {
	c.oneOf(path, g.Standby, Cold, WarmStandby)
	st, known := c.s.Structures[g.Structure]
	if g.Standby != WarmStandby || !known {
		return
	}
	const hint = "write standby: cold, or let the guest fail over"
	switch {
	case g.Priority == 4:
		c.warn(path, CodeNotRescued, hint, "standby is warm and priority 4 is not rescued: nothing is kept ready")
	case st.Mode == ModeNever:
		c.warn(path, CodeNotRescued, hint, "standby is warm and the structure's mode is never: nothing is kept ready")
	case st.OffSite.Policy != ConsentAllowed:
		c.warn(path, CodeNotRescued, hint, "standby is warm and the structure's off_site policy is %s: nothing is kept ready", st.OffSite.Policy)
	}
}

// warm checks what bounds the warm copies of a host.
func (c *checker) warm(path string, w Warm) {
	if w.Budget < 0 {
		c.fail(path+".budget", CodeRange, "write budget: 200GiB, or leave it out for no limit", "budget %s is negative", w.Budget)
	}
}
