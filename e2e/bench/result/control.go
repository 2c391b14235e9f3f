package result

import (
	"fmt"
	"math"
	"strings"
	"text/template"
)

// controls are the figures of a run that texts written by hand rest on. What is "" was not measured.
type controls struct {
	// Change is the floor of one endpoint changed, where there are most Services: p50, p99 and p99/p50; ChangeOurs the same of kube-ipvs.
	Change, ChangeOurs string
	// Late is how much longer than p50 p99 is of the floor, LateOurs of kube-ipvs.
	Late, LateOurs string
	// Slow is how many changes of kube-ipvs took longer than the goal of its p50 allows, at each size; SlowFloor the same of the floor.
	Slow, SlowFloor string
	// Pairs are the medians and the spread of pairs of two virtual servers made by hand; PairsOff is by how much at most the medians are
	// off what they should be, and PairsFavour by how much kube-ipvs was better than by hand, which is no merit. PairsError is the greater.
	Pairs, PairsOff, PairsFavour, PairsError string
	// MemoryAtRest is kube-ipvs by kube-proxy in IPVS mode at the greatest size at which both had come to rest.
	MemoryAtRest string
}

func (r Run) controls() controls {
	var c controls
	c.Change, c.Late = r.change(BareChange)
	c.ChangeOurs, c.LateOurs = r.change(KubeIPVS)
	c.Slow, c.SlowFloor = r.slow(KubeIPVS), r.slow(BareChange)
	c.MemoryAtRest = r.memoryAtRest()
	var pairs []string
	var off, favour float64
	for _, family := range families() {
		for _, kind := range pairKinds() {
			s := r.through(ByHandAgain, kind.measure, family)
			if middle, ok := s.median(); ok {
				pairs = append(pairs, fmt.Sprintf("%s by %s %s (%s)", kind.name, familyName(family), middle.text(Ratio), s.spread()))
				off = max(off, math.Abs(middle.low-1))
			}
			if middle, ok := r.through(KubeIPVS, kind.measure, family).median(); ok {
				favour = max(favour, kind.gain(middle.low))
			}
		}
	}
	if c.Pairs = strings.Join(pairs, "; "); c.Pairs != "" {
		share := func(v float64) string { return fmt.Sprintf("%.1f %%", v*100) }
		c.PairsOff, c.PairsFavour, c.PairsError = share(off), share(favour), share(max(off, favour))
	}
	return c
}

// gain is by how much a ratio to by hand is better than 1; less than 0 if it is worse.
func (k pairKind) gain(ratio float64) float64 {
	if k.measure == PairLatency {
		return 1 - ratio
	}
	return ratio - 1
}

// slow is how many of a subject's changes took longer than tailTimes its p50 and how long the slowest of all took, size by size; "" if there
// are too few changes for a p50.
func (r Run) slow(subject string) string {
	var all []string
	for _, size := range r.sizes(Arrival) {
		s := r.of(subject, Arrival, size)
		p50, ok := s.percentile(50)
		if !ok {
			continue
		}
		n := 0
		for _, v := range s.values {
			if v.high > tailTimes*p50.low {
				n++
			}
		}
		all = append(all, fmt.Sprintf("%d of %d %s (slowest %s)", n, len(s.values), at(size), s.rank(len(s.values)-1).text(s.unit)))
	}
	return strings.Join(all, ", ")
}

// memoryAtRest compares as the goal does, but only what was read of programs at rest; "" if there is no size with both.
func (r Run) memoryAtRest() string {
	sizes := r.sizes(Memory)
	for i := len(sizes) - 1; i >= 0; i-- {
		ours, oursOK := r.leastAtRest(KubeIPVS, sizes[i])
		theirs, theirsOK := r.leastAtRest(KubeProxyIPVS, sizes[i])
		if oursOK && theirsOK {
			return quotient("", ours, theirs, Bytes, atMostTimes(1)).Measured + " " + at(sizes[i])
		}
	}
	return ""
}

// leastAtRest is best of Memory, of the variants that had come to rest.
func (r Run) leastAtRest(name string, size int) (least span, found bool) {
	for _, subject := range r.variants(name, Memory) {
		s := r.of(subject, Memory, size)
		middle, ok := s.median()
		if !ok || !s.rest || r.unfinished(subject, size) {
			continue
		}
		if found {
			middle = least.lesser(middle)
		}
		least, found = middle, true
	}
	return least, found
}

// change is how a subject's changes are spread at the greatest size at which the floor was measured, and by how much the slow ones are late.
func (r Run) change(subject string) (spread, late string) {
	sizes := r.sizes(Arrival)
	for i := len(sizes) - 1; i >= 0; i-- {
		if len(r.of(BareChange, Arrival, sizes[i]).values) == 0 {
			continue
		}
		s := r.of(subject, Arrival, sizes[i])
		q, ok := s.tail()
		if !ok {
			return "", ""
		}
		p50, _ := s.percentile(50)
		p99, _ := s.percentile(99)
		spread = fmt.Sprintf("p50 %s, p99 %s, p99/p50 %s %s", p50.text(s.unit), p99.text(s.unit), times(q), at(sizes[i]))
		return spread, span{p99.low - p50.high, p99.high - p50.low}.text(s.unit)
	}
	return "", ""
}

// explanation is why a goal was not reached, with the figures of this run in it; "" if nobody has written it.
func (r Run) explanation(v Verdict) (string, error) {
	parsed, err := template.New(v.Key).Parse(v.explanation())
	if err != nil {
		return "", fmt.Errorf("read why/%s.md: %w", v.Key, err)
	}
	var b strings.Builder
	if err := parsed.Execute(&b, r.controls()); err != nil {
		return "", fmt.Errorf("write why/%s.md: %w", v.Key, err)
	}
	return strings.TrimSpace(b.String()), nil
}
