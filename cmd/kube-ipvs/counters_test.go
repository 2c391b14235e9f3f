package main

import (
	"errors"
	"testing"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

func TestCountersAreThereOnceTheKernelHasThem(t *testing.T) {
	_, kernel, _ := shop(t)
	opened := 0
	missing := true
	c := &lateCounters{open: func() (ipvs.StatsReader, error) {
		if missing {
			return nil, ipvs.ErrNoIPVS
		}
		opened++
		return kernel.Stats(), nil
	}}
	if _, err := c.Virtuals(t.Context()); !errors.Is(err, ipvs.ErrNoIPVS) {
		t.Errorf("%v, want %v", err, ipvs.ErrNoIPVS)
	}
	if err := c.Close(); err != nil { // nothing is open
		t.Error(err)
	}
	missing = false
	virtuals, err := c.Virtuals(t.Context())
	if _, counted := virtuals[served]; err != nil || !counted {
		t.Errorf("%v, %v", virtuals, err)
	}
	reals, err := c.Reals(t.Context(), served)
	if err != nil || len(reals) == 0 {
		t.Errorf("%v, %v", reals, err)
	}
	if use, err := c.Use(t.Context()); err != nil || len(use) == 0 || opened != 1 {
		t.Errorf("%v, %v, opened %d times, want once", use, err, opened)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Use(t.Context()); err == nil {
		t.Error("it is read after its end")
	}
}
