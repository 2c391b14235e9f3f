package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/count"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/gauge"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/job"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/observe"
	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/nodes"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// endPatience is how long a program may take from SIGTERM to its end.
const endPatience = 30 * time.Second

// session is one subject at one size, in a network of its own: real servers that were deleted slow their namespace down.
type session struct {
	*runner
	subject  job.Subject
	size     int
	plan     plan
	selector string
	doing    result.Measure // what is being measured

	network  *topo.Topology
	gauge    *gauge.Gauge
	observer observe.Observer
	log      *os.File
	process  process
	around
	kernel  ipvs.Handle // to see who leaves; nil if the subject writes something else
	leaving leavers
	busy    bool // the program had not come to rest when it was last waited for
	audit   window
	// The order in which changes meet Services, how many there were, and the rests between them.
	order   []int
	next    int
	random  *rand.Rand
	arrival *result.Sample // of the timed changes, until the counted ones are added to it
}

// run measures what the plan asks for.
func (s *session) run(ctx context.Context) error {
	s.doing = result.Cold
	s.say("%s at %d Services", s.subject.Name, s.size)
	err := s.prepare(ctx)
	if err == nil {
		err = s.measure(ctx)
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, s.lastWords())
	}
	err = errors.Join(err, s.close())
	awaitRest(ctx, s.job.Settle) // the kernel takes down what was there
	return err
}

func (s *session) measure(ctx context.Context) error {
	if s.plan.floor {
		return s.floor(ctx)
	}
	defer s.emitArrival()
	whole, err := s.cold(ctx)
	if err == nil && whole {
		err = s.restLong(ctx)
	}
	if err != nil {
		return err
	}
	s.doing = result.Memory
	if err := s.memory(result.Memory); err != nil {
		return err
	}
	if !whole {
		return s.memory(result.MemoryPeak)
	}
	for _, part := range s.parts() {
		s.doing = part.measure
		if err := part.f(ctx); err != nil {
			return err
		}
	}
	return nil
}

// part is what is measured of a program that has everything.
type part struct {
	measure result.Measure
	wanted  bool
	f       func(context.Context) error
}

// parts are those that the plan asks for. Each leaves the program at rest for the next one.
func (s *session) parts() []part {
	all := []part{
		{result.Arrival, s.plan.changes > 0, s.changes},
		{result.Burst, s.plan.burst, s.burst},
		{result.MemoryPeak, true, func(context.Context) error { return s.memory(result.MemoryPeak) }},
		// What is counted comes after what is timed, in a process of its own: changes between its first audit and the second one, and
		// a minute from then on.
		{result.Restart, s.plan.again(), s.restart},
		{result.Arrival, s.plan.counted > 0, s.countMore},
		{result.Steady, s.plan.steady, s.steady},
	}
	return slices.DeleteFunc(all, func(p part) bool { return !p.wanted })
}

// prepare makes everything around the program.
func (s *session) prepare(ctx context.Context) (err error) {
	if s.network, err = topo.New(ctx); err != nil {
		return err
	}
	node := s.network.Node1
	if err := nodes.Register(ctx, s.client, node, "east"); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if s.gauge, err = gauge.New(s.config, s.selector); err != nil {
		return err
	}
	listener, err := node.Listen(ctx, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0))
	if err != nil {
		return err
	}
	go func() { _ = s.gauge.Serve(listener) }()
	if err := os.WriteFile(job.Kubeconfig, gauge.Kubeconfig(listener.Addr()), 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	// What an agent before found in another namespace is no concern of this one.
	if err := os.RemoveAll("/run/kube-ipvs-" + node.Name); err != nil {
		return fmt.Errorf("remove the state of another session: %w", err)
	}
	open := observe.IPVS
	if s.subject.Writes == job.Nftables {
		open = observe.Nftables
	}
	if s.observer, err = open(node); err != nil {
		return err
	}
	s.leaving = leavers{}
	if s.subject.Writes == job.IPVS {
		err = node.Do(func() (err error) {
			s.kernel, err = ipvs.Open(ipvs.Options{})
			return err
		})
		if err != nil {
			return fmt.Errorf("look who leaves: %w", err)
		}
	}
	name := fmt.Sprintf("%s-%d.log", strings.ReplaceAll(s.subject.Name, "/", "-"), s.size)
	if s.log, err = os.Create(filepath.Join(lab.OutDir, name)); err != nil {
		return fmt.Errorf("keep a log: %w", err)
	}
	return nil
}

