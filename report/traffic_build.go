package report

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
	"github.com/kube-ipvs/kube-ipvs/sync"
	"github.com/kube-ipvs/kube-ipvs/traffic"
)

// NewTraffic is a sample as a document, sorted by Service and port. The endpoints of one Service are listed, if there is one of
// that name; known says what else is known of them.
func NewTraffic(node string, s traffic.Sample, endpointsOf sync.ServiceID, known []sync.PortView) Traffic {
	t := Traffic{Time: s.Time, Node: node, Ports: make([]PortTraffic, 0, len(s.Ports))}
	for ref, port := range s.Ports {
		p := PortTraffic{
			Namespace: ref.Service.Namespace, Service: ref.Service.Name, Port: portName(ref.Name, ref.Port), NodePort: ref.NodePort,
			Protocol: protocolText(ref.Protocol), Counters: newCounters(port.Counters), Active: port.Active, Inactive: port.Inactive,
			Endpoints: len(port.Endpoints),
		}
		for _, e := range port.Endpoints {
			if e.Draining {
				p.Draining++
			}
		}
		if ref.Service == endpointsOf {
			p.List = endpointTraffic(port, known)
		}
		t.Ports = append(t.Ports, p)
	}
	slices.SortFunc(t.Ports, func(a, b PortTraffic) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Service, b.Service), cmp.Compare(a.NodePort, b.NodePort), cmp.Compare(a.Protocol, b.Protocol))
	})
	return t
}

func endpointTraffic(port traffic.Port, known []sync.PortView) []EndpointTraffic {
	about := map[netip.AddrPort]sync.EndpointView{}
	for _, v := range known {
		for _, e := range v.Endpoints {
			about[e.Addr] = e
		}
	}
	list := make([]EndpointTraffic, 0, len(port.Endpoints))
	for addr, e := range port.Endpoints {
		list = append(list, EndpointTraffic{
			Address: addr.String(), Target: about[addr].Target, Node: about[addr].Node, Weight: e.Weight, Draining: e.Draining,
			Counted: e.Counted, Counters: newCounters(e.Counters), Active: e.Active, Inactive: e.Inactive,
		})
	}
	slices.SortFunc(list, func(a, b EndpointTraffic) int { return cmp.Compare(a.Address, b.Address) })
	return list
}

func newCounters(c ipvs.Counters) Counters {
	return Counters{Connections: c.Connections, InPackets: c.InPackets, OutPackets: c.OutPackets, InBytes: c.InBytes, OutBytes: c.OutBytes}
}
