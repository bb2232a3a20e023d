package dnsctl_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/raoull/worldwidewelsh/dnsctl"
	"github.com/raoull/worldwidewelsh/internal/lab/nameserver"
)

// benchServers are the embedded server and real ones beside it, each with the
// same zone of 10 000 records.
func benchServers() []struct {
	name string
	run  func(b *testing.B, z dnsctl.Zone) string
} {
	type server = struct {
		name string
		run  func(b *testing.B, z dnsctl.Zone) string
	}
	out := []server{
		{"embedded", func(b *testing.B, z dnsctl.Zone) string { _, addr := start(b, dnsctl.Config{}, z); return addr }},
	}
	for _, kind := range []string{"knot", "nsd"} {
		out = append(out, server{kind, func(b *testing.B, z dnsctl.Zone) string {
			conf := nameserver.Server{Kind: kind, Zone: "big.test", Text: z.String()}
			return primary{name: kind, conf: conf}.launch(b, z.Name).addr
		}})
	}
	return out
}

// BenchmarkQueries asks every server over UDP, each client one question at a
// time: answers per second of all clients, and how long the slowest hundredth took.
func BenchmarkQueries(b *testing.B) {
	z := bigZone(10_000)
	for _, s := range benchServers() {
		b.Run(s.name, func(b *testing.B) {
			addr := s.run(b, z)
			var mu sync.Mutex
			var all []time.Duration
			b.SetParallelism(8)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				took := askMany(b, addr, pb)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, took...)
			})
			b.StopTimer()
			if len(all) == 0 {
				return
			}
			slices.Sort(all)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
		})
	}
}

// askMany is one client of a benchmark. Questions are packed ahead and answers
// only looked at, not unpacked: the servers are what is measured.
func askMany(b *testing.B, addr string, pb *testing.PB) []time.Duration {
	conn, err := dns.Dial("udp", addr)
	if err != nil {
		b.Error(err)
		return nil
	}
	defer conn.Close()
	var packets [][]byte
	for range 64 {
		packet, err := question(fmt.Sprintf("h%d.big.test.", rand.IntN(9999)), dns.TypeA).Pack()
		if err != nil {
			b.Error(err)
			return nil
		}
		packets = append(packets, packet)
	}
	buf := make([]byte, 4096)
	var took []time.Duration
	for i := 0; pb.Next(); i++ {
		begun := time.Now()
		_ = conn.SetDeadline(begun.Add(5 * time.Second))
		if _, err := conn.Conn.Write(packets[i%len(packets)]); err != nil {
			b.Error(err)
			return took
		}
		n, err := conn.Conn.Read(buf)
		if err != nil || n < 12 || buf[3]&0xF != 0 || buf[7] != 1 {
			b.Errorf("answer of %d bytes %x: %v", n, buf[:min(n, 12)], err)
			return took
		}
		took = append(took, time.Since(begun))
	}
	return took
}
