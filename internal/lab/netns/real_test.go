package netns_test

import (
	"testing"
)

func TestRealNetwork(t *testing.T) {
	need(t)
	r := open(t, programs(t), 1)
	st, err := r.siteOf("moulin", "fabrique")
	t.Log(st, err)
	r.expectStill(t, "quai")
}
