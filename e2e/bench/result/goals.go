package result

import (
	"fmt"
	"math"
	"time"
)

// Sizes of which goals speak.
const (
	small  = 100
	medium = 1000
	large  = 2700
)

// tailTimes is how many times p50 a change may take, but for the slowest of a hundred.
const tailTimes = 3

// goal is something that was asked for before it was measured.
type goal struct {
	key   string
	asked string
	look  func(Run) []Finding // one for each size or family of which the goal speaks
}

// unfinished stands beside what was read of a program that was cut off.
const unfinished = "was still writing when it was cut off"

// goals are all of them. Where a subject has several sync periods, the best of those that were measured counts, unless the goal names one.
func goals() []goal {
	return []goal{
		{"cold-kernel", "First programming of the kernel: at most 1.5× the bare batched writer", coldKernel},
		{"cold-ipvs", "Cold start: at least 10× faster than kube-proxy in IPVS mode", compare(Cold, KubeProxyIPVS, KubeIPVS, atLeastTimes(10), medium, large)},
		{"cold-nftables", "Cold start: faster than kube-proxy in nftables mode", compare(Cold, KubeProxyNft, KubeIPVS, above(1), medium, large)},
		{"change-ipvs", "One endpoint changed, arrival to kernel: at least 200× faster than kube-proxy in IPVS mode", compare(Arrival, KubeProxyIPVS, KubeIPVS, atLeastTimes(200), medium)},
		{"change-nftables", "One endpoint changed, arrival to kernel: at least 5× faster than kube-proxy in nftables mode at its lowest sync period", compare(Arrival, KubeProxyNft+lowest, KubeIPVS, atLeastTimes(5), small, medium, large)},
		{"change-flat", "One endpoint changed: p50 at 2,700 Services at most 1.3× that at 100", flat},
		{"change-tail", "One endpoint changed: p99 at most 3× p50", tail},
		{"burst-ipvs", "CPU time of a change in a burst: at most 1/20 of kube-proxy in IPVS mode", compareAnywhere(Burst, KubeIPVS, KubeProxyIPVS, atMostTimes(1./20))},
		{"burst-nftables", "CPU time of 1,000 changes at 2,700 Services: at most 1/3 of kube-proxy in nftables mode", compare(Burst, KubeIPVS, KubeProxyNft, atMostTimes(1./3), large)},
		{"memory", "Resident memory at 2,700 Services: at most 60 % of kube-proxy in IPVS mode", compare(Memory, KubeIPVS, KubeProxyIPVS, atMostTimes(0.6), large)},
		{"steady-writes", "A minute in which nothing changes at 2,700 Services: nothing is written to the kernel", steadyWrites},
		{"steady-reads", "The same minute: the audit's reads are spread, no second has more than a tenth of them", steadyReads},
		{"steady-cpu", "The same minute: below 0.5 % of one core, without emulation", steadyCPU},
		{"datapath", "Through a node port: at most 3 % slower than a virtual server made by hand, by the median of 20 pairs or more", dataPath},
		{"hooks", "Through a node port: no more hooks and rules on a packet's way than by hand", hooks},
	}
}

func at(size int) string { return "at " + thousands(fmt.Sprint(size)) + " Services" }

// best is the least median of a subject's variants.
func (r Run) best(name string, m Measure, size int) (span, bool) {
	var least span
	found := false
	for _, subject := range r.variants(name, m) {
		middle, ok := r.of(subject, m, size).median()
		switch {
		case !ok:
		case !found:
			least, found = middle, true
		default:
			least = least.lesser(middle)
		}
	}
	return least, found
}

// compare divides what was measured of one subject by what was measured of another, at the sizes of a goal.
func compare(m Measure, top, bottom string, must judge, sizes ...int) func(Run) []Finding {
	return func(r Run) []Finding {
		var all []Finding
		for _, size := range sizes {
			all = append(all, r.compareAt(m, top, bottom, size, must))
		}
		return all
	}
}

// compareAnywhere is compare at all sizes at which the subject at the bottom was measured.
func compareAnywhere(m Measure, top, bottom string, must judge) func(Run) []Finding {
	return func(r Run) []Finding {
		var all []Finding
		for _, size := range r.sizes(m) {
			if _, ok := r.best(bottom, m, size); ok {
				all = append(all, r.compareAt(m, top, bottom, size, must))
			}
		}
		return all
	}
}

func (r Run) compareAt(m Measure, top, bottom string, size int, must judge) Finding {
	a, aOK := r.best(top, m, size)
	b, bOK := r.best(bottom, m, size)
	if !aOK || !bOK {
		return missing(at(size))
	}
	unit := r.series(func(s Sample) bool { return s.Measure == m }).unit
	f := quotient(at(size), a, b, unit, must)
	if f.Outcome == NotMeasured {
		return f
	}
	if r.lone(top, m, size) && r.lone(bottom, m, size) {
		f.Measured += ", one value each"
	}
	r.rested(&f, m, top, bottom, size, a, b, must)
	f.Beside = besides(r.counts(top, m, size), r.counts(bottom, m, size))
	return f
}

// counts are those of the first variant of which there are any.
func (r Run) counts(name string, m Measure, size int) series {
	for _, subject := range r.variants(name, m) {
		if s := r.of(subject, m, size); s.counts > 0 {
			return s
		}
	}
	return series{}
}

func missing(where string) Finding {
	return Finding{Where: where, Measured: string(NotMeasured), Outcome: NotMeasured}
}

