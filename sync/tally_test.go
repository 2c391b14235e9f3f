package sync

import (
	"errors"
	stdsync "sync"
	"syscall"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// tally counts what random histories did to the kernel: what is drawn and never gets there shows nothing.
type tally struct {
	mu stdsync.Mutex
	n  map[string]int
}

// oddities are what a virtual or real server may have besides its scheduler and weight.
var oddities = []struct {
	name string
	is   func(ipvs.VirtualServer) bool
}{
	{"affinity", func(v ipvs.VirtualServer) bool { return v.Flags&ipvs.Persistent != 0 }},
	{"affinity of a prefix", func(v ipvs.VirtualServer) bool { return v.PersistencePrefix != 0 }},
	{"one-packet", func(v ipvs.VirtualServer) bool { return v.Flags&ipvs.OnePacket != 0 }},
	{"fallback", func(v ipvs.VirtualServer) bool { return v.Flags&ipvs.Sched1 != 0 }},
	{"hashed ports", func(v ipvs.VirtualServer) bool { return v.Flags&ipvs.Sched2 != 0 }},
}

func newTally() *tally { return &tally{n: map[string]int{}} }

// note counts an operation that was done to a virtual server that was like that before.
func (c *tally) note(op ipvs.Op, before ipvs.VirtualServer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[op.Verb.String()]++
	switch op.Verb {
	case ipvs.AddVirtual, ipvs.SetVirtual:
		for _, o := range oddities {
			if was, is := o.is(before), o.is(op.Virtual); was != is || op.Verb == ipvs.AddVirtual && is {
				c.n[op.Verb.String()+map[bool]string{true: " with ", false: " without "}[is]+o.name]++
			}
		}
	case ipvs.AddReal, ipvs.SetReal:
		if op.Real.UpperThreshold > 0 {
			c.n[op.Verb.String()+" with thresholds"]++
		}
	case ipvs.DelVirtual, ipvs.DelReal:
	}
}

// failed counts an answer of IPVS if it is a failure that was put in: others follow from what there is.
func (c *tally) failed(err error) {
	for _, fault := range []error{syscall.EINTR, syscall.ENOMEM, syscall.ENOBUFS, ipvs.ErrUnknown} {
		if errors.Is(err, fault) {
			c.fails("IPVS")
		}
	}
}

// fails counts a failure that was put in.
func (c *tally) fails(whose string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[whose+" fails"]++
}

// enough requires that all of it came about, and not by rare chance alone, if there were the usual histories.
func (c *tally) enough(t *testing.T, usual uint64) {
	t.Helper()
	if seeds(t, usual) < usual {
		return
	}
	want := []string{"IPVS fails", "nft fails", ipvs.AddReal.String() + " with thresholds", ipvs.SetReal.String() + " with thresholds"}
	for _, verb := range ipvs.Verbs() {
		want = append(want, verb.String())
	}
	for _, o := range oddities {
		add, set := ipvs.AddVirtual.String(), ipvs.SetVirtual.String()
		want = append(want, add+" with "+o.name, set+" with "+o.name, set+" without "+o.name)
	}
	for _, what := range want {
		if n := c.n[what]; n < int(usual)/30 {
			t.Errorf("%s: %d times in %d histories, too few", what, n, usual)
		}
	}
}
