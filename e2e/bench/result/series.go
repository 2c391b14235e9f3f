package result

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// enough is how many values a percentile is taken of. Of fewer, all are printed.
const enough = 20

// series is what was measured of one subject in one place, from all samples of it.
type series struct {
	values []span // ascending
	unit   Unit
	// cutOff: what was measured had not ended in one of the samples.
	cutOff bool
	// usage is of as many of what is measured as counts says, 0 if nothing was counted; and its CPU time of as many as timed says,
	// because that is known without counting.
	usage         Usage
	counts, timed int
	notes         []string
	rest          bool // of every sample: whoever was measured was at rest where it should have been
}

// series gathers the samples that fit.
func (r Run) series(fits func(Sample) bool) series {
	s := series{rest: true}
	for _, sample := range r.Samples {
		if fits(sample) {
			s.add(sample)
		}
	}
	return s
}

// of is what was measured of a subject at a number of Services.
func (r Run) of(subject string, m Measure, size int) series {
	return r.series(func(s Sample) bool { return s.Subject == subject && s.Measure == m && s.Size == size })
}

func (s *series) add(sample Sample) {
	s.unit = sample.Unit
	s.cutOff = s.cutOff || sample.AtLeast
	s.rest = s.rest && sample.atRest()
	per := 1.0
	if sample.Measure == Burst && sample.Changes > 0 {
		per = float64(sample.Changes)
	}
	for _, v := range sample.Values {
		if sample.AtLeast {
			s.values = append(s.values, atLeast(v/per))
		} else {
			s.values = append(s.values, exactly(v/per))
		}
	}
	// A value that was cut off is behind its equals: it is greater.
	slices.SortFunc(s.values, func(a, b span) int { return cmp.Or(cmp.Compare(a.low, b.low), cmp.Compare(a.high, b.high)) })
	if u := sample.Usage; u != nil {
		n := cmp.Or(sample.Changes, len(sample.Values))
		s.usage.add(*u)
		s.timed += n
		if u.Syscalls > 0 { // no program does without: they were not counted
			s.counts += n
		}
	}
	if sample.Note != "" && !slices.Contains(s.notes, sample.Note) {
		s.notes = append(s.notes, sample.Note)
	}
}

func (u *Usage) add(o Usage) {
	u.CPU += o.CPU
	u.Syscalls += o.Syscalls
	u.Execs += o.Execs
	u.IPVSWrites += o.IPVSWrites
	u.IPVSReads += o.IPVSReads
	u.NftWrites += o.NftWrites
	u.NftCommits += o.NftCommits
	u.NftReads += o.NftReads
	u.IpsetWrites += o.IpsetWrites
	u.NetlinkSends += o.NetlinkSends
	u.IptablesWrites += o.IptablesWrites
}

// rank is the n-th value from below. If one before it was cut off, that one may be behind it: then it is a lower bound.
func (s series) rank(n int) span {
	v := s.values[n]
	for _, before := range s.values[:n] {
		if !before.exact() {
			v.high = math.Inf(1)
		}
	}
	return v
}

// median is of any number of values; false if there is none.
func (s series) median() (span, bool) {
	n := len(s.values)
	if n == 0 {
		return span{}, false
	}
	a, b := s.rank((n-1)/2), s.rank(n/2)
	return span{(a.low + b.low) / 2, (a.high + b.high) / 2}, true
}

// percentile is by nearest rank; false if there are too few values.
func (s series) percentile(p int) (span, bool) {
	n := len(s.values)
	if n < enough {
		return span{}, false
	}
	return s.rank((p*n+99)/100 - 1), true
}

// tail is p99 by p50; false if there are too few values.
func (s series) tail() (span, bool) {
	p50, ok50 := s.percentile(50)
	p99, ok99 := s.percentile(99)
	if !ok50 || !ok99 {
		return span{}, false
	}
	return p99.over(p50)
}

// text is the median of many values, or all of a few.
func (s series) text() string {
	if middle, ok := s.median(); ok && len(s.values) >= enough {
		return middle.text(s.unit)
	}
	all := make([]string, len(s.values))
	for i, v := range s.values {
		all[i] = v.text(s.unit)
	}
	return strings.Join(all, ", ")
}

// splitSubject is the name and the period of a subject that has its own sync period.
func splitSubject(subject string) (string, time.Duration) {
	name, suffix, _ := strings.Cut(subject, "/")
	period, err := time.ParseDuration(suffix)
	if err != nil {
		period = 0 // "lowest", or what the program does by itself
	}
	return name, period
}

// subjects are those of which something was measured, in the order in which tables and pictures have them.
func (r Run) subjects(measures ...Measure) []string {
	var all []string
	for _, s := range r.Samples {
		if slices.Contains(measures, s.Measure) && !slices.Contains(all, s.Subject) {
			all = append(all, s.Subject)
		}
	}
	order := []string{KubeIPVS, KubeProxyNft, KubeProxyIPVS, BareChange, BareBatched, MobySingle, Ipvsadm, ByHandAgain, ByHand, PodDirect}
	slices.SortFunc(all, func(a, b string) int {
		an, ap := splitSubject(a)
		bn, bp := splitSubject(b)
		at, bt := slices.Index(order, an), slices.Index(order, bn)
		if at < 0 {
			at = len(order)
		}
		if bt < 0 {
			bt = len(order)
		}
		return cmp.Or(cmp.Compare(at, bt), cmp.Compare(ap, bp), cmp.Compare(a, b))
	})
	return all
}

// variants are the subjects of a name: one for each sync period, the lowest first. Of a name with a period it is that one alone.
func (r Run) variants(name string, m Measure) []string {
	return slices.DeleteFunc(r.subjects(m), func(s string) bool {
		base, _ := splitSubject(s)
		return base != name && s != name
	})
}

// sizes are the numbers of Services at which something was measured.
func (r Run) sizes(measures ...Measure) []int {
	var all []int
	for _, s := range r.Samples {
		if slices.Contains(measures, s.Measure) && !slices.Contains(all, s.Size) {
			all = append(all, s.Size)
		}
	}
	slices.Sort(all)
	return all
}

// unfinished is whether a subject had not written everything when its cold start was cut off: what was read then is not of one at rest.
func (r Run) unfinished(subject string, size int) bool {
	return slices.ContainsFunc(r.Samples, func(s Sample) bool {
		return s.Subject == subject && s.Size == size && s.Measure == Cold && s.AtLeast
	})
}
