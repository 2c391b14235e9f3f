package main

import (
	"context"
	"net/netip"
	stdsync "sync"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// lateCounters are the kernel's counters, which are opened when somebody wants one of them: an agent that waits for IPVS has none.
type lateCounters struct {
	open func() (ipvs.StatsReader, error)

	mu     stdsync.Mutex // held while they are opened, and not while they are read
	reader ipvs.StatsReader
}

var _ ipvs.StatsReader = (*lateCounters)(nil)

func (c *lateCounters) opened() (ipvs.StatsReader, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reader == nil {
		reader, err := c.open()
		if err != nil {
			return nil, err
		}
		c.reader = reader
	}
	return c.reader, nil
}

// Virtuals is that of ipvs.StatsReader.
func (c *lateCounters) Virtuals(ctx context.Context) (map[frontend.Key]ipvs.Counters, error) {
	reader, err := c.opened()
	if err != nil {
		return nil, err
	}
	return reader.Virtuals(ctx)
}

// Reals is that of ipvs.StatsReader.
func (c *lateCounters) Reals(ctx context.Context, key frontend.Key) (map[netip.AddrPort]ipvs.RealStats, error) {
	reader, err := c.opened()
	if err != nil {
		return nil, err
	}
	return reader.Reals(ctx, key)
}

// Use is that of ipvs.StatsReader.
func (c *lateCounters) Use(ctx context.Context) (map[frontend.Key]map[netip.AddrPort]ipvs.RealUse, error) {
	reader, err := c.opened()
	if err != nil {
		return nil, err
	}
	return reader.Use(ctx)
}

// Close ends the reader, if there is one.
func (c *lateCounters) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reader == nil {
		return nil
	}
	return c.reader.Close()
}
