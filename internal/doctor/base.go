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
	if in.Facts == nil {
		r.add(found(Base, CodeNotYet, in.Local.Site, ""))
		return r
	}
	f := in.Facts
	r.checked += 2
	switch f.Disk.Encrypted {
	case EncryptedYes:
	case EncryptedNo:
		r.add(found(Base, CodeDiskPlain, in.Local.Site, f.Disk.Dir, "device", f.Disk.Device))
	default:
		r.add(found(Base, CodeDiskUnknown, in.Local.Site, f.Disk.Dir, "device", f.Disk.Device, "why", f.Disk.Why))
	}
	if f.ClockOff.Abs() > clockWarn {
		r.add(found(Base, CodeClockOff, in.Local.Site, "clock", "offset", round(f.ClockOff.Abs())))
	}
	return r
}
