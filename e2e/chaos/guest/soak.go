package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-ipvs/kube-ipvs/e2e/chaos/trend"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/agent"
	"github.com/kube-ipvs/kube-ipvs/filter"
)

// churners is how many write at a time.
const churners = 3

// slots is how many endpoints a Service can have that is churned. An endpoint comes, terminates or goes, in turn.
const slots = 12

// churnNetworks are those of Services that are churned: one of the node's two. The kernel remembers a real server that was deleted for two
// minutes, and looks for each new one among them all. At 1,000 changes a minute on all addresses these are tens of thousands, and a
// guest without hardware support writes for longer than the changes take to come.
const churnNetworks = "10.1.0.0/24,fd01::/64"

// churn changes Services that nobody asks, at the rate of the job. Each change is one write to the API server.
func (r *runner) churn(ctx context.Context, random *rand.Rand) error {
	all := make([]*service, r.Churn)
	for i := range all {
		all[i] = newService(fmt.Sprintf("churn-%04d", i), &deployment{name: "churn"}, int32(churnPort+i), random)
		all[i].networks = churnNetworks
	}
	var changes atomic.Int64
	begin := time.Now()
	failed := make(chan error, churners)
	for c := range churners {
		random := r.random(2000 + c)
		var mine []*service
		for i := c; i < len(all); i += churners {
			mine = append(mine, all[i])
		}
		go func() {
			var err error
			for k := 0; err == nil; k++ {
				due := begin.Add(time.Duration(k*churners+c) * time.Minute / time.Duration(r.Rate))
				if pause(ctx, time.Until(due)) != nil {
					break
				}
				if err = r.churnOne(done(ctx), mine[random.IntN(len(mine))], random); err == nil {
					changes.Add(1)
				}
			}
			failed <- err
		}()
	}
	var first error
	for range churners {
		if err := <-failed; first == nil {
			first = err
		}
	}
	took := time.Since(begin)
	for _, s := range all {
		if first == nil {
			first = r.churnEnd(done(ctx), s)
		}
	}
	r.result.Changes = int(changes.Load())
	wanted := int(took.Minutes() * float64(r.Rate))
	r.say("%d changes were made, %d were wanted", r.result.Changes, wanted)
	if first == nil && r.result.Changes < wanted*9/10 {
		r.fail("%d changes were made and %d were wanted: the machine is too slow for this rate", r.result.Changes, wanted)
	}
	return first
}

// churnOne makes one change.
func (r *runner) churnOne(ctx context.Context, s *service, random *rand.Rand) error {
	client := r.world.client.CoreV1().Services(namespace)
	var err error
	switch n := random.IntN(1000); {
	case s.slices[discoveryv1.AddressTypeIPv4] == nil:
		err = r.churnSlice(ctx, s, random)
	case s.object == nil:
		s.object, err = client.Create(ctx, s.draft(), metav1.CreateOptions{})
	case n < 5:
		err = client.Delete(ctx, s.name, metav1.DeleteOptions{})
		s.object = nil
	case n < 25:
		s.scheduler = schedulers[random.IntN(len(schedulers))]
		draft := s.object.DeepCopy()
		draft.Annotations = s.draft().Annotations
		var written *corev1.Service
		if written, err = client.Update(ctx, draft, metav1.UpdateOptions{}); err == nil {
			s.object = written
		}
	default:
		err = r.churnSlice(ctx, s, random)
	}
	if err != nil {
		return fmt.Errorf("churn %s: %w", s.name, err)
	}
	return nil
}

// churnSlice adds, removes or changes an endpoint. Their addresses lead nowhere.
func (r *runner) churnSlice(ctx context.Context, s *service, random *rand.Rand) error {
	before := s.slices[discoveryv1.AddressTypeIPv4]
	want := s.slice(discoveryv1.AddressTypeIPv4, s.name+"-v4", nil)
	if before == nil { // as many of each kind as there will be on average, so that a run begins at its level
		for n := range int32(slots) {
			if kind := random.IntN(5); kind < 3 {
				want.Endpoints = append(want.Endpoints, endpoint(churnAddr(s, n), "node2", kind < 2))
			}
		}
		written, err := r.world.writeSlice(ctx, nil, want)
		s.slices[discoveryv1.AddressTypeIPv4] = written
		return err
	}
	want.Endpoints = slices.Clone(before.Endpoints)
	addr := churnAddr(s, int32(random.IntN(slots)))
	at := slices.IndexFunc(want.Endpoints, func(e discoveryv1.Endpoint) bool { return e.Addresses[0] == addr })
	switch {
	case at < 0:
		want.Endpoints = append(want.Endpoints, endpoint(addr, "node2", true))
	case *want.Endpoints[at].Conditions.Ready && random.IntN(2) == 0:
		want.Endpoints[at] = endpoint(addr, "node2", false)
	default:
		want.Endpoints = slices.Delete(want.Endpoints, at, at+1)
	}
	written, err := r.world.writeSlice(ctx, before, want)
	if err == nil {
		s.slices[discoveryv1.AddressTypeIPv4] = written
	}
	return err
}

// churnAddr is the address of an endpoint of a Service that is churned.
func churnAddr(s *service, n int32) string {
	return fmt.Sprintf("10.240.%d.%d", (s.port-churnPort)/16, 16*((s.port-churnPort)%16)+n)
}

