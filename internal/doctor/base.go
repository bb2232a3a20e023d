package doctor

import "time"

// clockWarn is how far a clock may be off before it falsifies ages and countdowns
// that people see. Decisions do not depend on it.
const clockWarn = 5 * time.Second

// base checks the agent's own machine.
func (in Input) base() result {
	r := result{checked: 1}
	for _, why := range in.Local.Unwell {
		r.add(found(Base, CodeUnwell, in.Local.Site, "agent of "+string(in.Local.Site), "why", why))
	}
	in.channels(&r)
	if in.Facts == nil {
		r.add(found(Base, CodeNotYet, in.Local.Site, ""))
		return r
	}
	f := in.Facts
	r.checked += 2
	switch {
	case f.Disk.Encrypted == EncryptedYes, f.Disk.Worthless:
	case f.Disk.Encrypted == EncryptedNo:
		r.add(found(Base, CodeDiskPlain, in.Local.Site, f.Disk.Dir, "device", f.Disk.Device))
	default:
		r.add(found(Base, CodeDiskUnknown, in.Local.Site, f.Disk.Dir, "device", f.Disk.Device, "why", f.Disk.Why))
	}
	if f.ClockOff.Abs() > clockWarn {
		r.add(found(Base, CodeClockOff, in.Local.Site, "clock", "offset", round(f.ClockOff.Abs())))
	}
	return r
}

// channels checks the ways by which this agent tells people.
func (in Input) channels(r *result) {
	r.checked += len(in.Local.Channels)
	if len(in.Local.Channels) == 0 {
		r.add(found(Base, CodeNoChannel, in.Local.Site, "notify"))
	}
	for _, c := range in.Local.Channels {
		if c.Failing != "" {
			r.add(found(Base, CodeChannelOut, in.Local.Site, "channel "+c.Name, "channel", c.Name, "why", c.Failing, "waiting", itoa(c.Waiting)))
		}
	}
}
