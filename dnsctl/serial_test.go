package dnsctl_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/raoull/worldwidewelsh/dnsctl"
)

func TestSerialOrder(t *testing.T) {
	for _, tc := range []struct {
		name string
		a, b uint32
		want bool
	}{
		{"next", 1, 2, true},
		{"same", 7, 7, false},
		{"before", 2, 1, false},
		{"over the wrap", math.MaxUint32, 0, true},
		{"back over the wrap", 0, math.MaxUint32, false},
		{"largest step", 5, 5 + 1<<31 - 1, true},
		{"undefined distance", 5, 5 + 1<<31, false},
	} {
		if got := dnsctl.SerialLess(tc.a, tc.b); got != tc.want {
			t.Errorf("%s: SerialLess(%d, %d) = %t, want %t", tc.name, tc.a, tc.b, got, tc.want)
		}
	}
	if got := dnsctl.SerialMax(math.MaxUint32, 3); got != 3 {
		t.Errorf("SerialMax over the wrap = %d, want 3", got)
	}
}

func TestSerialGrowsWithTheIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, index := rapid.Uint32().Draw(t, "base"), rapid.Uint64Range(0, 1<<62).Draw(t, "index")
		step := rapid.Uint64Range(1, 1<<31-1).Draw(t, "step")
		a, b := dnsctl.Serial(base, index), dnsctl.Serial(base, index+step)
		if !dnsctl.SerialLess(a, b) || dnsctl.SerialMax(a, b) != b {
			t.Fatalf("Serial(%d, %d) = %d is not before Serial(+%d) = %d", base, index, a, step, b)
		}
	})
}

func TestSerialBaseContinuesAfterADateSerial(t *testing.T) {
	const dated = 2026112203
	base := dnsctl.SerialBase(dated, 118)
	if got := dnsctl.Serial(base, 118); got != dated+1 {
		t.Errorf("serial after take-over = %d, want %d", got, dated+1)
	}
}
