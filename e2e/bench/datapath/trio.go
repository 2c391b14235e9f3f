package datapath

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-ipvs/kube-ipvs/e2e/bench/result"
	"github.com/kube-ipvs/kube-ipvs/e2e/lab/topo"
)

// rawLatencies is how many of a target's latencies a sample has, evenly spread over the time of the measurement.
const rawLatencies = 2000

// trio is the subject, the virtual server made by hand, and the pod asked directly.
type trio struct {
	family              family
	subject, hand, pod  *target
	subjectPod, handPod int // listeners
}

func newTrio(o Options, h *hand, f family) (_ *trio, err error) {
	t := &trio{family: f, subjectPod: -1, handPod: -1}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.subjectPod, err = listenIn(o.Pod, f); err != nil {
		return nil, err
	}
	if t.handPod, err = listenIn(h.pod, f); err != nil {
		return nil, err
	}
	t.subject = newTarget(o.Subject, o.Network.Client, netip.AddrPortFrom(f.node(o.Network), o.NodePort), t.subjectPod)
	t.hand = newTarget(result.ByHand, h.Client, netip.AddrPortFrom(f.node(h.Topology), o.NodePort), t.handPod)
	t.pod = newTarget(result.PodDirect, o.Network.Client, f.podAt(o.Pod), t.subjectPod)
	return t, nil
}

func listenIn(p *topo.Pod, f family) (fd int, err error) {
	err = p.Do(func() error {
		fd, err = listen(f.podAt(p))
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("pod %s: %w", p.Name, err)
	}
	return fd, nil
}

func (t *trio) close() {
	for _, target := range t.all() {
		if target != nil {
			target.close()
		}
	}
	for _, fd := range []int{t.subjectPod, t.handPod} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

func (t *trio) all() []*target { return []*target{t.subject, t.hand, t.pod} }

// burst is how long one target runs before it is the next one's turn.
const burst = 25 * time.Millisecond

// bursts is one pair: each side runs for a time, in turns, and so does the pod asked directly. On a busy host a guest stands still now and then:
// what takes turns shares that evenly.
func (t *trio) bursts(ctx context.Context, each time.Duration, run func(*target) error) error {
	for i := range max(1, int(each/burst)) {
		order := []*target{t.subject, t.hand, t.pod}
		if i%2 == 1 {
			order = []*target{t.hand, t.subject, t.pod}
		}
		for _, target := range order {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := run(target); err != nil {
				return err
			}
		}
	}
	return nil
}

// requests measures throughput and latency.
func (t *trio) requests(ctx context.Context, o Options, emit func(result.Sample)) error {
	rates, medians, raw := values{}, values{}, values{}
	for range o.Pairs {
		// Connections of its own for every pair: where in memory they are makes a difference that stays (emulators look addresses up
		// in small tables), and shall be left to chance.
		for _, target := range t.all() {
			if err := target.dial(); err != nil {
				return err
			}
		}
		ofPair := values{}
		err := t.bursts(ctx, o.Each, func(target *target) error {
			perSecond, err := target.requests(burst)
			ofPair.add(target, perSecond)
			return err
		})
		if err != nil {
			return err
		}
		for _, target := range t.all() {
			target.close()
			rates.add(target, median(ofPair[target]))
			latencies := target.takeLatencies()
			raw[target] = append(raw[target], thin(latencies, rawLatencies/o.Pairs)...)
			medians.add(target, median(latencies))
		}
	}
	t.emit(emit, result.Requests, result.PerSecond, rates, ratesNote)
	t.emit(emit, result.Latency, result.Seconds, raw, "")
	t.emitPairs(emit, result.PairRequests, rates, ratesNote)
	t.emitPairs(emit, result.PairLatency, medians, "of the medians of a pair's two sides")
	return nil
}

// ratesNote says what a value is.
const ratesNote = "each the median of bursts of 25 ms"

// connects measures new connections.
func (t *trio) connects(ctx context.Context, o Options, emit func(result.Sample)) error {
	rates := values{}
	for range o.Pairs {
		ofPair := values{}
		err := t.bursts(ctx, o.Each, func(target *target) error {
			perSecond, err := target.connects(burst)
			ofPair.add(target, perSecond)
			return err
		})
		if err != nil {
			return err
		}
		for _, target := range t.all() {
			rates.add(target, median(ofPair[target]))
		}
	}
	t.emit(emit, result.Connects, result.PerSecond, rates, ratesNote)
	t.emitPairs(emit, result.PairConnects, rates, ratesNote)
	return nil
}

// values of each target, in the order in which they were taken.
type values map[*target][]float64

func (v values) add(t *target, value float64) { v[t] = append(v[t], value) }

// emit emits the values of each target.
func (t *trio) emit(emit func(result.Sample), m result.Measure, u result.Unit, v values, note string) {
	for _, target := range t.all() {
		emit(result.Sample{
			Subject: target.name, Measure: m, Family: t.family.name, Unit: u, Values: v[target], Note: t.beside(target, note),
		})
	}
}

// emitPairs emits the ratios of the subject, and of the pod asked directly, by the virtual server made by hand.
func (t *trio) emitPairs(emit func(result.Sample), m result.Measure, v values, note string) {
	for _, target := range []*target{t.subject, t.pod} {
		ratios := make([]float64, len(v[target]))
		for i := range ratios {
			ratios[i] = v[target][i] / v[t.hand][i]
		}
		emit(result.Sample{
			Subject: target.name, Measure: m, Family: t.family.name, Unit: result.Ratio, Values: ratios, Note: t.beside(target, note),
		})
	}
}

// beside says in whose measurement a value that is not the subject's was taken.
func (t *trio) beside(target *target, note string) string {
	switch {
	case target == t.subject:
		return note
	case note == "":
		return "beside " + t.subject.name
	}
	return note + "; beside " + t.subject.name
}

// thin keeps n values at even distances, or all if there are fewer.
func thin(all []float64, n int) []float64 {
	n = max(1, n)
	if len(all) <= n {
		return all
	}
	kept := make([]float64, n)
	for i := range kept {
		kept[i] = all[i*len(all)/n]
	}
	return kept
}

// median is 0 of nothing.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
