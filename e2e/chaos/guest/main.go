// Command guest is a chaos run or a soak inside of a guest. It says what it does on standard error, and its result, a job.Result as JSON,
// in one line on standard output.
//
//	client ─ requests, connections ─► node1: IPVS ◄── kube-ipvs ◄── source (can be cut) ◄── API server, outside
//	   └► ledger ◄── acts: rolls, flaps, Services, kills, cuts ───────────┴──────────────────────┘
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/ledger"
)

// drainTimeout is the agent's own default.
const drainTimeout = 5 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos-guest:", err)
		os.Exit(1)
	}
}

// runner is one run.
type runner struct {
	job.Job
	config *rest.Config // of an administrator
	book   *ledger.Book
	world  *world
	source *source
	agent  *keeper
	began  time.Time

	mu     sync.Mutex
	result job.Result
}

func run(ctx context.Context) error {
	r := &runner{began: time.Now()}
	var err error
	if r.Job, err = job.Read(job.Path); err != nil {
		return err
	}
	r.result.Job, r.result.Actions = r.Job, map[string]int{}
	if r.config, err = clientcmd.BuildConfigFromFlags("", job.Admin); err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	if err := prepareKernel(ctx); err != nil {
		return err
	}
	err = r.play(ctx)
	err = errors.Join(err, r.close())
	if err != nil {
		r.fail("%v", err)
	}
	r.result.Took = time.Since(r.began).Round(time.Second)
	line, err := json.Marshal(&r.result)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	_, err = os.Stdout.Write(append(line, '\n'))
	return err
}

// prepareKernel makes room in the tables of connections: a guest with little memory has little, and flows of UDP would be forgotten.
func prepareKernel(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "modprobe", "-a", "ip_vs", "nf_conntrack").CombinedOutput(); err != nil {
		return fmt.Errorf("load modules: %w: %s", err, out)
	}
	if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_max", []byte("262144"), 0o600); err != nil {
		return fmt.Errorf("make room for connections: %w", err)
	}
	return nil
}

// play is the run: build, act under load, calm down, look.
func (r *runner) play(ctx context.Context) error {
	var err error
	if r.world, err = newWorld(ctx, r); err != nil {
		return err
	}
	r.say("%d Services of %d deployments are there", len(r.world.targets()), r.Deployments)
	if r.source, err = newSource(ctx, r.config, r.world.net.Node1); err != nil {
		return err
	}
	if r.agent, err = newKeeper(ctx, r); err != nil {
		return err
	}
	r.say("the agent was ready after %v", r.agent.ready[0].Round(time.Millisecond))
	// What is promised from now on, the agent knows.
	r.book = ledger.New(r.Propagation, drainTimeout)
	r.world.begin(r.book)

	load := r.startLoad(ctx)
	acted := r.act(ctx)
	load.stop()
	r.say("calm: %d virtual servers are to be as planned", r.world.size())
	verdict := r.book.Judge()
	r.result.Verdict = verdict
	fmt.Fprint(os.Stderr, verdict.String())
	if acted != nil {
		return acted
	}
	return r.lookAfterwards(ctx)
}

// act does everything that there is to do until the time is over, and comes to an end with the agent running and the source there.
func (r *runner) act(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.Duration)
	defer cancel()
	return together(ctx, r.random, r.acts())
}

// together does all acts until ctx ends or one of them fails: what goes on then is not the run any more. Its error is the first, be that
// later than the end of ctx.
func together(ctx context.Context, random func(salt int) *rand.Rand, acts []act) error {
	all, ctx := errgroup.WithContext(ctx)
	for salt, a := range acts {
		all.Go(func() error { return a(ctx, random(salt)) })
	}
	return all.Wait()
}

func (r *runner) close() error {
	var errs []error
	if r.agent != nil {
		errs = append(errs, r.agent.close())
		r.result.Ready, r.result.Kills, r.result.Stops = r.agent.ready, r.agent.kills, r.agent.stops
	}
	if r.source != nil {
		r.result.Rewatch, r.result.Withheld = slices.Clone(r.source.rewatched), slices.Clone(r.source.withheld)
		errs = append(errs, r.source.close())
	}
	if r.world != nil {
		errs = append(errs, r.world.net.Close())
	}
	return errors.Join(errs...)
}

// did notes an action, for the ledger and for the counts.
func (r *runner) did(kind, format string, args ...any) {
	what := kind + ": " + fmt.Sprintf(format, args...)
	r.book.Did(what)
	r.mu.Lock()
	r.result.Actions[kind]++
	r.mu.Unlock()
}

// fail notes why the run itself went wrong.
func (r *runner) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Errors = append(r.result.Errors, fmt.Sprintf(format, args...))
	fmt.Fprintf(os.Stderr, "FAILED: "+format+"\n", args...)
}

func (r *runner) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[%6.1f s] %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// pause waits, or says why it ended early.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
