package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// tune sets what serving needs at the start: sysctls and timeouts.
func (o *options) tune(ctx context.Context, kernel ipvs.Handle, log logr.Logger) error {
	if _, err := o.setSysctls(ctx, host.Sysctls{StateDir: o.stateDir}, log); err != nil {
		return err
	}
	return o.setTimeouts(ctx, kernel, log)
}

// tuneAgain sets those settings of IPVS that are not as tune left them: module ip_vs was unloaded and loaded, or somebody else set
// them. What is not of IPVS is left to whoever changed it.
func (o *options) tuneAgain(ctx context.Context, kernel ipvs.Handle, sysctls host.Sysctls, log logr.Logger) error {
	_, err := setAll(ctx, sysctls, host.WantedSysctls(host.KernelRelease()), log)
	return errors.Join(explainLost(err), o.setTimeouts(ctx, kernel, log))
}

// explainLost says what sets the settings again that an agent lost which cannot do it by itself.
func explainLost(err error) error {
	if !errors.Is(err, unix.EROFS) {
		return err
	}
	return fmt.Errorf("clients may not be masqueraded, %s is not in force (module ip_vs was loaded anew, or somebody set it) and cannot be set here: "+
		"delete the agent's Pod, so that its init container sets it (kube-ipvs run --init-only), or restart its unit: %w",
		joined(host.WantedSysctls(host.KernelRelease())), err)
}

// setTimeouts sets those that the flags ask for. Where they ask for none, the kernel is not asked either.
func (o *options) setTimeouts(ctx context.Context, kernel ipvs.Handle, log logr.Logger) error {
	if o.timeouts == (ipvs.Timeouts{}) {
		return nil
	}
	now, err := kernel.Timeouts(ctx)
	if err != nil {
		return err
	}
	want := wantedTimeouts(now, o.timeouts)
	if want == now {
		return nil
	}
	if err := kernel.SetTimeouts(ctx, o.timeouts); err != nil {
		return err
	}
	log.Info("Set the timeouts of IPVS", "tcp", want.TCP, "tcpFin", want.TCPFin, "udp", want.UDP)
	return nil
}

// wantedTimeouts are the timeouts that the flags ask for, and now's where they ask for none.
func wantedTimeouts(now, flags ipvs.Timeouts) ipvs.Timeouts {
	return ipvs.Timeouts{
		TCP:    cmp.Or(flags.TCP, now.TCP),
		TCPFin: cmp.Or(flags.TCPFin, now.TCPFin),
		UDP:    cmp.Or(flags.UDP, now.UDP),
	}
}
