package dnsctl

// SerialLess says whether SOA serial a precedes b in the arithmetic of RFC 1982 (section 3.2): a distance below 2^31
// counts forward. For a distance of exactly 2^31 the standard leaves the order undefined; here neither precedes.
func SerialLess(a, b uint32) bool {
	const half = 1 << 31
	return a != b && b-a < half
}

// SerialMax returns the later of two serials by RFC 1982, and a when their order is undefined.
func SerialMax(a, b uint32) uint32 {
	if SerialLess(a, b) {
		return b
	}
	return a
}

// Serial is the SOA serial of a zone whose content last changed at the log entry index: base + index modulo 2^32.
// base belongs to the generation of the log and is replicated with it. An agent cut off from the majority cannot obtain
// a higher index, so it cannot raise a serial, whatever its clock says.
func Serial(base uint32, index uint64) uint32 {
	return base + uint32(index)
}

// SerialBase is the base with which Serial(base, index) continues after the highest serial seen at the zone's servers:
// the take-over of a zone with date-like serials, or a log that starts again from a low index.
func SerialBase(highest uint32, index uint64) uint32 {
	return highest + 1 - uint32(index)
}
