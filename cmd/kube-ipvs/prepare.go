package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/allocator"
	"github.com/kube-ipvs/kube-ipvs/host"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// onceFlags make run do something once instead of serving.
func (o *options) onceFlags() group {
	g := newGroup("Instead of serving")
	g.flags.BoolVar(&o.initOnly, "init-only", false, "prepare the node and exit: load IPVS and the scheduler, set the sysctls and record in --state-dir what they were; for a privileged step before an agent that runs with NET_ADMIN alone")
	return g
}

// prepareNode does what an agent with NET_ADMIN alone cannot: in a container that is not privileged /proc/sys is
// read-only. It takes the lock, because the record of the sysctls has one writer too. It waits as the agent does: where it
// ended instead, the agent after it would never begin to.
func (o *options) prepareNode(ctx context.Context, log logr.Logger) error {
	unlock, err := host.Lock()
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }() // the process ends anyway
	changed := 0
	err = await(ctx, log, func(string) {}, func(ctx context.Context) (err error) {
		changed, err = o.prepareOnce(ctx, log)
		return err
	})
	if err != nil {
		return err
	}
	o.reserveRange(log)
	log.Info("The node is prepared", "version", version, "sysctlsChanged", changed)
	return nil
}

// prepareOnce loads modules, sets sysctls and returns how many differed.
func (o *options) prepareOnce(ctx context.Context, log logr.Logger) (changed int, err error) {
	kernel, err := openKernel(ctx, ipvs.Options{})
	if err != nil {
		return 0, err
	}
	defer kernel.Close()
	if err := o.probeScheduler(ctx, kernel); err != nil {
		return 0, err
	}
	return o.setSysctls(ctx, host.Sysctls{StateDir: o.stateDir}, log)
}

// reserveRange keeps node ports from programs before any Service claims them. A node where that cannot be is served all
// the same: a step that fails here would keep the agent after it from starting.
func (o *options) reserveRange(log logr.Logger) {
	if err := o.reserve(new(allocator.Ports)); err != nil {
		log.Error(err, "Node ports are not reserved: programs that ask for any port may be given one of them")
	}
}

// setSysctls sets those that serving needs and returns how many differed. Where all are right nothing is written, so
// that a read-only /proc/sys is no obstacle.
func (o *options) setSysctls(ctx context.Context, sysctls host.Sysctls, log logr.Logger) (int, error) {
	changed, err := setAll(ctx, sysctls, append(host.WantedSysctls(host.KernelRelease()), host.ForwardIPv4()), log)
	return changed, o.explainReadOnly(err)
}

// setAll sets those that differ, and says so.
func setAll(ctx context.Context, sysctls host.Sysctls, wanted []host.Sysctl, log logr.Logger) (int, error) {
	changed, err := sysctls.Set(ctx, wanted)
	if changed > 0 {
		log.Info("Set sysctls", "changed", changed, "wanted", joined(wanted))
	}
	return changed, err
}

// explainReadOnly says what sets sysctls where the agent itself cannot.
func (o *options) explainReadOnly(err error) error {
	switch {
	case !errors.Is(err, unix.EROFS): // or nil
		return err
	case o.initOnly:
		return fmt.Errorf("%w: --init-only needs a writable /proc/sys and --state-dir (in a Pod: a privileged container)", err)
	}
	return fmt.Errorf("%w: run kube-ipvs run --init-only first, where /proc/sys and --state-dir can be written (in a Pod: a privileged init container)", err)
}
