package traffic

import (
	dto "github.com/prometheus/client_model/go"
)

// slab is room for the metrics of one family.
type slab struct {
	kind     dto.MetricType
	metrics  []dto.Metric
	counters []dto.Counter
	gauges   []dto.Gauge
	values   []float64
	all      []*dto.Metric
}

// slabs are those of a scrape by family. The next scrape has them again: they are most of what it takes.
type slabs map[string]*slab

// of is an empty slab for a family of n metrics at most. One that is much too large is let go.
func (s slabs) of(name string, kind dto.MetricType, n int) *slab {
	if old := s[name]; old != nil && n <= len(old.metrics) && n >= len(old.metrics)/4 {
		old.all = old.all[:0]
		return old
	}
	s[name] = newSlab(kind, n)
	return s[name]
}

func newSlab(kind dto.MetricType, n int) *slab {
	s := &slab{kind: kind, metrics: make([]dto.Metric, n), values: make([]float64, n), all: make([]*dto.Metric, 0, n)}
	if kind == dto.MetricType_COUNTER {
		s.counters = make([]dto.Counter, n)
	} else {
		s.gauges = make([]dto.Gauge, n)
	}
	return s
}

// add adds a metric; there is room for as many as were asked for.
func (s *slab) add(labels []*dto.LabelPair, value float64) {
	i := len(s.all)
	m := &s.metrics[i]
	s.values[i] = value
	m.Label = labels
	if s.kind == dto.MetricType_COUNTER {
		s.counters[i].Value = &s.values[i]
		m.Counter = &s.counters[i]
	} else {
		s.gauges[i].Value = &s.values[i]
		m.Gauge = &s.gauges[i]
	}
	s.all = append(s.all, m)
}

// family is what was added; nil if nothing was, for a family without metrics cannot be encoded.
func (s *slab) family(name, help string) *dto.MetricFamily {
	if len(s.all) == 0 {
		return nil
	}
	return &dto.MetricFamily{Name: &name, Help: &help, Type: s.kind.Enum(), Metric: s.all}
}
