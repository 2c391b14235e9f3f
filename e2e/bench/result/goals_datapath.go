package result

import (
	"fmt"
	"strings"
)

// families of the data path.
func families() []string { return []string{"ipv4", "ipv6"} }

// through is what was measured of a family's packets, at whatever number of Services.
func (r Run) through(subject string, m Measure, family string) series {
	return r.series(func(s Sample) bool { return s.Subject == subject && s.Measure == m && s.Family == family })
}

// host is beside whom a sample of the data path was measured, "" if it does not say: the sides are taken again for each subject.
func (s Sample) host() string {
	for part := range strings.SplitSeq(s.Note, "; ") {
		if host, ok := strings.CutPrefix(part, "beside "); ok {
			return host
		}
	}
	return ""
}

// throughBeside is through of a side that was measured beside a subject.
func (r Run) throughBeside(subject, host string, m Measure, family string) series {
	return r.series(func(s Sample) bool {
		return s.Subject == subject && s.Measure == m && s.Family == family && s.host() == host
	})
}

// pairKind is what pairs are of, and what is asked of kube-ipvs there.
type pairKind struct {
	measure Measure
	name    string
	must    judge
}

func pairKinds() []pairKind {
	return []pairKind{
		{PairRequests, "requests", atLeastTimes(0.97)},
		{PairLatency, "latency", atMostTimes(1.03)},
		{PairConnects, "new connections", atLeastTimes(0.97)},
	}
}

// dataPath judges the pairs: who is faster by hand, slower here.
func dataPath(r Run) []Finding {
	var all []Finding
	for _, family := range families() {
		for _, kind := range pairKinds() {
			where := kind.name + " by " + familyName(family)
			s := r.through(KubeIPVS, kind.measure, family)
			middle, ok := s.median()
			if !ok || len(s.values) < enough {
				all = append(all, missing(where))
				continue
			}
			f := Finding{Where: where, Measured: fmt.Sprintf("%s (%s)", middle.text(Ratio), s.spread()), Outcome: kind.must(middle)}
			if control, ok := r.through(ByHandAgain, kind.measure, family).median(); ok {
				f.Beside = "by hand against by hand " + control.text(Ratio)
			}
			if !s.rest {
				f.Measured += "; " + NotAtRest
			}
			all = append(all, f)
		}
	}
	return all
}

// hooks compares what each kind of packet passes, family by family.
func hooks(r Run) []Finding {
	var all []Finding
	for _, family := range families() {
		for _, kind := range []struct {
			measure Measure
			name    string
		}{{Hooks, "hooks"}, {Rules, "rules"}} {
			f := missing(kind.name + " by " + familyName(family))
			ours, hand := r.passed(KubeIPVS, kind.measure, family), r.passed(ByHand, kind.measure, family)
			if len(ours) > 0 && len(ours) == len(hand) {
				f.Measured, f.Outcome = spans(ours)+", by hand "+spans(hand), Reached
				for i := range ours {
					f.Outcome = worse(f.Outcome, noMore(ours[i], hand[i]))
				}
			}
			all = append(all, f)
		}
	}
	return all
}

func noMore(a, b span) Outcome {
	switch {
	case a.high <= b.low:
		return Reached
	case a.low > b.high:
		return NotReached
	}
	return Undecided
}

// passed is what each of the packets passes of which package datapath counts it, in its order, from the last sample that there is.
func (r Run) passed(subject string, m Measure, family string) []span {
	var all []span
	for _, s := range r.Samples {
		if s.Subject != subject || s.Measure != m || s.Family != family {
			continue
		}
		all = all[:0]
		for _, v := range s.Values {
			if s.AtLeast {
				all = append(all, atLeast(v))
			} else {
				all = append(all, exactly(v))
			}
		}
	}
	return all
}

// spans are counts of packets, one behind the other.
func spans(all []span) string {
	text := make([]string, len(all))
	for i, s := range all {
		text[i] = s.text(Count)
	}
	return strings.Join(text, " · ")
}

func familyName(family string) string {
	switch family {
	case "ipv4":
		return "IPv4"
	case "ipv6":
		return "IPv6"
	}
	return family
}
