package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

const (
	patience = 15 * time.Second
	interval = 20 * time.Millisecond
)

// Eventually calls f until it returns nil. It gives up at the deadline of ctx, or after 15 s if that comes first, and returns
// what and f's last error.
func Eventually(ctx context.Context, what string, f func() error) error {
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, patience)
	if _, has := ctx.Deadline(); has {
		limited = ctx
	}
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-limited.Done():
			return fmt.Errorf("%s: not within %s: %w", what, time.Since(start).Round(time.Millisecond), err)
		case <-time.After(interval):
		}
	}
}

// Table reads the IPVS table of a host.
func Table(ctx context.Context, host *topo.Host) (table ipvs.Table, err error) {
	err = host.Do(func() error {
		kernel, err := ipvs.Open(ipvs.Options{})
		if err != nil {
			return err
		}
		defer kernel.Close()
		table, err = kernel.List(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("IPVS table of %s: %w", host.Name, err)
	}
	return table, nil
}
