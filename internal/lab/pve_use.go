package lab

import (
	"bytes"
	"strings"
	"time"
)

// rrdSteps are the steps of a host's records, and how many it keeps of each.
var rrdSteps = map[string]struct {
	step time.Duration
	rows int
}{
	"hour": {time.Minute, 70}, "day": {30 * time.Minute, 70}, "week": {3 * time.Hour, 70}, "month": {12 * time.Hour, 70}, "year": {7 * 24 * time.Hour, 70},
}

// Bytes that a write of a guest's user takes on its network card, one way and the other.
const (
	requestBytes = 400
	answerBytes  = 200
)

// rrdData is what a host has recorded of a guest: averages per second, by step. Here they follow from the lines on its disk: all
// of them were written there, and those that its users have sent came over the network.
func rrdData(kind string) func(*PVE, *call) (any, error) {
	return func(p *PVE, c *call) (any, error) {
		g, err := p.guestOf(c, kind)
		if err != nil {
			return nil, err
		}
		if err := p.need(c, vmPath(g.ID), "VM.Audit"); err != nil {
			return nil, err
		}
		s := rrdSteps[c.str("timeframe")]
		end := p.st.Now.Truncate(s.step)
		begin := end.Add(-time.Duration(s.rows-1) * s.step)
		rows := make([]map[string]any, s.rows)
		for i := range rows {
			at := begin.Add(time.Duration(i) * s.step)
			rows[i] = map[string]any{"time": at.Unix()}
			if g.Running && !at.Before(g.Started.Truncate(s.step)) {
				rows[i]["diskwrite"], rows[i]["netin"], rows[i]["netout"] = 0.0, 0.0, 0.0
			}
		}
		add := func(row map[string]any, key string, n int) {
			was, _ := row[key].(float64)
			row[key] = was + float64(n)/s.step.Seconds()
		}
		for line := range bytes.Lines(g.Text) {
			f := strings.Fields(string(line))
			if len(f) < 3 {
				continue
			}
			at, err := time.Parse(time.RFC3339, f[0])
			if i := int(at.Sub(begin) / s.step); err == nil && !at.Before(begin) && i < len(rows) {
				add(rows[i], "diskwrite", len(line))
				if len(f) > 3 {
					add(rows[i], "netin", len(line)+requestBytes)
					add(rows[i], "netout", answerBytes)
				}
			}
		}
		return rows, nil
	}
}
