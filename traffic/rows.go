package traffic

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// portRow is a Service port with series of its own, under one name whatever node ports it has.
type portRow struct {
	name portName
	Port
	// draining is how many of its endpoints are.
	draining int
	labels   labels
}

// endpointRow is an endpoint with series of its own.
type endpointRow struct {
	port *portRow
	addr netip.AddrPort
	Endpoint
	labels labels
}

// leftOut is what has no series of its own because of the limit.
type leftOut struct {
	ports, endpoints int
}

// portRows are the Service ports of a sample, sorted by name.
func portRows(s Sample) []portRow {
	rows := make([]portRow, 0, len(s.Ports))
	index := make(map[portName]int, len(s.Ports))
	for ref, p := range s.Ports {
		name := printable(nameOf(ref))
		if i, exists := index[name]; exists {
			rows[i].Port = join(rows[i].Port, p)
			continue
		}
		index[name] = len(rows)
		rows = append(rows, portRow{name: name, Port: p})
	}
	for name, p := range s.former {
		if i, exists := index[printable(name)]; exists {
			rows[i].Port = withFormer(rows[i].Port, p)
		}
	}
	slices.SortFunc(rows, func(a, b portRow) int { return a.name.compare(b.name) })
	for i := range rows {
		for _, e := range rows[i].Endpoints {
			if e.Draining {
				rows[i].draining++
			}
		}
	}
	return rows
}

// join is what two node ports of one Service port have counted together.
func join(a, b Port) Port {
	a.Counters = plus(a.Counters, b.Counters)
	a.Active += b.Active
	a.Inactive += b.Inactive
	a.Endpoints = maps.Clone(a.Endpoints)
	if a.Endpoints == nil {
		a.Endpoints = map[netip.AddrPort]Endpoint{}
	}
	for addr, f := range b.Endpoints {
		e, both := a.Endpoints[addr]
		if !both {
			a.Endpoints[addr] = f
			continue
		}
		a.Endpoints[addr] = Endpoint{
			Counters: plus(e.Counters, f.Counters), Counted: e.Counted && f.Counted,
			Active: e.Active + f.Active, Inactive: e.Inactive + f.Inactive,
			Weight: max(e.Weight, f.Weight), Draining: e.Draining && f.Draining,
		}
	}
	return a
}

// withFormer is p and what was counted on a node port that it has no more.
func withFormer(p, former Port) Port {
	p.Counters = plus(p.Counters, former.Counters)
	p.Endpoints = maps.Clone(p.Endpoints)
	for addr, e := range p.Endpoints {
		e.Counters = plus(e.Counters, former.Endpoints[addr].Counters)
		p.Endpoints[addr] = e
	}
	return p
}

// limited are the rows that have series of their own: Service ports first, then endpoints, those of a Service port all or
// none, so that their sums are never those of a part.
func limited(ports []portRow, limit int, withEndpoints bool) ([]portRow, []endpointRow, leftOut) {
	var out leftOut
	all := ports
	if len(ports) > limit {
		out.ports = len(ports) - limit
		ports = ports[:limit]
	}
	if !withEndpoints {
		return ports, nil, out
	}
	room, total := limit-len(ports), 0
	for i := range all {
		total += len(all[i].Endpoints)
	}
	endpoints := make([]endpointRow, 0, min(room, total))
	for i := range ports {
		p := &ports[i]
		if len(endpoints)+len(p.Endpoints) > room {
			break
		}
		first := len(endpoints)
		for addr, e := range p.Endpoints {
			endpoints = append(endpoints, endpointRow{port: p, addr: addr, Endpoint: e})
		}
		slices.SortFunc(endpoints[first:], func(a, b endpointRow) int { return a.addr.Compare(b.addr) })
	}
	out.endpoints = total - len(endpoints)
	return ports, endpoints, out
}

// printable is the name as metrics may have it. What the API server lets through is so already.
func printable(n portName) portName {
	const unknown = "\uFFFD"
	n.service.Namespace = strings.ToValidUTF8(n.service.Namespace, unknown)
	n.service.Name = strings.ToValidUTF8(n.service.Name, unknown)
	n.port = strings.ToValidUTF8(n.port, unknown)
	return n
}