// churnEnd takes the endpoints out that terminate: the kernel keeps them at weight 0 for as long as they are there, and a plan has them not.
func (r *runner) churnEnd(ctx context.Context, s *service) error {
	before := s.slices[discoveryv1.AddressTypeIPv4]
	if before == nil {
		return nil
	}
	want := s.slice(discoveryv1.AddressTypeIPv4, before.Name, slices.DeleteFunc(slices.Clone(before.Endpoints), func(e discoveryv1.Endpoint) bool {
		return *e.Conditions.Terminating
	}))
	_, err := r.world.writeSlice(ctx, before, want)
	return err
}

// What is sampled.
const (
	memory     = "agent memory"
	heap       = "agent heap in use"
	goroutines = "agent goroutines"
	files      = "agent files"
	virtuals   = "virtual servers"
	reals      = "real servers"
	elements   = "nftables elements"
	tracked    = "conntrack entries"
	slab       = "kernel slab, unreclaimable"
)

// measures are what must not grow. What churn makes is there within a minute. The kernel remembers connections that were closed for two
// minutes, and real servers that were deleted for as long.
func measures() []trend.Measure {
	const made, remembered = time.Minute, 3 * time.Minute
	return []trend.Measure{
		{Name: memory, Unit: "MB", Share: 0.1, Slack: 3, Warm: made},
		{Name: heap, Unit: "MB", Share: 0.2, Slack: 3, Warm: made},
		{Name: goroutines, Share: 0, Slack: 5, Warm: made / 2},
		{Name: files, Share: 0, Slack: 3, Warm: made / 2},
		{Name: virtuals, Share: 0.1, Slack: 20, Warm: made},
		{Name: reals, Share: 0.1, Slack: 100, Warm: made},
		{Name: elements, Share: 0.1, Slack: 40, Warm: made},
		{Name: tracked, Share: 0.15, Slack: 200, Warm: remembered},
		{Name: slab, Unit: "MB", Share: 0.05, Slack: 3, Warm: remembered},
	}
}

// takeSamples reads everything at intervals, and judges in the end.
func (r *runner) takeSamples(ctx context.Context, _ *rand.Rand) error {
	for next := time.Now(); ; next = next.Add(r.Interval) {
		if pause(ctx, time.Until(next)) != nil {
			break
		}
		values, err := r.sample(ctx)
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			return err
		}
		r.result.Samples = append(r.result.Samples, trend.Sample{At: r.book.Now().Round(time.Millisecond), Values: values})
		if n := len(r.result.Samples); n%6 == 1 {
			r.say("%.1f MB, %.0f goroutines, %.0f files, %.0f real servers, %.0f tracked, slab %.1f MB", values[memory], values[goroutines],
				values[files], values[reals], values[tracked], values[slab])
		}
	}
	for _, m := range measures() {
		t := m.Judge(r.result.Samples)
		r.result.Trends = append(r.result.Trends, t)
		r.say("%s", t)
	}
	return nil
}

// sample is one reading of everything.
func (r *runner) sample(ctx context.Context) (map[string]float64, error) {
	values, err := r.agentValues(ctx)
	if err != nil {
		return nil, err
	}
	node := r.world.net.Node1
	table, err := agent.Table(ctx, node)
	if err != nil {
		return nil, err
	}
	values[virtuals] = float64(len(table))
	for _, entry := range table {
		values[reals] += float64(len(entry.Reals))
	}
	err = node.Do(func() error {
		kernel, err := filter.Open(filter.Options{})
		if err != nil {
			return err
		}
		state, err := kernel.Read(ctx)
		if err != nil {
			return err
		}
		values[elements] = float64(len(state.Rules.Owned) + len(state.Rules.Masquerade) + len(state.Rules.Internal))
		b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		if err != nil {
			return err
		}
		values[tracked], err = strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("take a sample: %w", err)
	}
	kib, err := lineOf("/proc/meminfo", "SUnreclaim:")
	values[slab] = kib / 1024
	return values, err
}

// agentValues are those of the agent's process.
func (r *runner) agentValues(ctx context.Context) (map[string]float64, error) {
	a := r.agent.current()
	all, err := a.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	kib, err := lineOf(fmt.Sprintf("/proc/%d/status", a.PID()), "VmRSS:")
	if err != nil {
		return nil, err
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", a.PID()))
	if err != nil {
		return nil, fmt.Errorf("count the agent's files: %w", err)
	}
	inUse, err := value(all, "go_memstats_heap_inuse_bytes")
	if err != nil {
		return nil, err
	}
	running, err := value(all, "go_goroutines")
	return map[string]float64{memory: kib / 1024, heap: inUse / (1 << 20), goroutines: running, files: float64(len(open))}, err
}

// value is that of a metric. One that is not there is not 0.
func value(all map[string]float64, name string) (float64, error) {
	v, there := all[name]
	if !there {
		return 0, fmt.Errorf("the agent has no metric %s", name)
	}
	return v, nil
}

// lineOf is the number of a line "NAME: NUMBER kB" of a file.
func lineOf(file, name string) (float64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == name {
			return strconv.ParseFloat(fields[1], 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, name)
}
