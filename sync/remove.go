package sync

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// RemoveOptions say how Remove goes about it.
type RemoveOptions struct {
	// Drain lets connections end first, for Timeout at most. Without it they are cut.
	Drain   bool
	Timeout time.Duration
	// Progress is told how many real servers still have connections whenever that number changes.
	Progress func(left int)
}

// Remove deletes virtual servers, draining them first if asked to, and returns how many it deleted. Those that do not
// exist are not counted and no error. When ctx ends, what is left stays at weight 0.
func Remove(ctx context.Context, kernel ipvs.Handle, keys []frontend.Key, o RemoveOptions) (removed int, err error) {
	if !o.Drain {
		o.Timeout = 0
	}
	leaving := map[frontend.Key]departures{}
	told := 0
	for tries := 0; ; {
		have, connections, err := readAll(ctx, kernel, keys)
		if err != nil {
			return removed, err
		}
		next, left := ipvs.Table{}, 0
		now := time.Now()
		for key, entry := range have {
			e, d := drain(now, o.Timeout, key, entry, nil, leaving[key].seen(now, key.Protocol, entry.Reals, connections[key]))
			leaving[key] = d
			left += len(d)
			if e != nil {
				next[key] = *e
			}
		}
		result := ipvs.Apply(ctx, kernel, ipvs.Diff(have, next))
		for _, op := range result.Done {
			if op.Verb == ipvs.DelVirtual {
				removed++
			}
		}
		if err := failures(result); err != nil {
			return removed, err
		}
		if len(result.Uncertain) > 0 { // read again what became of them
			if tries++; tries > maxRounds {
				return removed, fmt.Errorf("%d virtual servers did not answer, %s among them: try again", len(result.Uncertain), result.Uncertain[0])
			}
			continue
		}
		tries = 0
		if left == 0 {
			return removed, nil
		}
		if o.Progress != nil && left != told {
			o.Progress(left)
			told = left
		}
		select {
		case <-ctx.Done():
			return removed, ctx.Err()
		case <-time.After(pollPeriod):
		}
	}
}

// readAll reads the virtual servers that exist among keys.
func readAll(ctx context.Context, kernel ipvs.Handle, keys []frontend.Key) (ipvs.Table, map[frontend.Key]map[netip.AddrPort]ipvs.Connections, error) {
	table := ipvs.Table{}
	connections := map[frontend.Key]map[netip.AddrPort]ipvs.Connections{}
	for _, key := range keys {
		entry, c, err := kernel.Get(ctx, key)
		switch {
		case ipvs.IsGone(err):
		case err != nil:
			return nil, nil, fmt.Errorf("read %s: %w", key, err)
		default:
			table[key], connections[key] = entry, c
		}
	}
	return table, connections, nil
}

// failures joins what a plan could not do.
func failures(result ipvs.Result) error {
	errs := make([]error, len(result.Failed))
	for i, e := range result.Failed {
		errs[i] = e
	}
	return summarize(errs)
}
