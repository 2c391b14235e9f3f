package native

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/objects"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
)

// How much the heap may grow before it is collected, in percent, as cmd/kube-ipvs has it: until the first pass is over, and later.
const (
	collectAtStart = 200
	collectLater   = 50
)

const (
	// lookEvery is how often it is looked whether it rests; not while it is watched.
	lookEvery = 100 * time.Millisecond
	// startPatience is how long the first pass may take. The model of nftables is slower than the kernel.
	startPatience = 2 * time.Minute
	// slackPart of a period is well within the part of it in which an audit reads nothing, a fifth.
	slackPart = 10
)

// atRest runs the agent and says which share of one core this process takes once it rests.
func atRest(ctx context.Context, s Spec) (result.Sample, error) {
	if err := s.Plan.Validate(); err != nil {
		return result.Sample{}, err
	}
	debug.SetGCPercent(collectAtStart)
	a, err := newAgent(s)
	if err != nil {
		return result.Sample{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cancel(a.run(ctx))
	}()
	defer func() { cancel(nil); <-ended }()
	if err := a.awaitRest(ctx, s); err != nil {
		return result.Sample{}, err
	}
	before, err := a.look()
	if err != nil {
		return result.Sample{}, err
	}
	if err := pause(ctx, s.Watch); err != nil {
		return result.Sample{}, err
	}
	after, err := a.look()
	if err != nil {
		return result.Sample{}, err
	}
	return sample(s, before, after)
}

// awaitRest returns when the first pass and the first audit after it are over. That one reads the nftables table once more,
// because the first pass has written to it: later ones do not.
func (a *agent) awaitRest(ctx context.Context, s Spec) error {
	started := func() bool { return !a.Health(time.Now()).Synced.IsZero() }
	if err := a.await(ctx, startPatience, started); err != nil {
		return fmt.Errorf("wait for the first pass: %w", err)
	}
	debug.SetGCPercent(collectLater)
	debug.FreeOSMemory()
	first := a.Status().Audited
	audited := func() bool { return a.Status().Audited.After(first) }
	if err := a.await(ctx, 2*s.Period+startPatience, audited); err != nil {
		return fmt.Errorf("wait for an audit: %w", err)
	}
	// Audits read in slices, and nothing in the last part of a period: whole periods from here on have whole audits.
	if err := pause(ctx, s.Period/slackPart); err != nil {
		return err
	}
	return a.complete(s.Plan)
}

// await waits until something is so. If it takes too long, the error has what the last pass failed of.
func (a *agent) await(ctx context.Context, patience time.Duration, so func() bool) error {
	deadline := time.Now().Add(patience)
	for !so() {
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("it takes longer than %v", patience), a.Status().Err)
		}
		if err := pause(ctx, lookEvery); err != nil {
			return err
		}
	}
	return nil
}

// complete says what is missing in the model of the kernel.
func (a *agent) complete(plan objects.Plan) error {
	status := a.Status()
	virtuals := plan.Largest() * len(objects.Addresses())
	reals := virtuals * plan.Endpoints
	switch {
	case status.Err != nil:
		return fmt.Errorf("the last pass: %w", status.Err)
	case status.Frontends != virtuals, status.RealServers != reals, len(status.Problems) > 0:
		return fmt.Errorf("it serves %d virtual servers with %d real servers, not %d with %d, and says %v", status.Frontends, status.RealServers, virtuals, reals, status.Problems)
	}
	return nil
}

// reading is what was done so far.
type reading struct {
	at            time.Time
	cpu           time.Duration // of this process, in user space and in the kernel
	reads, writes uint64        // requests to the model
}

func (a *agent) look() (reading, error) {
	r := reading{reads: a.kernel.reads.Load(), writes: uint64(a.kernel.model.Writes() + a.nft.Writes())}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return r, fmt.Errorf("read the CPU time: %w", err)
	}
	r.at, r.cpu = time.Now(), time.Duration(usage.Utime.Nano()+usage.Stime.Nano())
	return r, nil
}

// sample is what came to pass between two readings. One in which something was written is of no rest, and in one without a read
// there was no audit.
func sample(s Spec, before, after reading) (result.Sample, error) {
	watched, used := after.at.Sub(before.at), after.cpu-before.cpu
	reads := after.reads - before.reads
	switch {
	case after.writes != before.writes:
		return result.Sample{}, fmt.Errorf("%d writes while nothing changed", after.writes-before.writes)
	case reads == 0 && s.Watch >= s.Period:
		return result.Sample{}, fmt.Errorf("no audit within %v", s.Watch)
	}
	return result.Sample{
		Subject: result.KubeIPVS, Measure: result.SteadyNative, Size: s.Plan.Largest(), Unit: result.Ratio,
		Values: []float64{used.Seconds() / watched.Seconds()}, Usage: &result.Usage{CPU: used}, Watched: watched,
		Note: fmt.Sprintf("informers and loop on this machine's own processor, over a model of the kernel that was asked for %d reads: "+
			"what the kernel needs to answer them, and the agent to decode the answers, comes on top", reads),
	}, nil
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
