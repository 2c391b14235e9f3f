package top

import (
	"math"

	"github.com/kube-ipvs/kube-ipvs/report"
)

// Compare makes rates of two documents, per second of the time between them. Without an earlier one, or with one that is not
// comparable (another node, not earlier, virtual servers against Services), there are none. What is not in the earlier document has
// none yet: how long it took to count what it has counted is not known. If a counter fell, all counters of that port or endpoint
// began anew in between, and what they show came since.
func Compare(earlier *report.Traffic, now report.Traffic) Document {
	d := Document{Time: now.Time, Node: now.Node, FromKernel: now.FromKernel, Ports: make([]Port, len(now.Ports))}
	before := map[key]*report.PortTraffic{}
	if earlier != nil && earlier.Node == now.Node && earlier.FromKernel == now.FromKernel && now.Time.After(earlier.Time) {
		d.Seconds = now.Time.Sub(earlier.Time).Seconds()
		d.Total.Rates = &Rates{}
		for i := range earlier.Ports {
			before[keyOf(&earlier.Ports[i])] = &earlier.Ports[i]
		}
	}
	d.Total.Ports = len(now.Ports)
	for i, p := range now.Ports {
		was := before[keyOf(&p)]
		row := Port{PortTraffic: p, List: endpoints(was, &p, d.Seconds)}
		row.PortTraffic.List = nil
		if was != nil {
			row.Rates = since(was.Counters, p.Counters, d.Seconds)
			d.Total.Rates.add(row.Rates)
		}
		d.Total.Active += p.Active
		d.Total.Inactive += p.Inactive
		d.Ports[i] = row
	}
	return d
}

// endpoints are those of a port, with rates where the counters of both documents were read.
func endpoints(was, now *report.PortTraffic, seconds float64) []Endpoint {
	before := map[string]report.EndpointTraffic{}
	if was != nil {
		for _, e := range was.List {
			before[e.Address] = e
		}
	}
	var list []Endpoint
	for _, e := range now.List {
		row := Endpoint{EndpointTraffic: e}
		if old, there := before[e.Address]; there && old.Counted && e.Counted {
			row.Rates = since(old.Counters, e.Counters, seconds)
		}
		list = append(list, row)
	}
	return list
}

func since(was, now report.Counters, seconds float64) *Rates {
	if now.Connections < was.Connections || now.InPackets < was.InPackets || now.OutPackets < was.OutPackets ||
		now.InBytes < was.InBytes || now.OutBytes < was.OutBytes {
		was = report.Counters{}
	}
	// A thousandth is more than two reads of the kernel can tell.
	per := func(n uint64) float64 { return math.Round(1000*float64(n)/seconds) / 1000 }
	return &Rates{
		Connections: per(now.Connections - was.Connections),
		InPackets:   per(now.InPackets - was.InPackets),
		OutPackets:  per(now.OutPackets - was.OutPackets),
		InBytes:     per(now.InBytes - was.InBytes),
		OutBytes:    per(now.OutBytes - was.OutBytes),
	}
}

func (r *Rates) add(o *Rates) {
	r.Connections += o.Connections
	r.InPackets += o.InPackets
	r.OutPackets += o.OutPackets
	r.InBytes += o.InBytes
	r.OutBytes += o.OutBytes
}
