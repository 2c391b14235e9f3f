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
	// Pairs are the medians and the spread of pairs of two virtual servers made by hand; PairsError is by how much at most the medians
	// are off what they should be.
	Pairs, PairsError string
}

func (r Run) controls() controls {
	var c controls
	c.Change, c.Late = r.change(BareChange)
	c.ChangeOurs, c.LateOurs = r.change(KubeIPVS)
	var pairs []string
	var off float64
	for _, family := range families() {
		for _, kind := range pairKinds() {
			s := r.through(ByHandAgain, kind.measure, family)
			if middle, ok := s.median(); ok {
				pairs = append(pairs, fmt.Sprintf("%s by %s %s (%s)", kind.name, familyName(family), middle.text(Ratio), s.spread()))
				off = max(off, math.Abs(middle.low-1))
			}
		}
	}
	if c.Pairs = strings.Join(pairs, "; "); c.Pairs != "" {
		c.PairsError = fmt.Sprintf("%.1f %%", off*100)
	}
	return c
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
