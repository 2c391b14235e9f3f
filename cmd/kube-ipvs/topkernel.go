package main

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/report"
)

// kernelTraffic is what the kernel alone knows of traffic: virtual servers, whoever made them, and no Services.
type kernelTraffic struct {
	reader ipvs.StatsReader
	node   string
}

// read takes the counters of all virtual servers, and of the real servers of those on one ADDRESS:PORT.
func (k kernelTraffic) read(ctx context.Context, endpointsOf string) (report.Traffic, error) {
	t := report.Traffic{Node: k.node, FromKernel: true, Ports: []report.PortTraffic{}, Time: time.Now()}
	virtuals, err := k.reader.Virtuals(ctx)
	if err != nil {
		return report.Traffic{}, err
	}
	use, err := k.reader.Use(ctx)
	if err != nil {
		return report.Traffic{}, err
	}
	for _, key := range slices.SortedFunc(maps.Keys(virtuals), frontend.Key.Compare) {
		p := report.PortTraffic{
			Port: key.AddrPort().String(), NodePort: key.Port, Protocol: strings.ToUpper(key.Protocol.String()),
			Counters: counters(virtuals[key]), Endpoints: len(use[key]),
		}
		for _, r := range use[key] {
			p.Active += uint64(r.Active)
			p.Inactive += uint64(r.Inactive)
			if r.Weight == 0 {
				p.Draining++
			}
		}
		if p.Port == endpointsOf {
			if p.List, err = k.endpoints(ctx, key); err != nil {
				return report.Traffic{}, err
			}
		}
		t.Ports = append(t.Ports, p)
	}
	return t, nil
}

// endpoints are the real servers of one virtual server. One of weight 0 gets no new connection; the kernel does not know why.
func (k kernelTraffic) endpoints(ctx context.Context, key frontend.Key) ([]report.EndpointTraffic, error) {
	reals, err := k.reader.Reals(ctx, key)
	if err != nil {
		return nil, err
	}
	var list []report.EndpointTraffic
	for _, addr := range slices.SortedFunc(maps.Keys(reals), netip.AddrPort.Compare) {
		r := reals[addr]
		list = append(list, report.EndpointTraffic{
			Address: addr.String(), Weight: r.Weight, Draining: r.Weight == 0, Counted: true,
			Counters: counters(r.Counters), Active: uint64(r.Active), Inactive: uint64(r.Inactive),
		})
	}
	return list, nil
}

func counters(c ipvs.Counters) report.Counters {
	return report.Counters(c)
}