// quotient is a finding about a by b.
func quotient(where string, a, b span, unit Unit, must judge) Finding {
	q, ok := a.over(b)
	if !ok {
		return missing(where)
	}
	return Finding{Where: where, Measured: fmt.Sprintf("%s (%s / %s)", times(q), a.text(unit), b.text(unit)), Outcome: must(q)}
}

// coldKernel compares each account of programming with the floor's, and not their median: that of ipvs.Apply in the benchmark's process, which
// package floor has, and the agent's own where there is one. Each says in its note which it is; one that does not is of nothing known.
func coldKernel(r Run) []Finding {
	var all []Finding
	for _, size := range []int{medium, large} {
		floor, ok := r.of(BareBatched, Programming, size).median()
		found := false
		for _, s := range r.Samples {
			if s.Subject != KubeIPVS || s.Measure != Programming || s.Size != size || s.Note == "" {
				continue
			}
			var one series
			one.add(s)
			if middle, measured := one.median(); ok && measured {
				f := quotient(at(size), middle, floor, s.Unit, atMostTimes(1.5))
				f.Measured += ": " + s.Note
				all, found = append(all, f), true
			}
		}
		if !found {
			all = append(all, missing(at(size)))
		}
	}
	return all
}

func flat(r Run) []Finding {
	few, fewOK := r.of(KubeIPVS, Arrival, small).percentile(50)
	many, manyOK := r.of(KubeIPVS, Arrival, large).percentile(50)
	if !fewOK || !manyOK {
		return []Finding{missing("")}
	}
	f := quotient("", many, few, Seconds, atMostTimes(1.3))
	f.Beside = r.floorTail(large)
	return []Finding{f}
}

func tail(r Run) []Finding {
	var all []Finding
	for _, size := range []int{small, medium, large} {
		s := r.of(KubeIPVS, Arrival, size)
		p50, ok50 := s.percentile(50)
		p99, ok99 := s.percentile(99)
		if !ok50 || !ok99 {
			all = append(all, missing(at(size)))
			continue
		}
		f := quotient(at(size), p99, p50, Seconds, atMostTimes(tailTimes))
		f.Beside = r.floorTail(size)
		all = append(all, f)
	}
	return all
}

// floorTail is p99 by p50 of the least program that there could be; "" if that was not measured.
func (r Run) floorTail(size int) string {
	q, ok := r.of(BareChange, Arrival, size).tail()
	if !ok {
		return ""
	}
	return "p99/p50 of the floor's own: " + times(q)
}

// minute is what was measured of kube-ipvs while nothing changed; false unless it was watched for a whole minute.
func (r Run) minute(m Measure) (series, bool) {
	whole := true
	s := r.series(func(s Sample) bool {
		fits := s.Subject == KubeIPVS && s.Measure == m && s.Size == large && len(s.Values) > 0
		whole = whole && (!fits || s.Watched >= time.Minute)
		return fits
	})
	return s, whole && len(s.values) > 0
}

// steadyWrites needs a minute with an audit in it: before one, nothing is written by anybody.
func steadyWrites(r Run) []Finding {
	s, ok := r.minute(Steady)
	if !ok || s.counts == 0 || s.usage.IPVSReads == 0 {
		return []Finding{missing(at(large))}
	}
	writes := s.usage.writes()
	rest := len(r.restless(KubeIPVS, Steady, large)) == 0
	f := Finding{Where: at(large), Measured: fmt.Sprintf("%d writes", writes), Beside: s.counted(), Outcome: Reached}
	if !rest {
		f.Measured += "; " + NotAtRest + " when the minute began"
	}
	switch {
	case writes > 0 && rest:
		f.Outcome = NotReached
	case writes > 0:
		f.Outcome = Undecided // of something that came before
	case s.cutOff:
		f.Outcome = Undecided
	}
	return []Finding{f}
}

// steadyReads needs a value for each second of a minute.
func steadyReads(r Run) []Finding {
	reads := r.of(KubeIPVS, AuditReads, large).values
	var sum, most float64
	for _, v := range reads {
		sum, most = sum+v.low, max(most, v.high)
	}
	if len(reads) < int(time.Minute/time.Second) || sum == 0 || math.IsInf(most, 1) {
		return []Finding{missing(at(large))}
	}
	return []Finding{{
		Where: at(large), Measured: fmt.Sprintf("%s of %s reads in the busiest second", digits(most), digits(sum)),
		Outcome: atMostTimes(0.1)(exactly(most / sum)),
	}}
}

// steadyCPU: natively there is a model of the kernel, and a verdict about what is above it. Without that, what little it takes where
// everything is slower, it takes at most where nothing is.
func steadyCPU(r Run) []Finding {
	limit := atMostTimes(0.005)
	native, hasNative := r.minute(SteadyNative)
	all, hasAll := r.minute(Steady)
	used, _ := all.median()
	emulated := span{used.low / 60, used.high / 60}
	f := Finding{Where: at(large)}
	switch {
	case hasNative:
		share, _ := native.median()
		f.Measured, f.Outcome = percent(share)+overModel, limit(share)
		if hasAll {
			f.Measured += "; with them, emulated, " + percent(emulated)
		}
	case hasAll:
		f.Measured, f.Outcome = percent(emulated)+" emulated", limit(span{0, emulated.high})
	default:
		f = missing(f.Where)
	}
	return []Finding{f}
}

// overModel says what a share of SteadyNative is of.
const overModel = " of a core over a model of the kernel; the kernel's own part, and decoding its answers, are not in it"

func percent(s span) string { return span{s.low * 100, s.high * 100}.text(Ratio) + " %" }
