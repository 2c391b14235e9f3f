package floor

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// scheduler of every virtual server: kube-proxy's own choice.
const scheduler = "rr"

func prepareApply(_ context.Context, table ipvs.Table) (func(context.Context) error, func(), error) {
	h, err := ipvs.Open(ipvs.Options{})
	if err != nil {
		return nil, nil, err
	}
	plan := ipvs.Diff(nil, table)
	return func(ctx context.Context) error {
		if r := ipvs.Apply(ctx, h, plan); len(r.Done) != len(plan) {
			return fmt.Errorf("%d of %d operations done, %v", len(r.Done), len(plan), r.Failed)
		}
		return nil
	}, func() { h.Close() }, nil
}

func prepareMoby(_ context.Context, table ipvs.Table) (func(context.Context) error, func(), error) {
	m, err := moby.New("")
	if err != nil {
		return nil, nil, err
	}
	plan := ipvs.Diff(nil, table)
	return func(ctx context.Context) error {
		for _, op := range plan {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := callMoby(m, op); err != nil {
				return fmt.Errorf("%s: %w", op, err)
			}
		}
		return nil
	}, m.Close, nil
}

func callMoby(m *moby.Handle, op ipvs.Op) error {
	s := &moby.Service{
		AddressFamily: unix.AF_INET, Address: op.Key.Addr.AsSlice(), Protocol: uint16(op.Key.Protocol), Port: op.Key.Port,
		SchedName: op.Virtual.Scheduler, Netmask: wholeAddress,
	}
	if op.Verb == ipvs.AddVirtual {
		return m.NewService(s)
	}
	return m.NewDestination(s, &moby.Destination{
		AddressFamily: unix.AF_INET, Address: op.RealKey.Addr().AsSlice(), Port: op.RealKey.Port(), Weight: int(op.Real.Weight),
	})
}

func prepareIpvsadm(ctx context.Context, table ipvs.Table) (func(context.Context) error, func(), error) {
	var text, said bytes.Buffer
	if err := table.Save(&text); err != nil {
		return nil, nil, err
	}
	c := exec.CommandContext(ctx, "ipvsadm", "--restore")
	c.Stdin, c.Stdout, c.Stderr = &text, &said, &said
	return func(context.Context) error {
		if err := c.Run(); err != nil || said.Len() > 0 {
			return fmt.Errorf("ipvsadm --restore: %w: %s", err, said.String())
		}
		return nil
	}, func() {}, nil
}
