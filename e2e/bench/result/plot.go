package result

import (
	"fmt"
	"math"
)

// chart is values of several subjects in several groups, as dots: every value is one.
type chart struct {
	title    string
	unit     Unit
	log      bool
	groups   [][]string // names, by lines
	subjects []string
	values   func(subject string, group int) series
	band     [2]float64 // where values should lie, on a linear axis; none if both are 0
}

// Plots are the pictures, by the names of their files. What has no values has no picture.
func (r Run) Plots() (map[string][]byte, error) {
	all := map[string][]byte{}
	for name, c := range r.charts() {
		low, high, ok := c.extent()
		if !ok {
			continue
		}
		svg, err := c.svg(newAxis(c, low, high))
		if err != nil {
			return nil, fmt.Errorf("draw %s: %w", name, err)
		}
		all[name] = svg
	}
	return all, nil
}

func (r Run) charts() map[string]chart {
	return map[string]chart{
		"performance-change.svg":   r.bySize("One endpoint changed: from its arrival to the kernel", Arrival, true),
		"performance-patch.svg":    r.bySize("One endpoint changed: from the patch to the kernel", Patch, true),
		"performance-cold.svg":     r.bySize("Cold start: until the kernel has everything", Cold, true),
		"performance-memory.svg":   r.bySize("Resident memory at rest", Memory, false),
		"performance-datapath.svg": r.pairChart(),
	}
}

func (r Run) bySize(title string, m Measure, log bool) chart {
	sizes := r.sizes(m)
	c := chart{title: title, unit: r.series(func(s Sample) bool { return s.Measure == m }).unit, log: log, subjects: r.subjects(m)}
	for _, size := range sizes {
		c.groups = append(c.groups, []string{thousands(fmt.Sprint(size)) + " Services"})
	}
	c.values = func(subject string, group int) series { return r.of(subject, m, sizes[group]) }
	return c
}

// pairChart shows every pair of the data path.
func (r Run) pairChart() chart {
	kinds := []Measure{PairRequests, PairLatency, PairConnects}
	names := []string{"requests ↑", "latency ↓", "connects ↑"} // where better is
	c := chart{
		title: "Node port, by a virtual server made by hand", unit: Ratio, subjects: r.subjects(kinds...), band: [2]float64{0.97, 1.03},
		values: func(subject string, group int) series {
			return r.through(subject, kinds[group%len(kinds)], families()[group/len(kinds)])
		},
	}
	for _, family := range families() {
		for _, name := range names {
			c.groups = append(c.groups, []string{name, familyName(family)})
		}
	}
	return c
}

// extent is the least and the greatest of the values; false if there are none.
func (c chart) extent() (low, high float64, ok bool) {
	low, high = math.Inf(1), 0
	for g := range c.groups {
		for _, subject := range c.subjects {
			for _, v := range c.values(subject, g).values {
				if v.low <= 0 && c.log {
					continue
				}
				low, high, ok = min(low, v.low), max(high, v.low), true
				if !v.exact() {
					high = max(high, v.low*1.5) // there is something above it, and so is its triangle
				}
			}
		}
	}
	switch {
	case c.band[1] > 0:
		low, high = min(low, c.band[0]), max(high, c.band[1])
	case !c.log:
		low = 0 // an amount is seen by its height
	}
	return low, high, ok
}
