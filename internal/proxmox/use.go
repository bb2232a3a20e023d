package proxmox

import (
	"context"
	"net/url"
	"time"
)

// GuestUse is what a guest has written to its disks, and what has passed its network cards, in a span of
// time: what its host has recorded (RRD averages), in bytes. Until is zero if nothing is recorded.
type GuestUse struct {
	From, Until time.Time
	Written     int64 // what a container writes to ZFS is not recorded by its host
	Received    int64
	Sent        int64
}

// rrdFrames are the spans that PVE keeps records of, and how far each reaches back at least; older records have
// wider steps (PVE API, GET /nodes/{node}/qemu/{vmid}/rrddata).
var rrdFrames = []struct {
	name    string
	reaches time.Duration
}{
	{"hour", time.Hour}, {"day", 24 * time.Hour}, {"week", 7 * 24 * time.Hour}, {"month", 30 * 24 * time.Hour}, {"year", 0},
}

type wireRRD struct {
	Time      wireInt
	DiskWrite wireFloat `json:"diskwrite"` // bytes per second
	NetIn     wireFloat `json:"netin"`
	NetOut    wireFloat `json:"netout"`
}

// GuestUse sums up what is recorded of a guest since a time, by this host's clock. now chooses how fine the records are.
func (p *PVE) GuestUse(ctx context.Context, kind Kind, id int, since, now time.Time) (GuestUse, error) {
	op := guestOp("read use of", kind, id)
	if err := checkGuest(op, kind, id); err != nil {
		return GuestUse{}, err
	}
	frame := ""
	for _, f := range rrdFrames {
		if frame = f.name; f.reaches >= now.Sub(since) {
			break
		}
	}
	var rows []wireRRD
	c, err := p.get(ctx, op, p.guestPath(kind, id, "/rrddata?")+url.Values{"timeframe": {frame}, "cf": {"AVERAGE"}}.Encode(), &rows)
	if err != nil {
		return GuestUse{}, err
	}
	var out GuestUse
	for i, row := range rows {
		if err := need(c, i, "time", row.Time.Set); err != nil {
			return GuestUse{}, err
		}
		if i+1 == len(rows) || !rows[i+1].Time.Set {
			break // nobody knows how long the last one is, and it is not over yet
		}
		out.add(row, unix(row.Time), unix(rows[i+1].Time), since)
	}
	return out, nil
}

// add adds the part of a row that lies after since.
func (u *GuestUse) add(row wireRRD, from, to, since time.Time) {
	if !row.NetIn.Set && !row.NetOut.Set && !row.DiskWrite.Set || !to.After(since) {
		return // it was off, or there was no such guest
	}
	if from.Before(since) {
		from = since
	}
	span := to.Sub(from).Seconds()
	if span <= 0 {
		return
	}
	if u.From.IsZero() {
		u.From = from
	}
	u.Until = to
	u.Written += int64(row.DiskWrite.V*span + 0.5)
	u.Received += int64(row.NetIn.V*span + 0.5)
	u.Sent += int64(row.NetOut.V*span + 0.5)
}
