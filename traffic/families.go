package traffic

import (
	dto "github.com/prometheus/client_model/go"
)

// family is a metric family with one metric for each row, or two if it tells directions apart.
type family[R any] struct {
	name, help string
	kind       dto.MetricType
	// value is that of a metric without a direction; in and out are set instead of it.
	value, in, out func(*R) uint64
	// without leaves out what has no value yet; nil leaves out nothing.
	without func(*R) bool
}

// portFamilies are those of Service ports.
func portFamilies() []family[portRow] {
	const prefix = "kube_ipvs_service_"
	return []family[portRow]{
		{
			name: prefix + "connections_total", kind: dto.MetricType_COUNTER,
			help:  "Connections to the Service port that were scheduled; of UDP, flows.",
			value: func(r *portRow) uint64 { return r.Counters.Connections },
		},
		{
			name: prefix + "packets_total", kind: dto.MetricType_COUNTER,
			help: "Packets of the Service port by direction: in from clients, out to them.",
			in:   func(r *portRow) uint64 { return r.Counters.InPackets },
			out:  func(r *portRow) uint64 { return r.Counters.OutPackets },
		},
		{
			name: prefix + "bytes_total", kind: dto.MetricType_COUNTER,
			help: "Bytes of the Service port by direction, IP headers included: in from clients, out to them.",
			in:   func(r *portRow) uint64 { return r.Counters.InBytes },
			out:  func(r *portRow) uint64 { return r.Counters.OutBytes },
		},
		{
			name: prefix + "active_connections", kind: dto.MetricType_GAUGE,
			help:  "Established connections to the Service port.",
			value: func(r *portRow) uint64 { return r.Active },
		},
		{
			name: prefix + "inactive_connections", kind: dto.MetricType_GAUGE,
			help:  "Connections to the Service port in any other state, those that have just ended included, and all flows of UDP.",
			value: func(r *portRow) uint64 { return r.Inactive },
		},
		{
			name: prefix + "endpoints", kind: dto.MetricType_GAUGE,
			help:  "Endpoints of the Service port in the kernel, draining ones included.",
			value: func(r *portRow) uint64 { return uint64(len(r.Endpoints)) },
		},
		{
			name: prefix + "draining_endpoints", kind: dto.MetricType_GAUGE,
			help:  "Endpoints of the Service port that get no new connection and wait for those that they have.",
			value: func(r *portRow) uint64 { return uint64(r.draining) },
		},
	}
}

// endpointFamilies are those of endpoints.
func endpointFamilies() []family[endpointRow] {
	const prefix = "kube_ipvs_endpoint_"
	uncounted := func(r *endpointRow) bool { return !r.Counted }
	return []family[endpointRow]{
		{
			name: prefix + "connections_total", kind: dto.MetricType_COUNTER, without: uncounted,
			help:  "Connections that the endpoint was given; of UDP, flows.",
			value: func(r *endpointRow) uint64 { return r.Counters.Connections },
		},
		{
			name: prefix + "packets_total", kind: dto.MetricType_COUNTER, without: uncounted,
			help: "Packets of the endpoint by direction: in from clients, out to them.",
			in:   func(r *endpointRow) uint64 { return r.Counters.InPackets },
			out:  func(r *endpointRow) uint64 { return r.Counters.OutPackets },
		},
		{
			name: prefix + "bytes_total", kind: dto.MetricType_COUNTER, without: uncounted,
			help: "Bytes of the endpoint by direction, IP headers included: in from clients, out to them.",
			in:   func(r *endpointRow) uint64 { return r.Counters.InBytes },
			out:  func(r *endpointRow) uint64 { return r.Counters.OutBytes },
		},
		{
			name: prefix + "active_connections", kind: dto.MetricType_GAUGE,
			help:  "Established connections of the endpoint.",
			value: func(r *endpointRow) uint64 { return r.Active },
		},
		{
			name: prefix + "inactive_connections", kind: dto.MetricType_GAUGE,
			help:  "Connections of the endpoint in any other state, those that have just ended included, and all flows of UDP.",
			value: func(r *endpointRow) uint64 { return r.Inactive },
		},
		{
			name: prefix + "weight", kind: dto.MetricType_GAUGE,
			help:  "The endpoint's share of new connections, 0 for none: the largest that it has on any address.",
			value: func(r *endpointRow) uint64 { return uint64(r.Weight) },
		},
		{
			name: prefix + "draining", kind: dto.MetricType_GAUGE,
			help: "Whether the endpoint gets no new connection and waits for those that it has: 1 or 0.",
			value: func(r *endpointRow) uint64 {
				if r.Draining {
					return 1
				}
				return 0
			},
		},
	}
}

// metrics makes a family of rows, nil if none has a metric. Its metrics lie in few pieces of memory: there may be hundreds of
// thousands of them.
func (f family[R]) metrics(spare slabs, rows []R, labelsOf func(*R) labels) *dto.MetricFamily {
	n := len(rows)
	if f.value == nil {
		n *= 2
	}
	s := spare.of(f.name, f.kind, n)
	for i := range rows {
		r := &rows[i]
		if f.without != nil && f.without(r) {
			continue
		}
		l := labelsOf(r)
		if f.value != nil {
			s.add(l.none(), float64(f.value(r)))
			continue
		}
		s.add(l.in, float64(f.in(r)))
		s.add(l.out, float64(f.out(r)))
	}
	return s.family(f.name, f.help)
}