const (
	// afterwork is how long a change or a start may have consequences after a moment of rest: kube-ipvs looks each second whether a real
	// server that is to go has connections or its start is over, and kube-proxy waits its min-sync-period.
	afterwork = 2500 * time.Millisecond
	// longRest is how long a program rests before its memory is read: what only a start has needed is given back by then.
	longRest = 5 * time.Second
)

// settle returns when all that changes have led to is done, or when that takes too long: then the program is busy.
func (s *session) settle(ctx context.Context) error {
	if err := pause(ctx, afterwork); err != nil {
		return err
	}
	gone := true
	if s.kernel != nil {
		var err error
		if gone, err = s.leaving.await(ctx, s.kernel, s.job.Plan.Endpoints, leavePatience); err != nil {
			return err
		}
	}
	rested := s.rests(ctx, s.job.Settle)
	s.busy = !gone || !rested
	return nil
}

// restLong is a rest after which the memory of a program is that of one at rest.
func (s *session) restLong(ctx context.Context) error {
	if s.busy = !s.rests(ctx, s.restPatience()); s.busy {
		return nil
	}
	return pause(ctx, longRest)
}

// restPatience is how long the program may take to come to rest after its start.
func (s *session) restPatience() time.Duration {
	if s.plan.rest > 0 {
		return min(s.plan.rest, s.job.Settle)
	}
	return s.job.Settle
}

// start starts the program, with counters of what it does if counted.
func (s *session) start(counted bool) error {
	p, err := s.launch(counted)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.subject.Name, err)
	}
	s.process = p
	return nil
}

// execute launches the program itself.
func (s *session) execute(counted bool) (process, error) {
	program, err := exec.LookPath(s.subject.Program)
	if err != nil {
		return nil, err
	}
	start := count.StartTimed
	if counted {
		start = count.Start
	}
	args := s.subject.Args
	if s.job.Profiles {
		args = append(slices.Clip(args), profiling)
	}
	p, err := start(s.network.Node1, s.log, program, args...)
	if err != nil {
		return nil, err // and no process that is nil within
	}
	return p, nil
}

// limit ends what takes longer than the cut-off, or than the program lives.
func (s *session) limit(ctx context.Context, cutoff time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	limited, stop := context.WithTimeoutCause(ctx, cutoff, errCutoff)
	ended := s.process.Ended()
	go func() {
		select {
		case <-ended:
			cancel(errEnded)
		case <-limited.Done():
		}
	}()
	return limited, func() { stop(); cancel(nil) }
}

var (
	errCutoff = errors.New("cut off")
	errEnded  = errors.New("the program ended")
)

// cutOff says whether the cut-off is why something failed; another reason is an error.
func cutOff(ctx context.Context, err error) (bool, error) {
	if err == nil || errors.Is(context.Cause(ctx), errCutoff) {
		return err != nil, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return false, fmt.Errorf("%w: %w", cause, err)
	}
	return false, err
}

// close ends the program and everything around it.
func (s *session) close() error {
	var errs []error
	if s.process != nil {
		errs = append(errs, s.process.End(syscall.SIGKILL, endPatience))
	}
	if s.observer != nil {
		errs = append(errs, s.observer.Close())
	}
	if s.kernel != nil {
		errs = append(errs, s.kernel.Close())
	}
	if s.gauge != nil {
		errs = append(errs, s.gauge.Close())
	}
	if s.network != nil {
		errs = append(errs, s.network.Close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	return errors.Join(errs...)
}

// lastWords are the end of the program's log.
func (s *session) lastWords() string {
	if s.log == nil {
		return "it was not started"
	}
	b, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return "its last words:\n  " + strings.Join(lines[max(0, len(lines)-20):], "\n  ")
}

// atRest is a sample of a program at rest, which says if it was not.
func (s *session) atRest(sample result.Sample) result.Sample {
	if s.busy {
		sample.Note = strings.TrimPrefix(sample.Note+"; "+result.NotAtRest, "; ")
	}
	return sample
}

// sample is one of this session.
func (s *session) sample(m result.Measure, unit result.Unit, values ...float64) result.Sample {
	return result.Sample{Subject: s.subject.Name, Measure: m, Size: s.size, Unit: unit, Values: slices.Clip(values)}
}

// all are the Services of this size.
func (s *session) all() []int {
	var services []int
	for i := range s.size {
		services = append(services, i)
	}
	return services
}
