package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/ledger"
)

// act is something that is done again and again until ctx ends. What it has begun, it ends: that ctx has ended is no error.
type act func(ctx context.Context, random *rand.Rand) error

// acts are all that there are to this run.
func (r *runner) acts() []act {
	all := []act{r.rollPods, r.flapAddresses, r.comeAndGo, r.changeServices}
	if r.Soak {
		return append(all, r.churn, r.takeSamples)
	}
	all = append(all, r.endAgents, r.cutSource)
	if f := r.fault(); f != nil {
		all = append(all, f)
	}
	return all
}

// random is a sequence of its own for each salt: the same seed decides the same again, whatever the others do meanwhile.
func (r *runner) random(salt int) *rand.Rand { return rand.New(rand.NewPCG(r.Seed, uint64(salt))) }

// between is a time from least to most.
func between(random *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(random.Int64N(int64(most-least)))
}

// done is for what is to come to its end although the time is over.
func done(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

// linger is how much longer than the propagation time a pod answers that has left its slices: whoever asks it then is seen.
const linger = 7 * time.Second

// rollPods replaces one pod after the other, as a rollout does, several at a time.
func (r *runner) rollPods(ctx context.Context, random *rand.Rand) error {
	every := r.Roll()
	if r.Soak {
		every = max(every, 20*time.Second)
	}
	rest := func() time.Duration { return between(random, every*3/4, every*5/4) }
	return overlapping(ctx, rest, func() func() error {
		d := r.world.deployments[random.IntN(len(r.world.deployments))]
		index, abrupt := random.IntN(2), random.IntN(3) == 0
		return func() error {
			if !d.roll.TryLock() {
				return nil // it is being rolled
			}
			defer d.roll.Unlock()
			return r.roll(done(ctx), d, index, abrupt)
		}
	})
}

// overlapping begins something after each rest until ctx ends or something fails. It returns when all of it has ended, with the first
// error, be that later than the end of ctx.
func overlapping(ctx context.Context, rest func() time.Duration, begin func() func() error) error {
	all, ctx := errgroup.WithContext(ctx)
	for pause(ctx, rest()) == nil {
		all.Go(begin())
	}
	return all.Wait()
}

// roll replaces a pod by one on the same node. An abrupt one leaves its slices without having terminated, and answers for a while.
func (r *runner) roll(ctx context.Context, d *deployment, index int, abrupt bool) error {
	old := d.pods[index]
	fresh, err := r.world.addPod(ctx, d, old.node)
	if err != nil {
		return err
	}
	if abrupt {
		r.did("pod removed", "%s of %s, %s is there", old.Name, old.node.Name, fresh.Name)
		if err := r.leave(ctx, d, old); err != nil {
			return err
		}
		if err := pause(ctx, r.Propagation+linger); err != nil {
			return err
		}
		r.book.Pod(old.Name, func(p *ledger.Pod, now ledger.Time) { p.Stopped = now })
		return old.Close()
	}
	r.did("pod rolled", "%s of %s terminates, %s is there", old.Name, old.node.Name, fresh.Name)
	d.mu.Lock()
	old.terminating = true
	d.mu.Unlock()
	if err := r.world.publish(ctx, d); err != nil {
		return err
	}
	r.book.Pod(old.Name, func(p *ledger.Pod, now ledger.Time) { p.Told = now })
	if err := pause(ctx, r.PreStop); err != nil {
		return err
	}
	r.did("pod stopped", "%s of %s", old.Name, old.node.Name)
	r.book.Pod(old.Name, func(p *ledger.Pod, now ledger.Time) { p.Stopped = now })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		limited, cancel := context.WithTimeout(ctx, grace)
		defer cancel()
		_ = old.Shutdown(limited) // long-lived connections do not end by themselves
	}()
	err = r.leave(ctx, d, old)
	<-stopped
	if err != nil {
		return err
	}
	return old.Close()
}

// grace is how long a pod waits for its connections to end after it was told to stop.
const grace = 2 * time.Second

// leave takes a pod out of its slices.
func (r *runner) leave(ctx context.Context, d *deployment, old *pod) error {
	d.mu.Lock()
	d.pods = slices.DeleteFunc(d.pods, func(p *pod) bool { return p == old })
	d.mu.Unlock()
	err := r.world.publish(ctx, d)
	r.book.Pod(old.Name, func(p *ledger.Pod, now ledger.Time) { p.Left = now })
	return err
}

// flapAddresses takes an address off the node and brings it back, long before the agent gives it up.
func (r *runner) flapAddresses(ctx context.Context, random *rand.Rand) error {
	for pause(ctx, between(random, 6*time.Second, 15*time.Second)) == nil {
		f := r.world.flaps[random.IntN(len(r.world.flaps))]
		away := between(random, 200*time.Millisecond, 2500*time.Millisecond)
		back := r.book.Absent(f.prefix.Addr())
		r.did("address flapped", "%s for %s", f.prefix.Addr(), away.Round(time.Millisecond))
		if err := r.world.net.Node1.RemoveAddress(f.dev, f.prefix); err != nil {
			return err
		}
		_ = pause(ctx, away)
		if err := r.world.net.Node1.AddAddress(f.dev, f.prefix); err != nil {
			return err
		}
		back()
	}
	return nil
}

// most is how many Services may be there that come and go.
const most = 6

// comeAndGo makes Services and deletes them. Their ports are used again.
func (r *runner) comeAndGo(ctx context.Context, random *rand.Rand) error {
	var there []*service
	for n := 1; pause(ctx, between(random, 3*time.Second, 7*time.Second)) == nil; n++ {
		if len(there) == most || len(there) > 1 && random.IntN(2) == 0 {
			i := random.IntN(len(there))
			r.did("Service deleted", "%s at %d", there[i].name, there[i].port)
			if err := r.world.remove(done(ctx), there[i]); err != nil {
				return err
			}
			there = slices.Delete(there, i, i+1)
			continue
		}
		port := int32(comingPort + random.IntN(comingPorts))
		if slices.ContainsFunc(there, func(s *service) bool { return s.port == port }) {
			continue
		}
		d := r.world.deployments[random.IntN(len(r.world.deployments))]
		s := newService(fmt.Sprintf("coming-%d", n), d, port, random)
		r.did("Service created", "%s at %d with the pods of %s", s.name, port, d.name)
		if err := r.world.create(done(ctx), s); err != nil {
			return err
		}
		there = append(there, s)
	}
	return nil
}

// changeServices gives Services that stay another scheduler or another port.
func (r *runner) changeServices(ctx context.Context, random *rand.Rand) error {
	next := int32(firstPort + len(r.world.stays))
	for pause(ctx, between(random, 3*time.Second, 8*time.Second)) == nil {
		s := r.world.stays[random.IntN(len(r.world.stays))]
		var err error
		if random.IntN(3) == 0 {
			next = r.world.freePort(next)
			r.did("port changed", "%s from %d to %d", s.name, s.port, next)
			err = r.world.change(done(ctx), s, func() { s.port = next })
		} else {
			scheduler := schedulers[random.IntN(len(schedulers))]
			r.did("scheduler changed", "%s from %s to %s", s.name, s.scheduler, scheduler)
			err = r.world.change(done(ctx), s, func() { s.scheduler = scheduler })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// endAgents kills the agent every few seconds, or tells it to end, and starts the next one after a moment.
func (r *runner) endAgents(ctx context.Context, random *rand.Rand) error {
	for pause(ctx, between(random, 5*time.Second, 12*time.Second)) == nil {
		gently, away := random.IntN(4) == 0, between(random, 0, 2*time.Second)
		kind := "kill -9"
		if gently {
			kind = "SIGTERM"
		}
		back := r.book.Away(ledger.Agent)
		r.did(kind, "process %d, for %s and a start", r.agent.current().PID(), away.Round(time.Millisecond))
		if err := r.agent.end(gently); err != nil {
			return err
		}
		_ = pause(ctx, away)
		ready := r.book.Starting()
		if err := r.agent.start(ctx); err != nil {
			return err
		}
		ready()
		back()
		r.book.Did("agent ready")
	}
	return nil
}

// cutSource takes the API server away from the agent: it is refused, or nothing comes back.
func (r *runner) cutSource(ctx context.Context, random *rand.Rand) error {
	for pause(ctx, between(random, 12*time.Second, 25*time.Second)) == nil {
		away := between(random, time.Second, 5*time.Second)
		back := r.book.Away(ledger.Source)
		if random.IntN(3) == 0 {
			r.did("API server stalled", "for %s", away.Round(time.Millisecond))
			r.source.stall(ctx, away)
		} else {
			r.did("API server refused", "for %s", away.Round(time.Millisecond))
			if err := r.source.cut(ctx, away); err != nil {
				return err
			}
		}
		back()
		r.book.Did("API server there")
	}
	return nil
}
